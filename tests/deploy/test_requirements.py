"""The pins of the packages, and their hashes."""

import re

from preloaded import ROOT


def test_the_image_installs_exactly_the_requirements_with_hashes() -> None:
    pins = re.findall(r"^[^#\s].*$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    locked = re.findall(
        r"^(\S+==\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\\n|\n))+)",
        (ROOT / "deploy/requirements.lock").read_text(),
        re.MULTILINE,
    )
    assert sorted(normal(pin) for pin, _ in locked) == sorted(normal(pin) for pin in pins)
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r /venv/requirements.lock" in dockerfile
    assert "!deploy/requirements.lock" in (ROOT / ".dockerignore").read_text().splitlines()


def normal(pin: str) -> str:
    """A pin with its name as package indexes write it (PEP 503)."""
    name, version = pin.split("==")
    return f"{re.sub('[-_.]+', '-', name).lower()}=={version}"
