"""The meaning of an endpoint's error, in every format that providers use."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx

from client import Client
from conftest import Serve
from service.testing.chunks import Body, answer, data, delta, streamed
from service.upstream.responses import MAX_ERROR_BODY_BYTES

CANARY = "canary-of-the-provider"


def nested(message: str = CANARY, **error: Any) -> dict[str, Any]:
    return {"error": {"message": message, **error}}


# The expected status, code and cause.
TOO_LONG = (422, "question_too_long", None)
FILTERED = (422, "question_filtered", None)
KEY = (502, "upstream_failed", "key_refused")
MODEL = (502, "upstream_failed", "model_unknown")
CREDIT = (502, "upstream_failed", "out_of_credit")
ADDRESS = (502, "upstream_failed", "address_unknown")
FAILED = (502, "upstream_failed", None)

QUOTA = "OpenAIException - You exceeded your current quota, please check your plan and billing details."

MEANINGS: list[tuple[int, Any, tuple[int, str, str | None]]] = [
    (400, nested(code="context_length_exceeded"), TOO_LONG),
    (400, {"object": "error", "message": "Prompt is too long: 9000 tokens", "code": 3051}, TOO_LONG),
    (400, {"error": "This model's maximum context length is 2048 tokens"}, TOO_LONG),
    (413, {}, TOO_LONG),
    (429, nested("Request too large for gpt-4o on tokens per min", code="rate_limit_exceeded"), TOO_LONG),
    (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"}, TOO_LONG),
    (400, nested("The decoder prompt (length 4000) is longer than the maximum model length of 2048."), TOO_LONG),
    (400, {"message": "length of prompt_tokens (40000) must be less than max_seq_len (32768)."}, TOO_LONG),
    (400, nested("Prompt tokens too long"), TOO_LONG),
    (400, nested("the max input characters is 20000"), TOO_LONG),
    (400, nested(code="characters_too_long"), TOO_LONG),
    (400, nested("The number of input tokens 9000 cannot exceed the total tokens limit 8192"), TOO_LONG),
    (400, nested("Total tokens of text exceed max message tokens.", code="OutofContextError"), TOO_LONG),
    (400, nested("prompt token count of 9 exceeds the limit of 8", code="model_max_prompt_tokens_exceeded"), TOO_LONG),
    (400, nested("litellm.ContextWindowExceededError: litellm.BadRequestError: x", code="400"), TOO_LONG),
    (400, {"error": "Cannot truncate prompt with n_keep (15028) >= n_ctx (7424)"}, TOO_LONG),
    (400, nested(code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}), FILTERED),
    (400, nested(code="data_inspection_failed", type="data_inspection_failed"), FILTERED),
    (400, nested("Your prompt was flagged as violating our usage policy", code="invalid_prompt"), FILTERED),
    (403, nested("Your input was flagged", code=403, metadata={"reasons": ["violence"]}), FILTERED),
    (400, nested("Content Exists Risk", type="invalid_request_error", code="invalid_request_error"), FILTERED),
    (403, {"error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, FILTERED),
    (400, nested("The input text may contain sensitive information."), FILTERED),
    (400, nested(code="SensitiveContentDetected"), FILTERED),
    (400, nested(code="OutputTextSensitiveContentDetected.SevereViolation"), FILTERED),
    (400, nested("The request was rejected because it was considered high risk"), FILTERED),
    (400, nested("输入内容违规"), FILTERED),
    (400, nested("litellm.ContentPolicyViolationError: litellm.BadRequestError: x", code="400"), FILTERED),
    (451, nested("The content is blocked.", type="censorship_blocked"), FILTERED),
    (451, {}, FILTERED),
    (401, nested(code="invalid_api_key"), KEY),
    (401, {"detail": "Invalid API Key"}, KEY),
    (401, [{"error": {"code": 401, "message": CANARY, "status": "UNAUTHENTICATED"}}], KEY),
    (400, [nested("API key not valid.", status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}])], KEY),
    (403, {"message": "Forbidden"}, KEY),
    (404, nested(code="model_not_found"), MODEL),
    (404, {"error": "Specified model not found: x. Did you mean: y?"}, MODEL),
    (404, nested('model "llama9" not found, try pulling it first'), MODEL),
    (403, nested("Project has no access", code="model_not_found"), MODEL),
    (400, nested("The supported API model names are a and b, but you passed c."), MODEL),
    (404, [nested("models/x is not found for API version v1main. Call ListModels", status="NOT_FOUND")], MODEL),
    (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}, MODEL),
    (404, nested('AnthropicException - {"type": "not_found_error", "message": "model: x"}'), MODEL),
    (400, nested("foo/bar is not a valid model ID", code=400), MODEL),
    (404, nested("Not found the model x or Permission denied", type="resource_not_found_error"), MODEL),
    (400, {"message": "The provided model identifier is invalid."}, MODEL),
    (404, nested("This is not a chat model and thus not supported in the v1/chat/completions endpoint."), MODEL),
    (404, {"title": "Not Found", "detail": "Function 'x': Not found for account 'y'"}, MODEL),
    (410, {"title": "Gone", "detail": "The model 'x' has reached its end of life on 2025-05-15."}, MODEL),
    (503, nested("No available channel for model x", type="new_api_error", code="model_not_found"), MODEL),
    (404, {"message": "The given endpoint does not exist, please retry after checking the specified model"}, MODEL),
    (404, nested("Your account 2100 has not activated the model x.", code="ModelNotOpen"), MODEL),
    (400, nested("Unavailable model: x", code="unavailable_model"), MODEL),
    (404, nested("No allowed providers are available for the selected model.", code=404), MODEL),
    (404, nested("This model is only supported in v1/responses and not in v1/chat/completions."), MODEL),
    (400, {"message": "Invocation of model ID x with on-demand throughput isn’t supported."}, MODEL),
    (404, {"message": "Model use case details have not been submitted for this account."}, MODEL),
    (404, {"message": "This model version has reached the end of its life."}, MODEL),
    (404, nested("No models loaded. Please load a model in the developer page."), MODEL),
    (404, nested("Unable to access model x. Please visit the list of supported models."), MODEL),
    (403, {"message": "You don't have access to the model with the specified model ID."}, MODEL),
    (403, nested("No access to model: openai/gpt-5", code="no_access"), MODEL),
    (403, nested("Model access denied.", code="Model.AccessDenied"), MODEL),
    (404, "404 page not found", ADDRESS),
    (404, nested("File Not Found", type="not_found_error", code=404), ADDRESS),
    (404, nested("The requested endpoint does not exist"), ADDRESS),
    (307, {}, ADDRESS),
    (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, ADDRESS),
    (402, nested("This request requires more credits", code=402), CREDIT),
    (429, nested(type="insufficient_quota", code="insufficient_quota"), CREDIT),
    (429, nested(type="insufficient_quota", code="credit_balance_exhausted"), CREDIT),
    (429, nested(type="exceeded_current_quota_error"), CREDIT),
    (429, nested(code="billing_not_active", type="billing_not_active"), CREDIT),
    (429, nested("You exceeded your current quota, please check your billing"), CREDIT),
    (400, nested("Your credit balance is too low", type="invalid_request_error"), CREDIT),
    (400, {"code": "Arrearage", "message": "make sure your account is in good standing"}, CREDIT),
    (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}, CREDIT),
    (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": CANARY}, CREDIT),
    (403, {"message": "not enough balance"}, CREDIT),
    (400, nested("Budget has been exceeded! Current cost: 0.02, Max budget: 0.01", code="400"), CREDIT),
    (429, nested(type="budget_exceeded", code="429"), CREDIT),
    (400, nested("You have reached your specified API usage limits.", type="invalid_request_error"), CREDIT),
    (412, nested("Account x is suspended, possibly due to reaching the monthly spending limit"), CREDIT),
    (403, nested("Your account has an overdue balance.", code="AccountOverdueError"), CREDIT),
    (403, nested("The free tier of the model has been exhausted.", code="AllocationQuota.FreeTierOnly"), CREDIT),
    (403, nested("用户额度不足"), CREDIT),
    (429, {"error": "You have no credits left"}, CREDIT),
    (403, {"message": "Inactive subscription or usage limit reached"}, CREDIT),
    (429, nested(f"litellm.RateLimitError: {QUOTA}", type="throttling_error", code="429"), CREDIT),
    (429, {"error": "openai.RateLimitError: Error code: 429 - {'code': 'insufficient_quota'}"}, CREDIT),
    (429, {"errors": [{"message": "you have used up your daily free allocation of 10,000 neurons"}]}, CREDIT),
    (403, {"errors": [{"code": "token_quota_reached", "message": CANARY}]}, CREDIT),
    (403, nested("Key limit exceeded (total limit).", code=403), CREDIT),
    (400, nested("ExceededTokenBudget: Current spend for token: 0.02; Max Budget for Token: 0.01"), CREDIT),
    (400, nested("Invalid 'logit_bias'"), FAILED),
    (400, {"message": CANARY, "input": "the context length of a visitor"}, FAILED),
    (400, nested("'top_k' is not a valid model parameter"), FAILED),
    (409, nested("The model x is not available yet"), FAILED),
    (400, "<html>our content policy on billing and context length</html>", FAILED),
]


@pytest.mark.parametrize(("status", "body", "expected"), MEANINGS)
async def test_a_refusal_is_classified_after_one_attempt(
    client: Client,
    upstream: respx.Route,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: Any,
    expected: tuple[int, str, str | None],
) -> None:
    content: dict[str, Any] = {"text": body} if isinstance(body, str) else {"json": body}
    upstream.mock(return_value=httpx.Response(status, headers={"Location": "https://x.test"}, **content))
    got, problem, headers = await client.refused()
    assert (got, problem["code"], problem.get("cause")) == expected
    assert upstream.call_count == 1
    assert "retry-after" not in headers
    assert "shortly" not in problem["detail"]
    everything = caplog.text + "".join(str(vars(record)) for record in caplog.records) + str(problem)
    assert CANARY not in everything


@pytest.mark.parametrize(
    "question",
    [
        "foo/bar is not a valid model ID. Unavailable model: x",
        "Content Exists Risk; it violates usage guidelines and has sensitive information",
        "My account balance is insufficient, an invoice is overdue, and the budget has been exceeded",
        "It must have less than 1024 tokens, and is longer than the maximum length: tokens too long",
    ],
)
async def test_the_visitors_words_do_not_decide_the_meaning(
    client: Client, upstream: respx.Route, question: str
) -> None:
    upstream.mock(return_value=httpx.Response(400, json=nested(f"Invalid message '{question}'")))
    _, problem, _ = await client.refused(json_body={"message": question})
    assert (problem["code"], problem.get("cause")) == ("upstream_failed", None)


DAILY = {"headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Reset": "4744156800000"}}  # OpenRouter's, in milliseconds

BUSY: list[tuple[int, dict[str, str], Any, str, str]] = [
    (429, {}, nested(code="rate_limit_exceeded"), "busy", "5"),
    (429, {"Retry-After": "7.66"}, nested(), "busy", "8"),
    (429, {"Retry-After": "20"}, nested("Rate limit reached, add a payment method to raise it"), "busy", "20"),
    (429, {"retry-after-ms": "7660"}, nested(), "busy", "8"),
    (429, {}, nested("Rate limit reached. Please try again in 1m7.5s."), "busy", "68"),
    (
        429,
        {},
        [nested("You exceeded your current quota. Please retry in 34.07s.", status="RESOURCE_EXHAUSTED")],
        "busy",
        "35",
    ),
    (429, {}, nested("Rate limit of 50 per 86400s exceeded. Please wait 43 seconds before retrying."), "busy", "43"),
    (429, {}, [nested(f"{QUOTA}", details=[{"retryDelay": "34s"}])], "busy", "34"),
    (429, {}, nested("litellm.RateLimitError: OpenAIException - Rate limit reached, see billing"), "busy", "5"),
    (429, {"Retry-After": "2592000"}, nested(), "busy", "3600"),
    (429, {"X-RateLimit-Reset": "7.2"}, nested("Rate limit reached"), "busy", "8"),
    (429, {"X-RateLimit-Reset": "4744156800"}, nested("Rate limit reached"), "busy", "3600"),
    (429, {}, nested("Rate limit exceeded: free-models-per-day. Add 10 credits", metadata=DAILY), "busy", "3600"),
    (429, {"X-RateLimit-Reset": "soon"}, nested("Rate limit reached"), "busy", "5"),
    (429, {"Retry-After": "Wed Oct 21 07:28:00 2099"}, nested(), "busy", "3600"),
    (498, {}, nested("Flex tier capacity exceeded. Please try again later."), "busy", "5"),
    (400, {}, nested("Too many tokens, please wait before trying again.", code="ThrottlingException"), "busy", "5"),
    (500, {}, {"detail": "(ThrottlingException) when calling Converse: Too many tokens"}, "busy", "5"),
    (429, {"Retry-After": "9"}, nested(type="engine_overloaded_error"), "provider_overloaded", "9"),
    (529, {"Retry-After": "9"}, {"type": "error", "error": {"type": "overloaded_error"}}, "provider_overloaded", "9"),
    (503, {"Retry-After": "9"}, {}, "provider_overloaded", "9"),
    (500, {"Retry-After": "9"}, nested("The engine is currently overloaded"), "provider_overloaded", "9"),
]


@pytest.mark.parametrize(("status", "headers", "body", "code", "wait"), BUSY)
async def test_rate_limits_and_overloads_have_a_retry_after(
    client: Client,
    upstream: respx.Route,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    headers: dict[str, str],
    body: Any,
    code: str,
    wait: str,
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    upstream.mock(return_value=httpx.Response(status, headers=headers, json=body))
    got, problem, response_headers = await client.refused()
    assert (got, problem["code"], response_headers["retry-after"]) == (503, code, wait)
    assert upstream.call_count == (3 if wait == "5" else 1)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("Rate limit reached", 5),
        ("Rate limit reached. Retry in 7.5s", 8),
        ("ThrottlingException: Too many tokens, please wait before trying again.", 5),
        ("Throttling.AllocationQuota: Allocated quota exceeded, please increase your quota limit.", 5),
    ],
)
async def test_a_rate_limit_reported_with_status_200_has_a_retry_after(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch, text: str, wait: int
) -> None:
    """As JSON, it is a refusal; as the first event of a stream, the answer's only event."""
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    upstream.mock(return_value=httpx.Response(200, json=nested(text)))
    status, problem, headers = await client.refused()
    assert (status, problem["code"], headers["retry-after"]) == (503, "busy", str(wait))
    upstream.mock(return_value=streamed(data(nested(text))))
    last = (await client.ask("Hi")).last
    assert (last.name, last.data["code"], last.data["retry_after"]) == ("error", "busy", wait)


async def test_a_filtered_question_reported_within_a_stream_is_classified(
    client: Client, upstream: respx.Route
) -> None:
    """As MiniMax does."""
    filtered = {"choices": None, "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}
    upstream.mock(return_value=streamed(data(filtered)))
    last = (await client.ask("Hi")).last
    assert (last.name, last.data["code"]) == ("error", "question_filtered")


class Endless(httpx.AsyncByteStream):
    """A body without an end."""

    def __init__(self) -> None:
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += 1000
            yield b"x" * 1000
            await asyncio.sleep(0)


async def test_only_the_beginning_of_a_refusal_is_read(client: Client, upstream: respx.Route) -> None:
    body = Endless()
    upstream.mock(return_value=httpx.Response(401, stream=body))
    status, problem, _ = await client.refused()
    assert (status, problem["code"]) == (502, "upstream_failed")
    assert body.sent <= MAX_ERROR_BODY_BYTES + 1000


async def test_a_refusal_whose_body_does_not_arrive_counts_by_its_status(serve: Serve, upstream: respx.Route) -> None:
    body = Body([b"{", asyncio.Event()])
    upstream.mock(return_value=httpx.Response(401, stream=body))
    async with serve(connect_timeout=1, first_text_timeout=10) as client:
        status, problem, _ = await client.refused()
    assert (status, problem.get("cause")) == (502, "key_refused")
    assert body.closed.is_set()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
async def test_transient_errors_are_retried(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    upstream.mock(side_effect=[httpx.Response(status), httpx.Response(status), streamed(*answer("Hello"))])
    assert (await client.ask("Hi")).text == "Hello"


@pytest.mark.parametrize(
    "error",
    [
        nested("Provider returned error", code=502),  # OpenRouter, whose comments have begun the stream
        nested("Rate limit exceeded", code=429),
        {"error": "Model is overloaded", "error_type": "overloaded"},
        {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},  # MiniMax
    ],
)
async def test_transient_errors_in_place_of_an_answer_are_retried(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch, error: dict[str, Any]
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    failed = [streamed(b": OPENROUTER PROCESSING\n\n", data(error)) for _ in range(5)]
    upstream.mock(side_effect=[*failed[:2], streamed(*answer("Hello"))])
    got = await client.ask("Hi")
    assert (got.names, got.text) == (["start", "message", "done"], "Hello")
    await client.until_idle()
    assert await client.charged() == 13
    upstream.mock(side_effect=failed[2:])
    assert (await client.ask("Hi")).last.name == "error"
    assert upstream.call_count == 6


@pytest.mark.parametrize(
    "pieces",
    [
        [data(nested("Rate limit exceeded. Try again in 20s", code=429))],
        [data(nested(code="insufficient_quota"))],
        [data(nested("Invalid 'top_k'"))],
        [data({"choices": [{"delta": {"reasoning_content": "Hm"}}]}), data(nested(code=502))],
        [delta("Half"), data(nested(code=502))],
    ],
    ids=["a long wait", "no credit", "refused", "after thoughts", "after text"],
)
async def test_other_errors_in_a_stream_are_final(client: Client, upstream: respx.Route, pieces: list[bytes]) -> None:
    upstream.mock(return_value=streamed(*pieces))
    assert (await client.ask("Hi")).last.name == "error"
    assert upstream.call_count == 1


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (401, nested(code="invalid_api_key"), "OPENAI_API_KEY"),
        (404, nested(code="model_not_found"), "OPENAI_MODEL"),
        (404, "404 page not found", "OPENAI_BASE_URL"),
        (429, nested(code="insufficient_quota"), "top it up"),
        (429, nested(), "rate limit"),
        (400, nested(code="context_length_exceeded"), "MAX_HISTORY_CHARS"),
    ],
)
async def test_the_log_tells_the_operator_what_to_do(
    client: Client, upstream: respx.Route, caplog: pytest.LogCaptureFixture, status: int, body: Any, advice: str
) -> None:
    content: dict[str, Any] = {"text": body} if isinstance(body, str) else {"json": body}
    upstream.mock(return_value=httpx.Response(status, headers={"Retry-After": "60"}, **content))
    await client.refused()
    (record,) = [record for record in caplog.records if record.message == "answer"]
    assert advice in vars(record)["reason"]
    assert str(status) in vars(record)["reason"]


async def test_an_unknown_short_word_stays_out_of_the_log(
    client: Client, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.mock(return_value=httpx.Response(400, json=nested(code="canary_secret", type="invalid_request_error")))
    await client.refused()
    (record,) = [record for record in caplog.records if record.message == "answer"]
    assert "(invalid_request_error)" in vars(record)["reason"]
    assert "canary" not in vars(record)["reason"]


async def test_usage_shows_the_reason_for_a_failure(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=httpx.Response(402))
    await client.refused()
    store = client.state["service"].store
    totals = await store.usage("shop", since=datetime.now(UTC) - timedelta(days=1), by=["outcome"])
    assert [total.group for total in totals] == [("out_of_credit",)]
