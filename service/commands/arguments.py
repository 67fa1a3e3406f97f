"""How commands are declared: click, with custom value types, mutually exclusive options, and one-line errors."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from service.settings import load_settings
from service.store.store import Store
from service.store.urls import shown_url


class OutputError(Exception):
    """Standard output cannot be written. `key_is_lost`: the command created a key that was never shown."""

    def __init__(self, cause: OSError, key_is_lost: bool) -> None:
        super().__init__(cause.strerror)
        self.reader_is_gone = isinstance(cause, BrokenPipeError)
        self.key_is_lost = key_is_lost


class Value(click.ParamType[object]):
    """A parameter type from a function that raises ValueError for invalid input; see `values.py`."""

    def __init__(self, parse: Callable[[str], object]) -> None:
        self.name = "text"
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True)
class OneOf:
    """Parameters of which at most one may be given, or exactly one if `required`."""

    names: tuple[str, ...]
    required: bool = False


class Command(click.Command):
    """A command with mutually exclusive options."""

    def __init__(self, *args: Any, one_of: Sequence[OneOf] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self._one_of = one_of

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        remaining = super().parse_args(ctx, args)
        options = {param.name: param.opts[-1] for param in self.params}
        for group in self._one_of:
            used = [name for name in group.names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
            if len(used) > 1:
                one, other = (options[name] for name in used[:2])
                raise click.UsageError(f"argument {other}: not allowed with argument {one}", ctx)
            if group.required and not used:
                choices = " ".join(options[name] for name in group.names)
                raise click.UsageError(f"one of the arguments {choices} is required", ctx)
        return remaining


class Group(click.Group):
    """A group of commands that reports a missing command instead of printing its help."""

    command_class = Command

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"no_args_is_help": False, "subcommand_metavar": "COMMAND", **options})


name_argument = click.argument("name", metavar="NAME")
json_option = click.option("--json", "as_json", is_flag=True, help="print JSON")


def with_store(
    command: Callable[..., Awaitable[None]], *, makes_key: bool = False, makes_database: bool = False
) -> Callable[..., None]:
    """Run a command on the store of DATABASE_URL and flush its output. Raises OutputError.

    `makes_database`: create the database if it does not exist. Only `migrate` upgrades one.
    """

    async def run(*args: Any, **options: Any) -> None:
        url = load_settings().database_url
        store = Store(url)
        try:
            if makes_database and await store.schema_version() == 0:
                await store.migrate()
                print(f"Created the database {shown_url(url)}.", file=sys.stderr)
            await store.require_tables()
            await command(store, *args, **options)
        finally:
            await store.close()

    @wraps(command)
    def run_and_flush(*args: Any, **options: Any) -> None:
        run_command(lambda: run(*args, **options), makes_key=makes_key)

    return run_and_flush


@contextmanager
def output_errors() -> Iterator[None]:
    """Turn errors of printing into OutputErrors."""
    try:
        yield
    except OSError as error:
        raise OutputError(error, False) from None


def run_command(run: Callable[[], Coroutine[Any, Any, None]], *, makes_key: bool = False) -> None:
    """Run a command and flush its output. Raises OutputError."""
    try:
        asyncio.run(run())
        sys.stdout.flush()
    except OSError as error:  # from the output: the database's are StoreErrors
        raise OutputError(error, makes_key) from None


def explain(error: click.UsageError) -> str:
    """A usage error in one line."""
    program = error.ctx.command_path if error.ctx else "manage.py"
    return f"{program}: {_problem(error)} (see --help)"


def _problem(error: click.UsageError) -> str:
    match error:
        case click.MissingParameter():
            return f"the following arguments are required: {_shown(error.param)}"
        case click.BadParameter():
            return f"argument {_shown(error.param)}: {error.message}"
        case click.NoSuchOption():
            return f"unrecognized arguments: {error.option_name}"
        case click.NoSuchCommand():
            group = error.ctx.command if error.ctx else None
            words = ", ".join(map(repr, group.commands)) if isinstance(group, click.Group) else ""
            return f"argument COMMAND: invalid choice: {error.command_name!r} (choose from {words})"
        case click.BadOptionUsage() if "requires" in error.message:
            return f"argument {error.option_name}: expected one argument"
        case _ if error.message == "Missing command.":
            return "the following arguments are required: COMMAND"
    return error.message


def _shown(param: click.Parameter | None) -> str:
    if param is None:
        return ""
    return param.opts[0] if isinstance(param, click.Option) else param.make_metavar(click.Context(click.Command("")))
