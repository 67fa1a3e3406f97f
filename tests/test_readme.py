"""What the README promises holds."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from identity import Identity, verify
from processes import ROOT
from records import Tenant
from settings import DEFAULT_BASE_URL, Settings

README = (ROOT / "README.md").read_text()


def test_the_example_of_an_integration_test_passes_as_it_stands(tmp_path: Path) -> None:
    example = re.search(r"```python\n(import httpx.*?)```", README, re.DOTALL)
    assert example
    (tmp_path / "test_example.py").write_text(example[1])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "-o",
        f"pythonpath={ROOT}",
    ]
    done = subprocess.run([*command, "test_example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_backend_example_signs_tokens_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```python\n(import os, time, jwt.*?)```", README, re.DOTALL)
    assert example
    monkeypatch.setenv("MY_SITE_SECRET", "a-secret-of-the-site-with-32-bytes-or-more")
    names: dict[str, Any] = {}
    exec(example[1], names)
    token = names["user_token"](SimpleNamespace(id=7, name="Zoë", plan="large"))
    tenant = SimpleNamespace(
        identity_public_key=None, identity_secret_env="MY_SITE_SECRET", identity_claims=["name", "plan"]
    )
    assert verify(token, cast(Tenant, tenant), set()) == Identity("7", {"name": "Zoë", "plan": "large"})


def test_the_container_with_a_read_only_root_lets_sqlite_sort_on_its_volume() -> None:
    """Without a place to write to, SQLite refuses to sum up some ten thousand rows of usage."""
    assert "--read-only" in README
    image = (ROOT / "Dockerfile").read_text()
    volume = re.search(r"^VOLUME (\S+)$", image, re.MULTILINE)
    assert volume
    assert re.search(rf"^\s+SQLITE_TMPDIR={volume[1]}$", image, re.MULTILINE)


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = README.partition("## Settings")[2].partition("## Manage it")[0]
    shown: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`[A-Z_`, ]+`) \| *([^|]*?) *\|", table, re.MULTILINE):
        shown |= zip(re.findall(r"\w+", names), defaults.split(", "), strict=True)
    given = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    given |= {"OPENAI_BASE_URL": DEFAULT_BASE_URL, "SYSTEM_PROMPT": "a short one"}
    assert shown == {name: "" if default is None else str(default) for name, default in given.items()}


def test_every_file_of_the_service_is_in_the_table() -> None:
    table = README.partition("## How it is built")[2]
    assert {path.name for path in ROOT.glob("*.py")} == set(re.findall(r"`(\w+\.py)`", table))
