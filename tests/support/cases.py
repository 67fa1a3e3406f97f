"""The recorded inputs in `../shared/cases`. Without that folder, their tests are skipped with a reason."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parents[3] / "shared" / "cases"


def load(file: str, key: str) -> list[Any]:
    """The cases in a file as parameters, or one skipped parameter."""
    path = CASES / file
    if not path.exists():
        return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=f"{file} is not beside the project"))]
    return [
        pytest.param(case, id=str(case.get("name", case.get("id", number))))
        for number, case in enumerate(json.loads(path.read_text())[key])
    ]


def xss_cases(key: str) -> list[dict[str, Any]]:
    """The recorded markup injections: `payloads`, or the harmless `benign_controls`."""
    path = CASES / "xss_payloads.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the project")
    found: list[dict[str, Any]] = json.loads(path.read_text())[key]
    return found


def body_of(stream: dict[str, Any]) -> bytes:
    path = CASES / str(stream["file"])
    return path.read_bytes()


def ends_honestly(stream: dict[str, Any], ending: str) -> bool:
    """Whether the case allows `ending`, a status of `done` or `error`."""
    allowed = {stream["outcome"], *stream["also_acceptable"]}
    meaning = {"complete": "complete", "length": "cut_off", "filtered": "filtered", "error": "error"}[ending]
    return meaning in allowed or (meaning == "error" and "cut_off" in allowed)


def texts_of(stream: dict[str, Any]) -> list[str]:
    """The visible texts, without a model's reasoning between tags before its answer."""
    texts = [stream["text"], *stream.get("text_any_of", [])]
    if stream["name"] == "syn-json-instead-of-sse":
        return ["Not streamed."]
    return [re.sub(r"^\s*<(think|thought)>.*?</\1>\s*", "", text, flags=re.DOTALL) for text in texts]
