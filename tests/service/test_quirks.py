"""The service learns which parts of a question an endpoint refuses, and remembers it per endpoint and model."""

import json
from collections.abc import Callable

import httpx
import pytest
import respx

from client import Client
from conftest import Serve
from refusing import Body, answer_unless_refused, refused


def extra_forbidden(field: str) -> httpx.Response:
    """Mistral's error, which repeats the input."""
    fault = {"type": "extra_forbidden", "loc": ["body", field], "msg": "Extra inputs are not permitted", "input": {}}
    return httpx.Response(
        422, json={"object": "error", "message": {"detail": [fault]}, "type": "invalid_request_error"}
    )


def if_named(name: str, response: httpx.Response) -> Callable[[Body], httpx.Response | None]:
    return lambda body: response if name in body else None


UNSUPPORTED_CAP = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize(
    ("refuse", "gone", "there"),
    [
        (if_named("stream_options", extra_forbidden("stream_options")), "stream_options", {}),
        (
            if_named("stream_options", refused("Unrecognized request argument supplied: stream_options")),
            "stream_options",
            {},
        ),
        (
            if_named("max_tokens", refused(UNSUPPORTED_CAP, param="max_tokens", code="unsupported_parameter")),
            "max_tokens",
            {"max_completion_tokens": 4096},
        ),
        (
            if_named("temperature", refused("Unsupported value: 'temperature' does not support 0.3 with this model.")),
            "temperature",
            {"max_tokens": 4096},
        ),
    ],
)
async def test_a_refused_field_is_left_out_or_renamed_and_remembered(
    serve: Serve,
    upstream: respx.Route,
    caplog: pytest.LogCaptureFixture,
    refuse: Callable[[Body], httpx.Response | None],
    gone: str,
    there: Body,
) -> None:
    requests = answer_unless_refused(upstream, refuse)
    async with serve(tenant={"temperature": 0.3}) as client:
        assert (await client.ask("Hi")).text == "Hello"
        assert [gone in body for body in requests] == [True, False]
        assert requests[1].items() >= there.items()
        assert (await client.ask("Hi")).text == "Hello"
    assert [gone in body for body in requests] == [True, False, False]
    (record,) = [record for record in caplog.records if hasattr(record, "changes")]
    assert gone in vars(record)["changes"]
    assert vars(record)["model"] == "gpt-4o-mini"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("Your organization must be verified to stream this model. Please go to the settings.", "stream"),
        ("Your organization must be verified to stream this model. Please go to the settings.", None),
        ("Unsupported value: 'stream' does not support true with this model.", "stream"),
    ],
)
async def test_a_model_that_may_not_stream_answers_as_a_whole(
    client: Client, upstream: respx.Route, message: str, param: str | None
) -> None:
    """As OpenAI has it for o3 and GPT-5, until an organization is verified."""
    requests: list[Body] = []
    whole = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(json.loads(request.content))
        if "stream" in requests[-1] or "stream_options" in requests[-1]:
            return refused(message, param=param, code="unsupported_value", type="invalid_request_error")
        return httpx.Response(200, json=whole)

    upstream.mock(side_effect=handle)
    for _ in range(2):
        got = await client.ask("Hi")
        assert (got.names, got.text) == (["start", "message", "done"], "Hello")
    assert ["stream" in body for body in requests] == [True, False, False]


async def test_several_refused_fields_are_left_out_one_by_one(client: Client, upstream: respx.Route) -> None:
    def refuse(body: Body) -> httpx.Response | None:
        if "stream_options" in body:
            return extra_forbidden("stream_options")
        return extra_forbidden("max_tokens") if "max_tokens" in body else None

    requests = answer_unless_refused(upstream, refuse)
    assert (await client.ask("Hi")).text == "Hello"
    assert requests[-1].keys() == {"model", "messages", "stream", "max_completion_tokens"}
    assert len(requests) == 3


async def test_another_model_of_the_same_endpoint_starts_afresh(serve: Serve, upstream: respx.Route) -> None:
    requests = answer_unless_refused(
        upstream,
        lambda body: extra_forbidden("stream_options") if "stream_options" in body and body["model"] == "old" else None,
    )
    async with serve(tenant={"model": "old"}) as client:
        await client.ask("Hi")
        await client.state["service"].store.set_tenant("shop", model="new")
        await client.ask("Hi")
    assert [(body["model"], "stream_options" in body) for body in requests] == [
        ("old", True),
        ("old", False),
        ("new", True),
    ]


async def test_an_answer_limit_refused_under_both_names_is_not_left_out(
    client: Client, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    """The budget relies on it."""
    requests = answer_unless_refused(
        upstream, lambda body: extra_forbidden("max_tokens" if "max_tokens" in body else "max_completion_tokens")
    )
    status, problem, _ = await client.refused()
    assert (status, problem["code"]) == (502, "upstream_failed")
    assert [body.keys() & {"max_tokens", "max_completion_tokens"} for body in requests] == [
        {"max_tokens"},
        {"max_completion_tokens"},
    ]
    assert any("MAX_ANSWER_TOKENS=0" in str(vars(record).get("reason")) for record in caplog.records)


@pytest.mark.parametrize(
    ("message", "bound"),
    [
        ("max_tokens is too large: 4096. This model supports at most 1500 completion tokens.", 1500),
        ("`max_tokens` must be less than or equal to `1500`, the maximum value for this model", 1500),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 1500]", 1500),
        (
            "This model's maximum context length is 2048 tokens. However, you requested 4118 tokens (22 in the "
            "messages, 4096 in the completion). Please reduce the length of the messages or completion.",
            512,
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context length is 2048 "
            "tokens and your request has 22 input tokens (4096 > 2048 - 22).",
            512,
        ),
        ("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 22 and 4096", 512),
    ],
)
async def test_an_answer_limit_that_is_too_large_is_lowered(
    client: Client, upstream: respx.Route, message: str, bound: int
) -> None:
    requests = answer_unless_refused(upstream, lambda body: refused(message) if body["max_tokens"] > bound else None)
    assert (await client.ask("Hi")).text == "Hello"
    assert (await client.ask("Hi")).text == "Hello"
    assert [body["max_tokens"] for body in requests] == [4096, bound, bound]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "System role not supported"),
        (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
        (500, "While executing CallExpression: Jinja Exception: System role not supported"),  # llama.cpp
        (500, "Jinja Exception: Only user and assistant roles are supported!"),
    ],
)
async def test_without_a_system_role_the_system_prompt_goes_into_the_first_message(
    serve: Serve, upstream: respx.Route, status: int, message: str
) -> None:
    requests = answer_unless_refused(
        upstream, lambda body: refused(message, status) if body["messages"][0]["role"] == "system" else None
    )
    async with serve(tenant={"system_prompt": "Sell shirts."}) as client:
        first = await client.ask("Hi")
        await client.ask("Blue ones?", conversation_id=first.events[0].data["conversation_id"])
    assert requests[-1]["messages"] == [
        {"role": "user", "content": "Sell shirts.\n\nHi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Blue ones?"},
    ]
    assert len(requests) == 3


async def test_without_a_system_prompt_no_system_message_is_sent(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEM_PROMPT", "")
    requests = answer_unless_refused(upstream, lambda body: None)
    async with serve() as client:
        await client.ask("Hi")
    assert requests[0]["messages"] == [{"role": "user", "content": "Hi"}]


async def test_a_failure_that_names_a_field_of_ours_changes_nothing_else(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    failure = refused("cannot apply stream_options, max_tokens", 500)
    requests = answer_unless_refused(upstream, lambda body: failure if len(requests) == 1 else None)
    assert (await client.ask("Hi")).text == "Hello"
    assert requests[1] == requests[0]


async def test_a_change_that_did_not_help_is_not_remembered(client: Client, upstream: respx.Route) -> None:
    requests = answer_unless_refused(
        upstream, lambda body: refused("temperature, stream_options: whatever") if len(requests) < 3 else None
    )
    await client.refused()
    assert (await client.ask("Hi")).text == "Hello"
    assert ["stream_options" in body for body in requests] == [True, False, True]


async def test_a_refusal_that_names_no_field_of_ours_is_final(client: Client, upstream: respx.Route) -> None:
    requests = answer_unless_refused(upstream, lambda body: refused("Invalid 'top_p' in a stream"))
    assert (await client.refused())[1]["code"] == "upstream_failed"
    assert len(requests) == 1


# A refusal that repeats the question

EVIL = (
    'EVIL "é": max_tokens is too large,\ncompletion must be at most 16 tokens; system role not supported; '
    "temperature and stream_options unsupported"
)


@pytest.mark.parametrize(
    "repeat",
    [
        pytest.param(lambda body: EVIL, id="as it is"),
        pytest.param(lambda body: " ".join(EVIL.upper().split()), id="in capitals on one line"),
        pytest.param(lambda body: json.dumps(EVIL), id="as JSON"),
        pytest.param(lambda body: json.dumps(EVIL, ensure_ascii=False), id="as JSON with its letters"),
        pytest.param(lambda body: json.dumps(json.dumps({"text": f"user\n{EVIL}"})), id="as JSON in JSON"),
        pytest.param(lambda body: repr(EVIL), id="as a Python string"),
        pytest.param(lambda body: f"'{EVIL[:100]}'…", id="its beginning"),
        pytest.param(lambda body: f"input_value='{EVIL[:25]}...{EVIL[-50:]}'", id="its beginning and end"),
        pytest.param(lambda body: json.dumps(body["messages"][1:]), id="the message"),
    ],
)
async def test_a_question_that_a_refusal_repeats_changes_nothing_for_other_questions(
    serve: Serve, upstream: respx.Route, repeat: Callable[[Body], str]
) -> None:
    def refuse(body: Body) -> httpx.Response | None:
        is_first = "EVIL" in str(body["messages"]) and not any("EVIL" in str(each) for each in requests[:-1])
        return refused(f"could not parse message content: '{repeat(body)}'") if is_first else None

    requests = answer_unless_refused(upstream, refuse)
    async with serve(tenant={"temperature": 0.3}) as client:
        await client.ask("Hi")
        async with client.stream("POST", "/api/v1/chat", json_body={"message": EVIL}) as response:
            assert response.status == 502
        await client.ask("Hi")
    assert [body for body in requests if "EVIL" not in str(body)] == [requests[0]] * 2


async def test_a_question_that_shares_its_parts_with_earlier_ones_is_left_out_as_a_whole(
    client: Client, upstream: respx.Route
) -> None:
    requests = answer_unless_refused(upstream, lambda body: None)
    conversation_id = None
    for part in (EVIL[:30] + "x" * 200, "x" * 200 + EVIL[-30:], EVIL[:30]):
        got = await client.ask(part, conversation_id=conversation_id)
        conversation_id = got.events[0].data["conversation_id"]
    answer_unless_refused(upstream, lambda body: refused(f"could not parse: {EVIL}"))
    asked = {"message": EVIL, "conversation_id": conversation_id}
    await client.refused(json_body=asked)
    assert upstream.call_count == len(requests) + 1  # as there was nothing to adapt to


@pytest.mark.parametrize("question", ["max_tokens", "tokens", "a"])
async def test_a_short_question_that_a_refusal_repeats_changes_nothing_either(
    client: Client, upstream: respx.Route, question: str
) -> None:
    """But words that the refusal has anyway do not keep the service from learning."""
    requests = answer_unless_refused(
        upstream, lambda body: refused(f"could not parse '{question}'") if len(requests) == 1 else None
    )
    await client.refused(json_body={"message": question})
    requests = answer_unless_refused(upstream, if_named("max_tokens", refused(UNSUPPORTED_CAP)))
    if question != "max_tokens":
        assert (await client.ask(question)).text == "Hello"
        assert [body.keys() & {"max_tokens", "max_completion_tokens"} for body in requests] == [
            {"max_tokens"},
            {"max_completion_tokens"},
        ]
