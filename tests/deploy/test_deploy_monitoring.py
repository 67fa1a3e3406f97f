"""deploy/dashboard.json and deploy/alerts.yaml: a busy service exports everything that they query."""

import asyncio
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import promql_parser
import pytest
import respx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from client import Client
from conftest import Serve
from hooks import HOOKED, hand_off, hold_conversation, outbox_when_idle
from hooks import _hook as _hook
from hooks import hook as hook
from preloaded import ROOT
from service.testing.chunks import answer, streamed
from service.webhooks import delivery

TOKEN = "m3trics"
RULES = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "deploy/dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS = {"instance", "job", "le"}  # labels that Prometheus or histograms add


@dataclass
class Asked:
    """An expression's selectors, as names and matchers, and the labels that it groups by."""

    series: list[Any] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)


def asked_by(expression: str) -> Asked:
    """Raises ValueError if Prometheus couldn't parse the expression."""
    asked = Asked()
    _collect(promql_parser.parse(expression.replace("$__rate_interval", "1m")), asked)
    return asked


def _collect(node: Any, asked: Asked) -> None:
    match node:
        case promql_parser.VectorSelector():
            asked.series.append(node)
        case promql_parser.MatrixSelector():
            asked.series.append(node.vector_selector)
        case promql_parser.AggregateExpr():
            asked.labels |= set(node.modifier.labels) if node.modifier else set()
            _collect(node.expr, asked)
        case promql_parser.BinaryExpr():
            _collect(node.lhs, asked)
            _collect(node.rhs, asked)
        case promql_parser.Call():
            for each in node.args:
                _collect(each, asked)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            _collect(node.expr, asked)
        case _:
            assert isinstance(node, promql_parser.NumberLiteral), node


def expressions() -> Iterator[tuple[str, str]]:
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)
    yield from ((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"])


@pytest.fixture
async def all_samples(serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The samples of a busy service, whose questions included refused, repeated and abandoned ones."""
    monkeypatch.setattr("service.upstream.call._backoff", lambda _: 0.0)

    def answer_some(request: httpx.Request) -> httpx.Response:
        question = json.loads(request.content)["messages"][-1]["content"]
        return httpx.Response(500) if question == "fail" else streamed(*answer("Hello"))

    upstream.mock(side_effect=answer_some)
    async with serve(metrics_token=TOKEN) as client:
        again = str(uuid.uuid4())
        await asyncio.gather(*(client.ask(f"Question {number}") for number in range(20)))
        await client.refused(json_body={"message": "fail"})
        await client.refused(json_body={"message": ""})
        await asyncio.gather(*(client.ask("Hi", message_id=again) for _ in range(3)))
        await client.until_idle()
        return await _samples(client)


async def _samples(client: Client) -> list[Any]:
    async with asyncio.timeout(30):
        while True:
            _, body = await client.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            if b"chatbot_disk_free_bytes{" in body:  # looked up now and then
                families = text_string_to_metric_families(body.decode())
                return [sample for family in families for sample in family.samples]
            await asyncio.sleep(0.05)


async def test_every_queried_series_and_label_exists(all_samples: list[Any]) -> None:
    """Each selector finds at least one series, its matchers included."""
    for title, expression in expressions():
        asked = asked_by(expression)
        assert asked.series, title
        labels: set[str] = set()
        for selector in asked.series:
            found = [sample for sample in all_samples if sample.name == selector.name and matches(sample, selector)]
            assert found, f"{title}: nothing is {selector.name} with {selector.matchers.matchers}"
            labels.update(*(sample.labels for sample in found))
        assert asked.labels <= labels | OF_PROMETHEUS, title


def matches(sample: Any, selector: Any) -> bool:
    return all(_matches(sample.labels.get(each.name, ""), each) for each in selector.matchers.matchers)


def _matches(value: str, matcher: Any) -> bool:
    if matcher.op == promql_parser.MatchOp.Equal:
        return bool(value == matcher.value)
    assert matcher.op == promql_parser.MatchOp.Re, matcher
    return re.fullmatch(matcher.value, value) is not None


async def test_a_webhook_that_is_given_up_shows_as_an_increase(
    serve: Serve, hook: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prometheus sees no increase in a series that starts at 1, so each is exported from the start with 0."""
    (rule,) = [rule for rule in RULES if rule["alert"] == "ChatWebhookGivenUp"]
    (selector,) = asked_by(rule["expr"]).series
    monkeypatch.setattr(delivery, "DELAYS", ())
    hook.mock(return_value=httpx.Response(500))

    async def given_up(client: Client) -> dict[str, float]:
        samples = [each for each in await _samples(client) if each.name == selector.name and matches(each, selector)]
        return {each.labels["event"]: each.value for each in samples}

    async with serve(metrics_token=TOKEN, tenant=HOOKED) as client:
        assert await given_up(client) == {"handoff": 0, "feedback": 0}
        started = await hold_conversation(client)
        assert (await hand_off(client, started["conversation_id"]))[0] == 204
        assert [event.state for event in await outbox_when_idle(client)] == ["failed"]
        assert await given_up(client) == {"handoff": 1, "feedback": 0}


def test_legends_and_texts_use_only_labels_of_the_expression() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            labels = asked_by(target["expr"]).labels | OF_PROMETHEUS
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels, panel["title"]
    for rule in RULES:
        named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert named <= asked_by(rule["expr"]).labels, rule["alert"]


def test_each_fault_has_an_alert_that_says_what_to_do() -> None:
    assert [rule["alert"] for rule in RULES] == [
        "ChatNotReady",
        "ChatServerErrors",
        "ChatSlowFirstText",
        "ChatCircuitOpen",
        "ChatUnstoredAnswers",
        "ChatInterruptedAnswers",
        "ChatWebhookGivenUp",
        "ChatLoopLag",
        "ChatDiskFull",
    ]
    assert all(rule["annotations"].keys() == {"summary", "action"} for rule in RULES)


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
