"""The dialects of providers by name, each modelled on recorded streams."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from service.store.records import Source
from service.testing.chunks import data


def openai_error(status: int, code: str | None, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def flat_error(status: int, code: str | None, message: str) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": code or "BadRequestError", "param": None, "code": status}


def numbered_error(status: int, code: str | None, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "code": status, "metadata": {"reason": code}}}


def plain_error(status: int, code: str | None, message: str) -> dict[str, Any]:
    return {"error": message}


def listed_error(status: int, code: str | None, message: str) -> list[dict[str, Any]]:
    return [{"error": {"code": status, "message": message, "status": (code or "FAILED_PRECONDITION").upper()}}]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one provider formats its responses.

    `usage`: in a separate chunk, in the last one, in every one, or not at all. `thoughts`: the field of the delta that
    has them, or the tag around them in its text. `sources`: the form of citations. `refused_fields`: the fields of a
    request that get a 422.
    """

    usage: Literal["own chunk", "last chunk", "every chunk", "none"] = "own chunk"
    thoughts: Literal["reasoning_content", "reasoning", "parts", "<think>", "<thought>"] = "reasoning_content"
    sources: Literal["annotations", "citations", "context"] = "annotations"
    error: Callable[[int, str | None, str], object] = openai_error
    refused_fields: tuple[str, ...] = ()
    heartbeat: bytes = b""  # before the first chunk
    first: bytes = b""  # a chunk that it sends before the answer
    streams: bool = True  # otherwise it always answers with a whole JSON completion
    reasons: Mapping[str, str] = field(default_factory=dict)  # its finish reasons, by OpenAI's

    def delta(self, text: str) -> dict[str, Any]:
        return {"content": text}

    def thought(self, text: str) -> list[dict[str, Any]]:
        """The deltas of a thought."""
        if self.thoughts == "parts":
            thinking = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            return [{"content": [thinking]}]
        if self.thoughts in ("<think>", "<thought>"):
            return [{"content": part} for part in (self.thoughts, text, f"</{self.thoughts[1:]}\n\n")]
        return [{"content": "", self.thoughts: text}]

    def cited(self, sources: Sequence[Source]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parts of a citing chunk: in its delta, and beside its choices."""
        if self.sources == "citations":
            return {"content": ""}, {"citations": [each["url"] for each in sources], "search_results": list(sources)}
        if self.sources == "context":
            documents = [{**each, "content": "…", "filepath": None, "chunk_id": "0"} for each in sources]
            return {"role": "assistant", "context": {"citations": documents, "intent": "[]"}}, {}
        citations = [{"type": "url_citation", "url_citation": {**each, "start_index": 0}} for each in sources]
        return {"content": "", "annotations": citations}, {}


FILTER_RESULTS = {"hate": {"filtered": False, "severity": "safe"}}

DIALECTS: dict[str, Dialect] = {
    "openai": Dialect(),
    "azure": Dialect(
        sources="context",
        first=data({"choices": [], "prompt_filter_results": [{"prompt_index": 0, **FILTER_RESULTS}]}),
    ),
    "openrouter": Dialect(thoughts="reasoning", error=numbered_error, heartbeat=b": OPENROUTER PROCESSING\n\n"),
    "mistral": Dialect(
        usage="last chunk",
        thoughts="parts",
        error=flat_error,
        refused_fields=("stream_options", "max_completion_tokens"),
        reasons={"length": "model_length"},
    ),
    "deepseek": Dialect(usage="last chunk", heartbeat=b": keep-alive\n\n"),
    "groq": Dialect(usage="last chunk", thoughts="reasoning"),
    "gemini": Dialect(usage="every chunk", thoughts="<thought>", error=listed_error),
    "perplexity": Dialect(usage="every chunk", thoughts="<think>", sources="citations"),
    "vllm": Dialect(thoughts="<think>", error=flat_error),
    "ollama": Dialect(thoughts="reasoning"),
    "json": Dialect(streams=False, error=plain_error),
}
