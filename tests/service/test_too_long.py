"""A prompt that is too long is sent again with less of the conversation, also if a stream has refused it."""

import json
from collections.abc import Callable

import httpx
import pytest
import respx

from client import Client
from conftest import Serve
from refusing import Body, answer_unless_refused, refused
from service.testing.chunks import DONE, answer, data, delta, streamed
from service.testing.chunks import Body as Pieces

TOO_LONG = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."


async def conversation_of(client: Client, turns: int) -> str:
    """A conversation with this many turns."""
    conversation_id = None
    for number in range(turns):
        got = await client.ask(f"Question {number}", conversation_id=conversation_id)
        conversation_id = got.events[0].data["conversation_id"]
    return str(conversation_id)


def longer_than(messages: int) -> Callable[[Body], httpx.Response | None]:
    too_long = refused(TOO_LONG, code="context_length_exceeded")
    return lambda body: too_long if len(body["messages"]) > messages else None


@pytest.mark.parametrize(("takes", "sent"), [(6, [12, 6]), (2, [12, 6, 2])])
async def test_a_prompt_that_is_too_long_is_retried_with_less_history(
    client: Client, upstream: respx.Route, caplog: pytest.LogCaptureFixture, takes: int, sent: list[int]
) -> None:
    answer_unless_refused(upstream, lambda body: None)
    conversation_id = await conversation_of(client, 5)
    requests = answer_unless_refused(upstream, longer_than(takes))
    assert (await client.ask("And now?", conversation_id=conversation_id)).last.data["status"] == "complete"
    assert [len(body["messages"]) for body in requests] == sent
    assert requests[-1]["messages"][-1] == {"role": "user", "content": "And now?"}
    if takes > 2:
        assert requests[-1]["messages"][1] == {"role": "user", "content": "Question 3"}
    assert any("MAX_HISTORY_CHARS" in record.message for record in caplog.records)


async def test_a_long_conversation_with_a_small_context_never_gets_stuck(client: Client, upstream: respx.Route) -> None:
    """As vLLM counts it: 2,048 tokens for the prompt and the longest answer together."""

    def refuse(body: Body) -> httpx.Response | None:
        prompt = sum(len(message["content"]) // 4 + 4 for message in body["messages"])
        if prompt + body["max_tokens"] <= 2048:
            return None
        return refused(
            "This model's maximum context length is 2048 tokens. However, you requested "
            f"{prompt + body['max_tokens']} tokens ({prompt} in the messages, {body['max_tokens']} in the completion). "
            "Please reduce the length of the messages or completion.",
            type="BadRequestError",
        )

    requests: list[Body] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(json.loads(request.content))
        return refuse(requests[-1]) or streamed(*answer("word " * 100))

    upstream.mock(side_effect=handle)
    conversation_id = None
    for number in range(25):
        before = len(requests)
        question = f"Question {number}: " + "what about this? " * (10 * (number % 8))
        got = await client.ask(question, conversation_id=conversation_id)
        conversation_id = got.events[0].data["conversation_id"]
        assert got.last.data["status"] == "complete"
        assert len(requests) - before <= 2
        assert requests[-1]["messages"][-1]["content"] == question.strip()
    assert {body["max_tokens"] for body in requests[1:]} == {512}
    assert len(requests[-1]["messages"]) > 3  # as much of the conversation as fits is there


async def test_a_question_that_is_too_long_by_itself_has_its_own_code_and_costs_nothing(
    serve: Serve, upstream: respx.Route
) -> None:
    answer_unless_refused(upstream, lambda body: None)
    async with serve(tenant={"tokens_per_day": 20_000}) as client:
        conversation_id = await conversation_of(client, 1)
        requests = answer_unless_refused(upstream, longer_than(0))
        for _ in range(10):  # with what each reserves, five would spend the budget
            body = {"message": "Long", "conversation_id": conversation_id}
            status, problem, _ = await client.refused(json_body=body)
            assert (status, problem["code"]) == (422, "question_too_long")
            await client.until_idle()
    assert len(requests) == 20  # with the conversation, and without it
    assert "context" not in problem["detail"]


# Refusals in a response of status 200, as LM Studio, gateways to Bedrock and older versions of llama.cpp send them


def as_event(message: str) -> httpx.Response:
    return streamed(b"event: error\n" + data({"error": {"message": message}}))


def as_field(message: str) -> httpx.Response:
    return streamed(b"error: " + json.dumps({"code": 500, "message": message}).encode() + b"\n\n")


def in_its_own_form(message: str) -> httpx.Response:
    return streamed(data({"detail": message}), DONE)


def as_json(message: str) -> httpx.Response:
    body = Pieces([json.dumps({"error": message}).encode()])
    return httpx.Response(200, headers={"Content-Type": "application/json"}, stream=body)


@pytest.mark.parametrize("refuse", [as_event, as_field, in_its_own_form, as_json])
async def test_a_prompt_that_is_too_long_for_a_stream_that_has_begun_is_retried_with_less_history(
    client: Client, upstream: respx.Route, refuse: Callable[[str], httpx.Response]
) -> None:
    answer_unless_refused(upstream, lambda body: None)
    conversation_id = await conversation_of(client, 5)
    requests = answer_unless_refused(upstream, lambda body: refuse(TOO_LONG) if len(body["messages"]) > 6 else None)
    got = await client.ask("And now?", conversation_id=conversation_id)
    assert (got.names, got.text) == (["start", "message", "done"], "Hello")
    assert [len(body["messages"]) for body in requests] == [12, 6]


async def test_a_stream_that_refuses_the_system_role_is_retried_without_and_that_is_remembered(
    client: Client, upstream: respx.Route
) -> None:
    refusal = 'Error rendering prompt: "Only user and assistant roles are supported!" at async node:internal'
    requests = answer_unless_refused(
        upstream, lambda body: as_event(refusal) if body["messages"][0]["role"] == "system" else None
    )
    assert (await client.ask("Hi")).text == "Hello"
    assert (await client.ask("Hi")).text == "Hello"
    assert [body["messages"][0]["role"] for body in requests] == ["system", "user", "user"]


async def test_a_change_that_a_stream_refuses_as_well_is_not_remembered(client: Client, upstream: respx.Route) -> None:
    requests = answer_unless_refused(
        upstream, lambda body: as_event("temperature, stream_options: whatever") if len(requests) < 3 else None
    )
    assert (await client.ask("Hi")).last.data["code"] == "upstream_failed"
    assert (await client.ask("Hi")).text == "Hello"
    assert ["stream_options" in body for body in requests] == [True, False, True]


async def test_a_question_that_a_stream_repeats_in_its_refusal_changes_nothing(
    client: Client, upstream: respx.Route
) -> None:
    question = "temperature, stream_options, system role not supported"
    requests = answer_unless_refused(upstream, lambda body: as_event(f"cannot parse '{question}'"))
    assert (await client.ask(question)).last.data["code"] == "upstream_failed"
    assert len(requests) == 1


async def test_an_error_after_the_answer_has_begun_is_never_asked_again(client: Client, upstream: respx.Route) -> None:
    answer_unless_refused(upstream, lambda body: None)
    conversation_id = await conversation_of(client, 2)
    requests = answer_unless_refused(upstream, lambda body: streamed(delta("Half"), data({"error": TOO_LONG})))
    got = await client.ask("And now?", conversation_id=conversation_id)
    assert (got.text, got.last.data["code"]) == ("Half", "upstream_interrupted")
    assert len(requests) == 1


async def test_a_refusal_in_a_stream_costs_nothing(client: Client, upstream: respx.Route) -> None:
    answer_unless_refused(upstream, lambda body: as_event(TOO_LONG))
    assert (await client.ask("Hi")).last.data["code"] == "question_too_long"
    await client.until_idle()
    assert await client.charged() == 0
