"""`upstream check`: ask the provider one tiny question, and report what its answer shows."""

import asyncio
import json
import logging
import sys
import time
from dataclasses import dataclass, field, replace
from typing import Any

import click

from service.access.limits import answer_cap
from service.commands.arguments import Group, json_option, output_errors
from service.commands.output import print_json
from service.errors import AddressUnknown, NotSetUp, ServiceError
from service.settings import Settings, load_settings
from service.store.records import Tenant
from service.store.store import open_store
from service.upstream.clients import connect_upstream
from service.upstream.endpoint import Endpoint, endpoint_of
from service.upstream.prompt import Prompt
from service.upstream.quirks import Question, Quirks, changes
from service.upstream.stream import Finish, Hidden, Part, Sources

PROMPT = Prompt(system="This is a test of the connection.", question="Count from one to ten, in words.")
TOGETHER_SECONDS = 0.001  # pieces closer together than this arrived as one
LEAST_MOMENTS = 3  # at which text must arrive to count as streamed

upstream = Group("upstream", help="the provider that answers")


@dataclass
class Probe:
    """One question and its answer, with times in seconds since it was asked."""

    endpoint: Endpoint
    question: Question
    before: Quirks
    after: Quirks
    began: float = field(default_factory=time.monotonic)
    accepted: float | None = None
    moments: list[float] = field(default_factory=list)  # at which text arrived
    hidden: int = 0  # characters that are not shown, such as thoughts
    sources: int = 0
    ending: Finish | ServiceError | None = None

    def accept(self) -> None:
        self.accepted = time.monotonic() - self.began

    def receive(self, part: Part) -> None:
        match part:
            case Hidden():
                self.hidden += part.size.characters
            case Sources():
                self.sources = len(part.sources)
            case _:
                at = time.monotonic() - self.began
                if not self.moments or at - self.moments[-1] > TOGETHER_SECONDS:
                    self.moments.append(at)

    @property
    def works(self) -> bool:
        return isinstance(self.ending, Finish) and bool(self.moments)

    def facts(self) -> dict[str, Any]:
        finish = self.ending if isinstance(self.ending, Finish) else None
        count = finish.usage if finish else None
        return {
            "provider": self.endpoint.host,
            "model": self.question.model,
            "works": self.works,
            "problem": str(self.ending) if isinstance(self.ending, ServiceError) else None,
            "accepted_after": _rounded(self.accepted),
            "first_text_after": _rounded(self.moments[0] if self.moments else None),
            "streams": len(self.moments) >= LEAST_MOMENTS if self.moments else None,
            "tokens": {"prompt": count.prompt_tokens, "completion": count.completion_tokens} if count else None,
            "thinks": self.hidden > 0,
            "cites": self.sources > 0,
            "ended": finish.status if finish else None,
            "refuses": changes(self.before, self.after),
        }


@upstream.command("check", help="ask the provider one short question, and report what works and which settings to use")
@click.argument("name", metavar="[TENANT]", required=False)
@json_option
def check(name: str | None, as_json: bool) -> None:
    logging.getLogger("chatbot").addHandler(logging.NullHandler())  # what it would log is printed
    settings = load_settings()
    tenant = asyncio.run(_tenant(settings, name)) if name else None
    if settings.demonstration and not (tenant and (tenant.openai_key_env or tenant.openai_base_url_env)):
        raise ValueError("no provider is set: set OPENAI_API_KEY or OPENAI_BASE_URL")
    try:
        probe = asyncio.run(probe_provider(settings, tenant))
    except NotSetUp as error:
        raise ValueError(str(error)) from None
    facts = probe.facts() | {"settings": _settings_to_use(probe, tenant) if probe.works else []}
    with output_errors():
        print_json(facts) if as_json else _print(facts)
        sys.stdout.flush()
    if not probe.works:
        raise ValueError(facts["problem"] or "the answer had no text")


async def _tenant(settings: Settings, name: str) -> Tenant:
    async with open_store(settings.database_url, migrate=False) as store:
        return await store.get_tenant(name)


async def probe_provider(settings: Settings, tenant: Tenant | None) -> Probe:
    """Ask the provider; if the address is unknown, retry with `/v1`, where most providers have their API."""
    endpoint = endpoint_of(settings, tenant)
    model = (tenant and tenant.model) or settings.openai_model
    cap = answer_cap(settings, tenant.max_answer_tokens if tenant else None)
    question = Question(model, PROMPT, tenant.temperature if tenant else None, cap)
    probe = await _ask(settings, endpoint, question)
    if isinstance(probe.ending, AddressUnknown) and not endpoint.base_url.endswith("/v1"):
        second = await _ask(settings, replace(endpoint, base_url=f"{endpoint.base_url}/v1"), question)
        return second if second.works else probe
    return probe


async def _ask(settings: Settings, endpoint: Endpoint, question: Question) -> Probe:
    async with connect_upstream(settings) as connections:
        quirks = connections.quirks
        before = quirks.of(endpoint, question.model)
        probe = Probe(endpoint, question, before, before)
        call = connections.call(endpoint, question, probe)
        try:
            probe.ending = await call.run()
        except ServiceError as error:
            probe.ending = error
        probe.after = quirks.of(endpoint, question.model)
        return probe


def _settings_to_use(probe: Probe, tenant: Tenant | None) -> list[str]:
    """The settings with which the first request succeeds, without the secrets."""
    after, lines = probe.after, []
    body = {name: None for name in sorted(after.left_out & {"stream_options"})}
    if tenant is None:
        lines += [f"OPENAI_BASE_URL={probe.endpoint.shown_url}", f"OPENAI_MODEL={probe.question.model}"]
        lines += [f"MAX_ANSWER_TOKENS={after.cap_bound}"] if after.cap_bound else []
        lines += [f"OPENAI_BODY={json.dumps(body)}"] if body else []
        return lines
    if tenant.openai_base_url_env:
        lines.append(f"{tenant.openai_base_url_env}={probe.endpoint.shown_url}")
    options = ["--model", probe.question.model]
    options += ["--max-answer-tokens", str(after.cap_bound)] if after.cap_bound else []
    options += ["--unset", "temperature"] if "temperature" in after.left_out else []
    lines.append(f"manage.py tenant set {json.dumps(tenant.name, ensure_ascii=False)} {' '.join(options)}")
    if body:
        lines.append(f"in its --upstream file: {json.dumps({'body': body})}")
    return lines


def _print(facts: dict[str, Any]) -> None:
    seconds = facts["first_text_after"]
    tokens = facts["tokens"]
    lines = {
        "provider": facts["provider"],
        "model": facts["model"],
        "connects": "no" if facts["accepted_after"] is None else f"yes, accepted after {facts['accepted_after']} s",
        "first text": "none" if seconds is None else f"after {seconds} s",
        "streams": {True: "yes, word by word", False: "no, the whole answer came at once", None: "?"}[facts["streams"]],
        "counts tokens": f"yes, {tokens['prompt']} and {tokens['completion']}" if tokens else "no, they are estimated",
        "thinks": "yes" if facts["thinks"] else "not about this question",
        "cites": "yes" if facts["cites"] else "not about this question",
        "ended": facts["ended"] or "with an error",
        "accepts": "; ".join(facts["refuses"]) or "everything",
    }
    for name, value in lines.items():
        print(f"{name:<14} {value}")
    if facts["settings"]:
        print("\nIt works with these settings, together with the key:\n")
        print("\n".join(facts["settings"]))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
