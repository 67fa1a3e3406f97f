"""What an endpoint and a model accept, learned from their refusals, and the request body that follows from it."""

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from service.upstream.endpoint import Endpoint
from service.upstream.prompt import Prompt
from service.upstream.refusals import Refusal

log = logging.getLogger("chatbot")

OTHER_CAP = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
OPTIONAL = ("stream_options", "temperature")  # fields that can be left out
LEAST_CAP = 16  # tokens: smaller numbers in an error are not an answer limit
CONTEXT_SHARE = 4  # an answer gets a quarter of a small context; the rest is for the question and its history

TOO_LARGE = re.compile(
    r"too (large|high|big)|at most|less than|<=|must be|range|maximum|exceed|larger than|greater than"
)
OF_ANSWER = re.compile(r"completion|max_(completion_|new_|output_)?tokens|output tokens|new tokens")
CONTEXT = re.compile(r"(?:context (?:length|window|size)|max_new_tokens`? must be)\D{0,30}?(\d{3,8})")
PROMPT = re.compile(
    r"(\d{1,8}) (?:in the (?:messages|prompt)|(?:input|prompt) tokens)"
    r"|(?:resulted in|requested|contains|request \(|token count \() ?(\d{1,8})"
)
MARGIN = 0.9  # tokens are not spread evenly over a prompt
NUMBER = re.compile(r"(?<![\w.-])\d{2,8}(?![\w.-]*\w)")
# "Your organization must be verified to stream this model": a whole completion is an answer, too.
NO_STREAM = re.compile(r"\bparam\W{1,3}stream\b|verified to stream|\bstream\W{1,3}does not support true")
NO_SYSTEM = re.compile(
    r"system\W{0,3} (role|message|prompt|instruction)|roles?\b.{0,60}\bsystem\b|only user and assistant roles"
    r"|roles must alternate|developer instruction"
)


# Answers in a row that end thoughts without having begun them, until a model that has answered without is believed to
# think first: visitors can ask for the tag.
PROOFS = 5


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a provider. `cap` is the most tokens of the answer, 0 for no limit."""

    model: str
    prompt: Prompt
    temperature: float | None = None
    cap: int = 0


@dataclass(frozen=True, slots=True)
class Quirks:
    """What an endpoint and a model accept: the answer limit's name and maximum, optional fields, a system message."""

    cap_name: str
    cap_bound: int | None = None
    left_out: frozenset[str] = frozenset()
    system_role: bool = True

    def body(self, question: Question, overlay: Mapping[str, Any]) -> dict[str, Any]:
        """The request body for a question. The operator's overlay takes precedence."""
        fields = {
            "model": question.model,
            "messages": question.prompt.messages(system_role=self.system_role),
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": question.temperature,
            self.cap_name: min(question.cap, self.cap_bound or question.cap) or None,
        }
        sent = {name: value for name, value in fields.items() if name not in self.left_out}
        return {name: value for name, value in {**sent, **overlay}.items() if value is not None}

    def after(self, refusal: Refusal, body: Mapping[str, Any], overlay: Mapping[str, Any]) -> "Quirks":
        """The quirks adapted to a refusal of `body`; unchanged if the service cannot comply.

        The cap may be renamed or lowered, but never dropped: the budget relies on it.
        """
        quirks = self
        if refusal.status in (400, 422) and refusal.kind in ("refused", "too_long"):
            quirks = self._with_other_fields(refusal, body, overlay)
        elif refusal.status != 500:  # llama.cpp's status if the model's template has no system role
            return self
        if body["messages"][0]["role"] == "system" and NO_SYSTEM.search(refusal.text):
            quirks = replace(quirks, system_role=False)
        return quirks

    def _with_other_fields(self, refusal: Refusal, body: Mapping[str, Any], overlay: Mapping[str, Any]) -> "Quirks":
        quirks = self
        cap = body.get(self.cap_name)
        bound = _bound_in(refusal, body["model"], cap) if cap else None
        if bound is not None:
            quirks = replace(quirks, cap_bound=bound)
        elif cap and refusal.names(self.cap_name):
            quirks = replace(quirks, cap_name=OTHER_CAP[self.cap_name])
        refused = {name for name in OPTIONAL if name in body and name not in overlay and refusal.names(name)}
        if NO_STREAM.search(refusal.text):
            refused |= {"stream", "stream_options"}
        return replace(quirks, left_out=quirks.left_out | refused)


class KnownQuirks:
    """The quirks of all endpoints and models that this process has used so far."""

    def __init__(self) -> None:
        self._known: dict[tuple[Endpoint, str], Quirks] = {}
        self._answered_plainly: set[tuple[Endpoint, str]] = set()
        self._unopened: Counter[tuple[Endpoint, str]] = Counter()  # answers in a row with thoughts' end alone

    def of(self, endpoint: Endpoint, model: str) -> Quirks:
        known = self._known.get((endpoint, model))
        if known is None:
            known = self._known[endpoint, model] = Quirks(endpoint.cap_name)
        return known

    def thinks_first(self, endpoint: Endpoint, model: str) -> bool:
        """Whether answers begin with thoughts without an opening tag."""
        key = endpoint, model
        return self._unopened[key] >= (PROOFS if key in self._answered_plainly else 1)

    def keep_thinks_first(self, endpoint: Endpoint, model: str, does: bool, *, complete: bool) -> None:
        """Remember whether an answer did. The first one's thoughts were shown, because only their end reveals them.

        One that is not complete may have ended in its thoughts.
        """
        key = endpoint, model
        if does:
            knew = self.thinks_first(endpoint, model)
            self._unopened[key] += 1
            if self.thinks_first(endpoint, model) and not knew:
                log.warning(
                    "the model's thoughts come as text without <think>: they are hidden from the next answer on; let "
                    "the server separate them, as with vLLM's --reasoning-parser",
                    extra={"endpoint": endpoint.host, "model": model},
                )
        elif complete:
            self._answered_plainly.add(key)
            self._unopened.pop(key, None)

    def keep(self, endpoint: Endpoint, model: str, quirks: Quirks) -> None:
        """Remember quirks that worked, and log changes."""
        before = self.of(endpoint, model)
        if quirks != before:
            self._known[endpoint, model] = quirks
            new = "; ".join(changes(before, quirks))
            log.warning(
                "the endpoint refused a part of the request: further requests to it are changed",
                extra={"endpoint": endpoint.host, "model": model, "changes": new},
            )


def changes(before: Quirks, after: Quirks) -> list[str]:
    """The changes, in words for the operator."""
    new = [f"without {name}" for name in sorted(after.left_out - before.left_out)]
    if after.cap_name != before.cap_name:
        new.append(f"{after.cap_name} in place of {before.cap_name}")
    if after.cap_bound != before.cap_bound:
        new.append(f"{after.cap_name} at most {after.cap_bound}")
    if after.system_role != before.system_role:
        new.append("the system prompt in the first message of the user")
    return new


def characters_that_fit(refusal: Refusal, prompt: Prompt, cap: int) -> float:
    """The most characters of a prompt with an answer of `cap`, by the refusal's counts; infinite without any."""
    context, counted = CONTEXT.search(refusal.text), PROMPT.search(refusal.text)
    if context is None or counted is None:
        return math.inf
    tokens = int(counted[1] or counted[2])
    if not 0 < tokens <= 2 * prompt.characters:  # not the size of this prompt
        return math.inf
    room = int(context[1])
    return MARGIN * (room - min(cap, room // CONTEXT_SHARE)) * prompt.characters / tokens


def _bound_in(refusal: Refusal, model: str, cap: int) -> int | None:
    """The answer limit named by a refusal, if it is lower than the requested one."""
    text = refusal.text.replace(model.lower(), "")
    if not OF_ANSWER.search(text):
        return None
    if context := CONTEXT.search(text):
        share = int(context[1]) // CONTEXT_SHARE
        return share if LEAST_CAP <= share < cap else None
    if not TOO_LARGE.search(text) or not any(map(refusal.names, OTHER_CAP)):
        return None
    return max((number for number in map(int, NUMBER.findall(text)) if LEAST_CAP <= number < cap), default=None)
