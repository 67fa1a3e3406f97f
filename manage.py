"""The operator's command line: tenants, their keys, their usage, and the conversations of their visitors.

Exits with 0, with 1 if a command failed and with 2 if its arguments are wrong; errors are one line on stderr.
The commands are in `service/commands/`.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import click

from service import VERSION
from service.commands.arguments import Group, OutputError, explain
from service.commands.backup import backup, restore
from service.commands.conversations import conversations, purge
from service.commands.database import migrate
from service.commands.doctor import doctor
from service.commands.keys import keys
from service.commands.output import printable
from service.commands.statistics import stats
from service.commands.tenants import tenants
from service.commands.upstream import upstream
from service.commands.usage import usage
from service.commands.webhooks import webhooks
from service.store.migrations import newest_version
from service.store.records import StoreError

PROGRAM = "manage.py"

commands = click.version_option(VERSION, message=f"%(prog)s %(version)s, schema {newest_version()}")(
    Group(
        help=(__doc__ or "").partition("\n")[0],
        commands=[
            *(tenants, keys, conversations, usage, upstream, webhooks, stats),
            *(purge, backup, restore, migrate, doctor),
        ],
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # characters that the terminal lacks must not lose a new key
    if sys.stdout is None:  # closed, as by `>&-`
        return _fail("There is no standard output.")
    try:
        with commands.make_context(PROGRAM, list(sys.argv[1:] if argv is None else argv)) as context:
            commands.invoke(context)
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code
    except click.UsageError as error:
        print(explain(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except OutputError as error:
        return _fail_to_print(error)
    except (StoreError, ValueError) as error:
        return _fail(str(error))
    return 0


def _fail_to_print(error: OutputError) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would report it again when it exits
    if error.reader_is_gone and not error.key_is_lost:  # such as `head`
        return 1
    lost = " The new key is lost; `key rotate` creates another." if error.key_is_lost else ""
    return _fail(f"The output cannot be written: {error}.{lost}")


def _fail(message: str) -> int:
    print(f"{PROGRAM}: {printable(' '.join(message.split()))}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
