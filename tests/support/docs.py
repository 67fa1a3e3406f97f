"""The README, docs/ and their code blocks."""

import re

from preloaded import ROOT

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
README = PAGES["README.md"]
MANAGE = ".venv/bin/python manage.py "


def code_blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)


def shell_commands(page: str) -> list[str]:
    """The commands in a page's `sh` blocks, one per line."""
    lines = "".join(code_blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [re.sub(" +", " ", line.strip()) for line in lines]


def manage_commands(page: str) -> list[str]:
    """The arguments of the page's `manage.py` commands."""
    return [line.removeprefix(MANAGE) for line in shell_commands(page) if line.startswith(MANAGE)]
