"""The README and docs/: their links resolve, their commands run, and their tables are complete."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pytest

import manage
from docs import PAGES, README, code_blocks, manage_commands
from preloaded import ROOT
from processes import running_service
from required import skip_unless_required
from service.access.user_tokens import Identity, verify
from service.errors import every_error
from service.settings import DEFAULT_BASE_URL, Settings
from service.store.records import Tenant

LINKED = PAGES | {"CHANGELOG.md": (ROOT / "CHANGELOG.md").read_text()}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<(https?://[^>\s]+)>")
SECRET = "a-secret-of-the-site-with-32-bytes-or-more"


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the tables under a heading, without the head of each."""
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGES[page], re.DOTALL | re.MULTILINE)
    assert section
    lines = re.findall(r"^\| (.*) \|$", section[1], re.MULTILINE)
    return [re.split(r" +\| +|\| +", line) for line in lines if not line.startswith("---")]


def anchors(page: str) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", LINKED[page], flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED)
def test_every_link_has_a_target(page: str) -> None:
    prose = re.sub(r"^```.*?^```$", "", LINKED[page], flags=re.DOTALL | re.MULTILINE)
    for link in (first or second for first, second in LINK.findall(prose)):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https" or parts.hostname == "127.0.0.1", link
            continue
        target = (ROOT / page).parent.joinpath(unquote(parts.path)).resolve() if parts.path else ROOT / page
        assert target.exists(), link
        if parts.fragment:
            assert parts.fragment in anchors(target.relative_to(ROOT).as_posix()), link


def test_the_readme_is_short_and_links_to_every_page_by_its_title() -> None:
    assert len(README) <= 12_000
    titles = {page: re.match(r"# (.*)\n", text) for page, text in PAGES.items() if page != "README.md"}
    table = "\n".join(cells[0] for cells in rows("README.md", "Learn more"))
    assert {page: title and title[1] for page, title in titles.items()} == {
        page: title for title, page in re.findall(r"\[(.*)\]\((.*)\)", table)
    }


@pytest.mark.parametrize("page", [page for page in PAGES if manage_commands(page)])
def test_the_documented_commands_work(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, text in enumerate(code_blocks(page, "json")):
        (tmp_path / ("look.json" if number == 0 else f"{number}.json")).write_text(text)
    commands = [shlex.split(line, comments=True) for line in manage_commands(page)]
    if not any(command[:2] == ["tenant", "add"] for command in commands):
        assert manage.main(["tenant", "add", "My site", "--origin", "https://www.example.com"]) == 0
    for command in commands:
        assert manage.main(command) == 0, (command, capsys.readouterr().err)


def test_the_documented_request_gets_the_documented_events(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        skip_unless_required("curl is not installed")
    (command,) = (block for block in code_blocks("docs/api.md", "sh") if block.startswith("curl "))
    with running_service(tmp_path) as service:
        key = service.manage("key", "add", "shop", "--secret")["api_key"]
        command = command.replace("a4_sec_…", key).replace("http://127.0.0.1:8000", service.url).replace("\\\n", "")
        answer = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True, timeout=60).stdout
    events = r"^event: (\w+)\ndata: (\{.*\})$"
    shown = {name: json.loads(data) for name, data in re.findall(events, PAGES["docs/api.md"], re.MULTILINE)}
    received = {name: json.loads(data) for name, data in re.findall(events, answer, re.MULTILINE)}
    assert {name: data.keys() for name, data in received.items()} == {name: data.keys() for name, data in shown.items()}


def test_the_example_integration_tests_pass(tmp_path: Path) -> None:
    """In another team's project, with warnings as errors."""
    examples = [block.partition("\n") for block in code_blocks("docs/testing.md", "python")]
    assert [first for first, _, _ in examples] == ["# conftest.py", "# test_shop.py"]
    for first, _, code in examples:
        (tmp_path / first.removeprefix("# ")).write_text(code)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{examples[1][2].count('def test_')} passed" in done.stdout


def test_the_backend_examples_tokens_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = code_blocks("docs/security.md", "python")
    monkeypatch.setenv("MY_SITE_SECRET", SECRET)
    names: dict[str, Any] = {}
    exec(example, names)
    token = names["user_token"](SimpleNamespace(id=7, name="Zoë", plan="large"))
    tenant = SimpleNamespace(
        identity_public_key=None, identity_secret_env="MY_SITE_SECRET", identity_claims=["name", "plan"]
    )
    assert verify(token, cast(Tenant, tenant), set()) == Identity("7", {"name": "Zoë", "plan": "large"})


def test_a_read_only_container_lets_sqlite_sort_on_its_volume() -> None:
    """Without a writable directory, SQLite refuses to sum up some ten thousand rows of usage."""
    assert "--read-only" in README
    image = (ROOT / "Dockerfile").read_text()
    volume = re.search(r"^VOLUME (\S+)$", image, re.MULTILINE)
    assert volume
    assert re.search(rf"^\s+SQLITE_TMPDIR={volume[1]}\b", image, re.MULTILINE)


def settings_shown(page: str, heading: str) -> dict[str, str]:
    shown: dict[str, str] = {}
    for names, defaults, *_ in rows(page, heading)[1:]:
        shown |= zip(re.findall(r"\w+", names), defaults.split(", "), strict=True)
    return shown


def test_every_setting_is_in_the_docs_with_its_default() -> None:
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    defaults |= {"OPENAI_BASE_URL": DEFAULT_BASE_URL, "SYSTEM_PROMPT": "a short one"}
    expected = {name: "" if default is None else str(default) for name, default in defaults.items()}
    assert settings_shown("docs/operating.md", "Settings") == expected
    assert settings_shown("README.md", "The settings you need first").items() <= expected.items()


def test_the_documented_limits_are_those_of_a_new_tenant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert manage.main(["tenant", "add", "test", "--origin", "https://www.example.com"]) == 0
    capsys.readouterr()
    assert manage.main(["tenant", "show", "test", "--json"]) == 0
    tenant = json.loads(capsys.readouterr().out)
    for option, default, _ in rows("docs/operating.md", "Limits")[1:]:
        name = option.strip("`").removeprefix("--").replace("-", "_")
        assert default == ("`MAX_ANSWER_TOKENS`" if tenant[name] is None else str(tenant[name])), option


def test_every_error_is_in_the_docs_with_its_status() -> None:
    shown = {code.strip("`"): status for status, code, _ in rows("docs/api.md", "Errors")[1:]}
    codes = {code: str(error.status_code) for code, error in every_error().items()}
    assert shown == codes


def test_every_folder_is_in_the_docs() -> None:
    page = PAGES["docs/architecture.md"]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {name.partition("/")[0] for name in tracked if "/" in name and not name.startswith((".", "-"))}
    rooms = {"/".join(name.split("/")[:2]) for name in tracked if re.match(r"service/\w+/", name)}
    assert [folder for folder in sorted(folders | rooms) if f"{folder}/" not in page] == []


def test_examples_in_the_docs_can_be_parsed() -> None:
    for page in PAGES:
        for example in code_blocks(page, "python"):
            ast.parse(example)
        for example in code_blocks(page, "json"):
            json.loads(example)
