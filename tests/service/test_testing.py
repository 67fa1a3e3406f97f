"""The pytest plugin for other teams: scripted providers, and the service that uses them."""

import uuid

import httpx
import pytest
import respx

from service.testing import (
    DIALECTS,
    Chat,
    answers,
    breaks_after,
    cites,
    in_turn,
    refuses,
    running_chat,
    stalls_after,
    thinks,
)

HOURS = {"title": "Opening hours", "url": "https://shop.example/hours"}
PRICES = {"title": "Prices", "url": "https://shop.example/prices"}


def test_an_answer_arrives_word_by_word_and_ends_as_complete(chat: Chat, upstream: respx.Route) -> None:
    upstream.mock(side_effect=answers("One two three", pace=0.05))
    answer = chat.ask("Count")
    assert (answer.text, answer.ending, answer.sources) == ("One two three", "complete", [])
    assert [event.data["chunk"] for event in answer.events if event.name == "message"] == ["One", " two", " three"]
    assert answer.events[-1].data["usage"] == {"prompt_tokens": 9, "completion_tokens": 4}


def test_the_same_answer_is_given_to_every_question(chat: Chat, upstream: respx.Route) -> None:
    upstream.mock(side_effect=answers("Hello", " there", finish_reason="length", tokens=None))
    for _ in range(2):
        answer = chat.ask("Hi")
        assert (answer.text, answer.ending, answer.events[-1].data["usage"]) == ("Hello there", "length", None)
    assert upstream.call_count == 2


def test_several_answers_are_given_in_turn(chat: Chat, upstream: respx.Route) -> None:
    upstream.mock(side_effect=in_turn(answers("One"), refuses(401, "invalid_api_key"), answers("Three")))
    assert [chat.ask("Next?").status for _ in range(3)] == [200, 502, 200]


def test_a_connection_error_can_be_simulated(chat: Chat, upstream: respx.Route) -> None:
    no_connection = httpx.ConnectError("refused")
    upstream.mock(side_effect=in_turn(no_connection, no_connection, answers("Hello")))
    assert chat.ask("Hi").text == "Hello"


def test_thoughts_are_not_part_of_the_answer(chat: Chat, upstream: respx.Route) -> None:
    upstream.mock(side_effect=thinks("A thought.", "Yes."))
    assert chat.ask("Well?").text == "Yes."


def test_an_answer_cites_the_given_sources(chat: Chat, upstream: respx.Route) -> None:
    upstream.mock(side_effect=cites("From nine [1]."))
    answer = chat.ask("When?")
    assert (answer.text, answer.sources) == ("From nine [1].", [HOURS, PRICES])
    read = chat.request("GET", f"/api/v1/conversations/{answer.conversation_id}")
    assert read["messages"][1]["sources"] == [HOURS, PRICES]


@pytest.mark.parametrize(("retry_after", "header"), [(7, "7"), ("30", "30")])
def test_a_refusal_has_its_status_and_retry_after(
    chat: Chat, upstream: respx.Route, retry_after: float | str, header: str
) -> None:
    upstream.mock(side_effect=refuses(429, retry_after=retry_after))
    answer = chat.ask("Hi")
    assert (answer.status, answer.ending, answer.headers["retry-after"]) == (503, "busy", header)
    assert "own words" not in str(answer.problem)


def test_an_answer_breaks_after_some_pieces(chat: Chat, upstream: respx.Route) -> None:
    upstream.mock(side_effect=breaks_after(2, "One two three"))
    answer = chat.ask("Count")
    assert (answer.text, answer.ending) == ("One two", "upstream_interrupted")


def test_an_answer_stalls_after_some_pieces_and_can_be_stopped(chat: Chat, upstream: respx.Route) -> None:
    upstream.mock(side_effect=stalls_after(1, "One two"))
    with chat.stream("Count") as events:
        start = next(events)
        assert next(events).data == {"chunk": "One"}
        assert chat.request("POST", f"/api/v1/messages/{start.data['message_id']}/stop") is None
        assert [event.data["status"] for event in events] == ["cancelled"]


def test_a_reader_can_leave_and_resume(chat: Chat, upstream: respx.Route) -> None:
    upstream.mock(side_effect=answers("One two three", pace=0.1))
    message_id = str(uuid.uuid4())
    with chat.stream("Count", message_id=message_id) as events:
        assert next(events).name == "start"
        seen = next(events)
    rest = chat.ask("Count", message_id=message_id, headers={"Last-Event-ID": seen.id})
    assert seen.data["chunk"] + rest.text == "One two three"
    assert upstream.call_count == 1


def test_the_service_and_its_tenant_accept_settings(upstream: respx.Route) -> None:
    upstream.mock(side_effect=answers("Hello"))
    with running_chat(max_message_chars=5, tenant={"model": "small"}, origin="https://other.example") as chat:
        assert chat.ask("Hi").text == "Hello"
        assert chat.ask("Much too long").ending == "validation_failed"
    assert b'"model":"small"' in upstream.calls.last.request.content


def test_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, upstream: respx.Route) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "of-the-developer")
    upstream.mock(side_effect=answers("Hello"))
    with running_chat() as chat:
        chat.ask("Hi")
    assert b"of-the-developer" not in upstream.calls.last.request.content


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_service_understands_every_dialect(chat: Chat, upstream: respx.Route, dialect: str) -> None:
    """A visitor's whole conversation: thoughts, sources, a limit, a refusal, a break."""
    upstream.mock(side_effect=thinks("A thought.", "Yes, ", "of course.", dialect=dialect))
    answer = chat.ask("Well?")
    assert (answer.text, answer.ending) == ("Yes, of course.", "complete")
    assert answer.events[-1].data["usage"] == {"prompt_tokens": 9, "completion_tokens": 40}
    upstream.mock(side_effect=cites("From nine [1].", dialect=dialect))
    answer = chat.ask("When?", conversation_id=answer.conversation_id)
    assert (answer.text, answer.sources) == ("From nine [1].", [HOURS, PRICES])
    assert b"A thought." not in upstream.calls.last.request.content
    upstream.mock(side_effect=answers("Half an", finish_reason="length", dialect=dialect))
    assert chat.ask("And?").ending == "length"
    upstream.mock(side_effect=refuses(401, "invalid_api_key", dialect=dialect))
    assert chat.ask("And?").status == 502
    upstream.mock(side_effect=breaks_after(1, "Half an", dialect=dialect))
    assert chat.ask("And?").ending == "upstream_interrupted"


def test_a_behaviour_also_works_with_respx_alone() -> None:
    """Without the service: it is called with a request."""
    request = httpx.Request("POST", "https://upstream.test/v1/chat/completions", json={"model": "small"})
    response = answers("Hello")(request)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
