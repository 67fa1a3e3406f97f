"""The commands in the README and docs/ that are not `manage.py`'s: each is run by a test, or by what runs the tests."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from itertools import chain, takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import yaml
from sqlalchemy.engine import URL, make_url

import manage
from databases import POSTGRES, on_postgres
from docs import MANAGE, PAGES, code_blocks, shell_commands
from preloaded import ROOT
from required import skip_unless_required
from service.access.signatures import MIN_SECRET_BYTES
from service.settings import Settings
from service.store.records import Tenant
from service.webhooks.hook import hook_of

OLDEST = ROOT / "tests/store/schemas/1-postgresql.sql"
TENANT_OF_OLDEST = (
    "INSERT INTO tenants"
    " (name, origins, rate_per_minute, visitor_rate_per_minute, tokens_per_day, visitor_salt, created_at)"
    " VALUES ('Shop', '[]', 0, 0, 0, '1', now());"
    "INSERT INTO widgets SELECT 'wgt_1', id, '{}' FROM tenants"
)
BENCH = ".venv/bin/python bench/"
COMPOSE = "docker compose -f deploy/compose.yaml "
IN_DATABASE = f"{COMPOSE}exec -T database "
ASSIGNMENT = re.compile(r"(export )?[A-Z][A-Z_]*=('[^']*'|\$\([^)]*\)|\S)+( #.*)?")
# How a command begins, and what runs it.
RUN_BY = {
    MANAGE: "tests/test_readme.py",
    "curl ": "tests/test_readme.py",
    "pg_dump ": "tests/test_docs_commands.py",
    "psql ": "tests/test_docs_commands.py",
    "pg_restore ": "tests/test_docs_commands.py",
    BENCH: "tests/test_docs_commands.py",
    "python3 -m venv ": ".ci/run",
    COMPOSE: "tests/test_docs_commands.py",
    "kubectl exec ": "tests/test_docs_commands.py",
    "systemd-run ": "tests/test_docs_commands.py",
    "docker ": ".ci/image",
    ".venv/bin/pip install --require-hashes ": "Dockerfile",
    "WEBHOOK_SECRET=": "tests/deploy/test_webhook_receiver.py",
}


def test_every_command_in_the_docs_is_run_by_something() -> None:
    commands = [
        (page, command)
        for page in PAGES
        for command in shell_commands(page)
        if command and not command.startswith(tuple(RUN_BY)) and not ASSIGNMENT.fullmatch(command)
    ]
    assert commands == []
    assert [place for place in RUN_BY.values() if not (ROOT / place).is_file()] == []


def test_the_receivers_commands_set_the_variables_that_it_reads() -> None:
    commands = [command for command in shell_commands("docs/webhooks.md") if command.startswith("WEBHOOK_SECRET=")]
    assert commands
    for command in commands:
        *variables, python, path = shlex.split(command)
        assert (python, path) == ("python3", "deploy/webhook_receiver.py")
        program = (ROOT / path).read_text()
        assert [each for each in variables if f'"{each.partition("=")[0]}"' not in program] == []


def variables_of(page: str) -> dict[str, str]:
    """The variables that a page's `sh` blocks set, as a shell parses them."""
    lines = [line.replace("…", "x") for line in shell_commands(page) if ASSIGNMENT.fullmatch(line)]
    done = subprocess.run(
        ["bash", "-c", "\n".join(["set -ae", *lines, "env -0"])],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    set_here = {line.removeprefix("export ").partition("=")[0] for line in lines}
    pairs = [pair.partition("=") for pair in done.stdout.split("\0") if pair]
    return {name: value for name, _, value in pairs if name in set_here}


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(ASSIGNMENT.fullmatch, shell_commands(page)))])
def test_the_variables_in_the_docs_are_taken_with_the_values_shown(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("openssl") is None:
        skip_unless_required("openssl is not installed")
    variables = variables_of(page)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = {name for name in variables if name.lower() in Settings.model_fields}
    assert Settings().model_fields_set == {name.lower() for name in settings}
    others = variables.keys() - settings
    if "SHOP_WEBHOOK_URL" in others:
        hooked = SimpleNamespace(webhook_url_env="SHOP_WEBHOOK_URL", webhook_secret_env="SHOP_WEBHOOK_SECRET")
        assert hook_of(cast(Tenant, hooked)).url == variables["SHOP_WEBHOOK_URL"]
        others -= {"SHOP_WEBHOOK_URL", "SHOP_WEBHOOK_SECRET"}
    assert all(len(variables[name].encode()) >= MIN_SECRET_BYTES for name in others if name == "MY_SITE_SECRET")
    assert others <= {"MY_SITE_SECRET"}


def inline_commands(program: str) -> list[list[str]]:
    """The commands of a program that are shown within the text, without its name."""
    found: list[list[str]] = []
    for page in PAGES.values():
        prose = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
        found += [shlex.split(each) for each in re.findall(rf"`{re.escape(program)}([^`\n]+)`", prose)]
    return found


def test_the_benchmarks_take_the_options_shown() -> None:
    """They are run by hand, as docs/testing.md says: this only finds a script or an option that does not exist."""
    shown = [shlex.split(line)[1:] for page in PAGES for line in shell_commands(page) if line.startswith(BENCH)]
    shown += [[f"bench/{script}", *arguments] for script, *arguments in inline_commands("bench/")]
    shown += inline_commands("python ")
    assert len(shown) > 2
    for script, *arguments in shown:
        if options := [each for each in arguments if each.startswith("-")]:
            output = subprocess.run(
                [sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True
            )
            assert [each for each in options if not re.search(rf"{each}\b", output.stdout)] == []
        assert (ROOT / script).is_file()


def test_the_operators_commands_within_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    commands = inline_commands("manage.py ")
    assert commands
    for words in commands:
        names = list(takewhile(str.isalpha, words))
        assert manage.main([*names, "--help"]) == 0, words
        output = capsys.readouterr().out
        assert [each for each in words if each.startswith("-") and f"{each} " not in output] == [], words


def test_the_tools_within_the_text_are_those_that_the_project_uses() -> None:
    scripts = json.loads((ROOT / "widget/package.json").read_text())["scripts"]
    for words in inline_commands("npm --prefix widget "):
        assert (words[1] if words[0] == "run" else words[0]) in scripts
    assert list((ROOT / "widget").glob("test/markdown-random.*"))
    installed = (ROOT / ".ci/run").read_text()
    for _, *packages in inline_commands("apt-get "):
        assert [each for each in packages if each not in installed] == []
    for _, package in inline_commands("pip "):
        assert f"{package}==" in (ROOT / "tests/requirements.txt").read_text()
    for option in chain.from_iterable(inline_commands(".venv/bin/pytest ")):
        assert f'addoption("{option}"' in (ROOT / "tests/conftest.py").read_text()


def test_the_scrape_configuration_finds_the_metrics() -> None:
    """By Prometheus' defaults: the path /metrics over http, and a bearer token."""
    (block,) = code_blocks("docs/operating.md", "yaml")
    config = yaml.safe_load(block)
    (job,) = config["scrape_configs"]
    assert job.keys() == {"job_name", "authorization", "static_configs"}
    assert job["authorization"].keys() == {"credentials_file"}
    assert all(target.endswith(":8000") for each in job["static_configs"] for target in each["targets"])
    assert [Path(file).name for file in config["rule_files"]] == ["alerts.yaml"]


# Where the service runs


def test_container_commands_use_names_from_the_deploy_files() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    deployments = [
        each["metadata"]["name"]
        for each in yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text())
        if each["kind"] == "Deployment"
    ]
    commands = shell_commands("docs/operating.md")
    in_compose = [shlex.split(line.removeprefix(COMPOSE)) for line in commands if line.startswith(COMPOSE)]
    in_kubernetes = [shlex.split(line) for line in commands if line.startswith("kubectl exec ")]
    assert in_compose and in_kubernetes
    for verb, *arguments in in_compose:
        named = arguments if verb in ("stop", "start") else [each for each in arguments if not each.startswith("-")][:1]
        assert set(named) <= compose.keys()
        if verb == "exec" and named != ["database"]:
            assert arguments[1:3] == ["python", "manage.py"]
    for _, _, place, dashes, *command in in_kubernetes:
        assert (place.removeprefix("deploy/") in deployments, dashes, command[:2]) == (
            *(True, "--"),
            ["python", "manage.py"],
        )
    user = compose["database"]["environment"]
    assert (user["POSTGRES_USER"], user["POSTGRES_DB"]) == ("chat", "chat")  # as the commands say


def test_the_command_beside_systemd_has_the_services_settings(tmp_path: Path) -> None:
    """Its user, folder and variables: systemd sets them up, so that it also parses the file as for the service."""
    unit = [line.partition("=") for line in (ROOT / "deploy/chat.service").read_text().splitlines()]
    of_unit = {name: value for name, _, value in unit if not name.startswith("#")}
    run, command, properties = beside_systemd()
    assert run == ["systemd-run", "--quiet", "--collect", "--wait", "--pipe"]
    assert properties.pop("User") == "chat"  # the name of the unit, which is that of its dynamic user
    variables = properties.pop("Environment")
    assert variables in of_unit["Environment"].split()
    shared = ("DynamicUser", "StateDirectory", "StateDirectoryMode", "WorkingDirectory", "EnvironmentFile", "UMask")
    assert properties == {name: of_unit[name] for name in shared}

    python, program, *arguments = command
    assert of_unit["ExecStart"].split() == [python, program.replace("manage.py", "chatbot.py")]
    environment = dict([variables.replace("/var/lib/chat", str(tmp_path)).split("=", 1)])
    here = [sys.executable, str(ROOT / Path(program).name)]
    for words in (["tenant", "add", "shop", "--origin", "https://shop.test"], arguments):
        subprocess.run([*here, *words], env=environment, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "chatbot.db").exists()


def test_systemd_accepts_the_properties_of_the_command_beside_it(tmp_path: Path) -> None:
    """In a unit: `systemd-run` needs a running systemd."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        skip_unless_required("systemd-analyze is not installed")
    _, command, properties = beside_systemd()
    lines = [f"{name}={value}" for name, value in properties.items()]
    unit = tmp_path / "command.service"
    unit.write_text("\n".join(["[Service]", *lines, f"ExecStart={shlex.join([sys.executable, *command[1:]])}"]))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def beside_systemd() -> tuple[list[str], list[str], dict[str, str]]:
    """The command beside systemd: how it is run, what is run, and with which properties."""
    (line,) = [line for line in shell_commands("docs/operating.md") if line.startswith("systemd-run ")]
    words = shlex.split(line)
    program = next(place for place, word in enumerate(words) if word.startswith("/"))
    first = words.index("-p")
    assert words[first:program:2] == ["-p"] * len(words[first:program:2])
    given = [word.partition("=") for word in words[first + 1 : program : 2]]
    return words[:first], words[program:], {name: value for name, _, value in given}


# PostgreSQL's own tools


@pytest.fixture
def owned_url() -> Iterator[str]:
    """An empty database whose owner has no other rights, as other tools write its URL."""
    if not POSTGRES:
        skip_unless_required("TEST_POSTGRES_URL names no PostgreSQL server")
    if not all(map(tool, ("pg_dump", "pg_restore", "psql"))):
        skip_unless_required("pg_dump, pg_restore and psql are not all installed")
    name = f"test_{uuid.uuid4().hex}"
    on_postgres(f'CREATE ROLE "{name}" LOGIN')
    on_postgres(f'CREATE DATABASE "{name}" OWNER "{name}"')
    try:
        url = make_url(POSTGRES).set(drivername="postgresql", username=name, database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        on_postgres(f'DROP DATABASE "{name}" WITH (FORCE)')
        on_postgres(f'DROP ROLE "{name}"')


def tool(name: str) -> str | None:
    return shutil.which(name, path=path())


def path() -> str:
    """With PostgreSQL's own directory, which Debian keeps off it."""
    return ":".join([os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))])


def in_shell(command: str, directory: Path) -> None:
    environment = os.environ | {"PATH": path()}
    done = subprocess.run(
        ["bash", "-ec", command], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("release", ["the same release", "the first release"])
@pytest.mark.parametrize("place", ["anywhere", "in the container"])
def test_a_dump_is_restored_as_the_docs_say(
    owned_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    release: str,
    place: str,
) -> None:
    """Also one that was made before an upgrade, into the database that was upgraded."""
    dump, restore = _dump_and_restore(place, make_url(owned_url))
    monkeypatch.setenv("DATABASE_URL", owned_url)

    def manage_py(*arguments: str) -> tuple[int, str]:
        code = manage.main(arguments)
        return code, capsys.readouterr().out

    if release == "the first release":
        in_shell(f'psql --quiet "$DATABASE_URL" --file={OLDEST}', tmp_path)
        in_shell(f'psql --quiet "$DATABASE_URL" --command="{TENANT_OF_OLDEST}"', tmp_path)
    else:
        assert manage_py("tenant", "add", "Shop", "--origin", "https://shop.test")[0] == 0
    in_shell(dump, tmp_path)
    assert manage_py("migrate")[0] == 0
    shown = manage_py("tenant", "show", "Shop", "--json")
    assert shown[0] == 0
    assert manage_py("tenant", "remove", "Shop", "--yes")[0] == 0

    in_shell(restore, tmp_path)

    assert manage_py("migrate", "--check")[0] == (3 if release == "the first release" else 0)
    assert manage_py("migrate")[0] == 0
    assert manage_py("tenant", "show", "Shop", "--json") == shown


def _dump_and_restore(place: str, url: URL) -> tuple[str, str]:
    """The blocks of the docs. What runs in the container reaches the server here instead."""
    blocks = code_blocks("docs/operating.md", "sh")
    if place == "anywhere":
        dump, restore = [block for block in blocks if block.startswith(("pg_dump ", "psql "))]
        return dump, restore
    dump, restore = [block for block in blocks if IN_DATABASE in block]
    ours = f"PGHOST={url.host} PGPORT={url.port} "
    for theirs, here in {
        f"{COMPOSE}stop chat-1 chat-2\n": "",
        f"{COMPOSE}start chat-1 chat-2\n": "",
        IN_DATABASE: ours,
        "--username=chat": f"--username={url.username}",
        "--dbname=chat": f"--dbname={url.database}",
    }.items():
        assert theirs in restore
        dump, restore = dump.replace(theirs, here), restore.replace(theirs, here)
    return dump, restore
