"""A model's reasoning between tags at the beginning of its answer isn't shown."""

import asyncio
import json

import httpx
import pytest
import respx

from client import Client, until
from conftest import Serve
from decoding import every_byte, hidden_of, parts_of, text_of
from service.errors import EmptyAnswer
from service.testing.chunks import DONE, Body, answer, data, delta, streamed
from service.tokens import estimate_tokens
from service.upstream.charge import Size
from service.upstream.quirks import PROOFS
from service.upstream.stream import Finish
from service.upstream.thoughts import MAX_HELD_CHARS

THOUGHT = "\nHm. Is 1 < 2? </ think> they'd say…\n"


def shown(*texts: str, reason: str = "stop") -> tuple[str, Size, object]:
    """The visible text of an answer in these pieces, the size of the hidden part, and the ending."""
    parts, ending = parts_of([*(delta(text) for text in texts), delta(finish_reason=reason), DONE])
    return text_of(parts), hidden_of(parts), ending


def in_pieces(text: str, size: int) -> list[str]:
    return [text[place : place + size] for place in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<think>", "</think>"),
        ("\n <THINK>", "</Think>"),
        ("<thinking>", "</thinking>"),
        ("<thought>", "</thought>"),
        ("<reasoning>", "</reasoning>"),
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("◁think▷", "◁/think▷"),
        ("<|channel>thought", "<channel|>"),  # Gemma
        ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere
    ],
)
def test_thoughts_at_the_beginning_are_hidden_however_they_are_split(opening: str, closing: str, size: int) -> None:
    text, hidden, ending = shown(*in_pieces(f"{opening}{THOUGHT}{closing}\n\nThe <b>answer</b>.", size))
    assert (text, ending) == ("The <b>answer</b>.", Finish("complete"))
    assert hidden.characters >= len(THOUGHT)


def test_a_body_fed_byte_by_byte_gives_the_same_result() -> None:
    body = b"".join(answer("<thi", "nk>Hm", "m</th", "ink>", "Yes", tokens=None))
    parts, ending = parts_of(every_byte(body))
    assert (text_of(parts), ending) == ("Yes", Finish("complete"))
    assert hidden_of(parts) == Size.of("Hmm</think>")


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(
    "text",
    [
        "The tag <think> is for thoughts.</think>",
        "<thinker> is no tag",
        "<thin",
        "<",
        "\n\n1, 2, 3.",
        "  ",
        "[THIN] ice",
        "` <think>`",
        " " * 2000 + "<think>code</think>",
    ],
)
def test_text_that_only_resembles_a_thought_is_shown(text: str, size: int) -> None:
    assert shown(*in_pieces(text, size)) == (text, Size(), Finish("complete"))


@pytest.mark.parametrize("size", [1, 1000])
def test_several_and_empty_thoughts_are_hidden(size: int) -> None:
    text = "<think>\n\n</think>\n\n<think>Hm</think>  Yes, <think>this</think> stays."
    assert shown(*in_pieces(text, size))[0] == "Yes, <think>this</think> stays."


def test_empty_thoughts_of_gemma_are_hidden() -> None:
    assert shown("<|channel>thought\n<channel|>", "Hello") == ("Hello", Size.of("\n<channel|>"), Finish("complete"))


def test_thousands_of_thoughts_cost_linear_work() -> None:
    assert shown("<think></think>" * 60_000)[0].startswith("<think></think>")


def test_endless_white_space_costs_linear_work() -> None:
    assert shown(*[" "] * 20_000, "Yes")[0] == " " * 20_000 + "Yes"


def test_unclosed_thoughts_are_the_answer_if_it_is_complete() -> None:
    """There is no other text, and the provider says that the answer is complete."""
    assert shown("<think>\nOkay, it is", " four.") == ("<think>\nOkay, it is four.", Size(), Finish("complete"))


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_truncated_thoughts_stay_hidden(reason: str) -> None:
    text, hidden, ending = shown("<think>Okay, it", " is", reason=reason)
    assert (text, hidden) == ("", Size.of("Okay, it is"))
    assert ending == Finish("length" if reason == "length" else "filtered")


def test_thoughts_of_an_interrupted_body_stay_hidden() -> None:
    parts, _ = parts_of([delta("<think>Okay")], whole=False)
    assert text_of(parts) == ""


def test_unclosed_thoughts_are_buffered_up_to_a_limit() -> None:
    text, _, ending = shown("<think>", "x" * MAX_HELD_CHARS, "y")
    assert (text, type(ending)) == ("", EmptyAnswer)


def test_an_answer_of_only_thoughts_is_empty() -> None:
    text, _, ending = shown("<think>Hm</think>")
    assert (text, type(ending)) == ("", EmptyAnswer)


# End to end


async def test_thoughts_are_not_shown_stored_or_sent_back(client: Client, upstream: respx.Route) -> None:
    thinking = answer("<think>", "A secret thought.", "</think>", "\n\nFour.")
    upstream.mock(side_effect=[streamed(*thinking), streamed(*answer("Eight."))])
    first = await client.ask("2 + 2?")
    assert first.text == "Four."
    conversation = first.events[0].data["conversation_id"]
    turns = await client.get_json(f"/api/v1/conversations/{conversation}")
    assert turns["messages"][1]["content"] == "Four."
    await client.ask("4 + 4?", conversation_id=conversation)
    sent = json.loads(upstream.calls.last.request.content)["messages"]
    assert {"role": "assistant", "content": "Four."} in sent


async def test_thoughts_without_an_opening_tag_are_hidden_from_the_second_answer_on(
    client: Client, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    """For models whose prompt template ends with that tag, on servers without support for it."""
    thinking = answer("Hm. ", "Two and two.", "\n</think>\n\n", "Four.")
    upstream.mock(side_effect=lambda _: streamed(*thinking))
    assert (await client.ask("2 + 2?")).text.endswith("Four.")
    assert "--reasoning-parser" in caplog.text
    for _ in range(2):
        assert (await client.ask("2 + 2?")).text == "Four."


async def test_a_model_may_stop_thinking_first(client: Client, upstream: respx.Route) -> None:
    """Or it never did, and only mentioned the tag: at worst, one answer arrives all at once."""
    resume = asyncio.Event()
    about_tags = answer("A thought ends with ", "</think>", ".")
    upstream.mock(return_value=streamed(*about_tags))
    assert (await client.ask("How?")).text == "A thought ends with </think>."
    upstream.mock(return_value=streamed(*answer("Thank you", " too.")))
    assert (await client.ask("Thanks")).text == "Thank you too."
    upstream.mock(return_value=streamed(delta("You're "), resume, *answer("welcome.")))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Thanks"}) as response:
        events = response.events()
        assert (await anext(events)).name == "start"
        assert (await anext(events)).data == {"chunk": "You're "}
        resume.set()
        assert [event.name async for event in events] == ["message", "done"]


MENTION = answer("The closing tag is ", "</think>", ".")


async def streams_at_once(client: Client, upstream: respx.Route) -> bool:
    """Whether the next answer's text is shown before its end."""
    rest = asyncio.Event()
    upstream.mock(return_value=streamed(delta("You're "), rest, *answer("welcome.")))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Thanks"}) as response:
        await until(lambda: any(each.call.decoder.steps for each in client.state["service"].answers._writings.values()))
        (writing,) = client.state["service"].answers._writings.values()
        shown_early: bool = writing.answer.length > 0
        rest.set()
        assert (await response.answer()).text == "You're welcome."
    return shown_early


async def test_a_visitor_who_has_the_tag_mentioned_does_not_delay_the_answers_of_others(
    client: Client, upstream: respx.Route
) -> None:
    """Once the model has given a complete answer without the tag, a few answers with it prove nothing."""
    upstream.mock(return_value=streamed(*answer("Hello")))
    await client.ask("Hi")
    for _ in range(PROOFS - 1):
        upstream.mock(return_value=streamed(*MENTION))
        assert (await client.ask("What ends a thought?")).text == "The closing tag is </think>."
    assert await streams_at_once(client, upstream)
    upstream.mock(return_value=streamed(*MENTION))
    await client.ask("What ends a thought?")
    assert await streams_at_once(client, upstream)


async def test_a_model_that_begins_to_think_first_is_recognized_after_several_answers(
    client: Client, upstream: respx.Route
) -> None:
    """Such as another model under the same name. An answer that was cut off says nothing about that."""
    upstream.mock(return_value=streamed(*answer("Hello")))
    await client.ask("Hi")
    for _ in range(PROOFS):
        upstream.mock(return_value=streamed(*answer("Hm.", "</think>", "Four.")))
        assert (await client.ask("2 + 2?")).text == "Hm.</think>Four."
        upstream.mock(return_value=streamed(*answer("Hm", finish_reason="length")))
        await client.ask("2 + 2?")
    upstream.mock(return_value=streamed(*answer("Hm.", "</think>", "Four.")))
    assert (await client.ask("2 + 2?")).text == "Four."


@pytest.mark.parametrize(
    ("ending", "last"),
    [
        pytest.param([delta(finish_reason="length"), DONE], "length", id="length"),
        pytest.param([delta(finish_reason="content_filter"), DONE], "filtered", id="filtered"),
        pytest.param([httpx.ReadError("reset")], "upstream_interrupted", id="broken"),
        pytest.param([], "upstream_interrupted", id="without a finish_reason"),
        pytest.param([data({"detail": "boom"}), DONE], "upstream_interrupted", id="unknown error"),
        pytest.param([data({"error": "boom"})], "upstream_interrupted", id="error"),
        pytest.param([b"data: {\n\n"], "invalid_answer", id="no JSON"),
    ],
)
async def test_text_that_was_taken_for_thoughts_is_shown_if_the_answer_ends_early(
    client: Client, upstream: respx.Route, ending: list[bytes | Exception], last: str
) -> None:
    upstream.mock(return_value=streamed(*MENTION))
    await client.ask("What ends a thought?")
    upstream.mock(return_value=streamed(delta("Once upon "), delta("a time"), *ending))
    got = await client.ask("Tell me a story")
    assert (got.text, got.last.data.get("status", got.last.data.get("code"))) == ("Once upon a time", last)


async def test_thoughts_in_tags_stay_hidden_though_the_model_was_taken_for_one_without(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(*MENTION))
    await client.ask("What ends a thought?")
    upstream.mock(return_value=streamed(*answer("<think>", "A secret thought.", finish_reason="length")))
    assert (await client.ask("Hi")).text == ""


async def test_text_that_was_taken_for_thoughts_is_shown_if_the_answer_is_stopped(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(*MENTION))
    await client.ask("What ends a thought?")
    upstream.mock(return_value=streamed(delta("Once upon "), delta("a time"), asyncio.Event()))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Tell me a story"}) as response:
        events = response.events()
        start = await anext(events)
        (writing,) = client.state["service"].answers._writings.values()
        await until(lambda: writing.call.decoder.steps == 2)
        await client.request("POST", f"/api/v1/messages/{start.data['message_id']}/stop")
        text, done = [event async for event in events]
    assert (text.data, done.data["status"]) == ({"chunk": "Once upon a time"}, "cancelled")


async def test_thoughts_without_an_opening_tag_are_shown_at_most_up_to_the_answers_limit(
    serve: Serve, upstream: respx.Route
) -> None:
    async with serve(max_answer_chars=30) as client:
        upstream.mock(return_value=streamed(*MENTION))
        await client.ask("What ends a thought?")
        for ending, code in ((httpx.ReadError("reset"), "upstream_interrupted"), (DONE, "answer_too_long")):
            upstream.mock(return_value=streamed(delta("x" * 40), ending))
            got = await client.ask("Tell me a story")
            assert (got.text, got.last.data["code"]) == ("x" * 30, code)


async def test_thoughts_in_tags_prevent_a_timeout(serve: Serve, upstream: respx.Route) -> None:
    end = asyncio.Event()
    upstream.mock(return_value=streamed(delta("<think>"), delta("Hm."), end, *answer("</think>", "Yes")))
    async with serve(connect_timeout=0.25, first_text_timeout=1, text_timeout=60) as client:
        asyncio.get_running_loop().call_later(3, end.set)  # beyond the time for connecting and a first text
        got = await client.ask("Hi")
    assert (got.text, got.last.data["status"]) == ("Yes", "complete")


async def test_thoughts_in_tags_are_charged(serve: Serve, upstream: respx.Route) -> None:
    body = Body([delta("<think>"), *[delta("I think. ")] * 1000, delta("</think>"), delta("Half"), asyncio.Event()])
    upstream.mock(return_value=httpx.Response(200, stream=body))
    async with serve(system_prompt="Be kind.") as client:
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
            events = response.events()
            start = await anext(events)
            assert (await anext(events)).data == {"chunk": "Half"}
            await client.request("POST", f"/api/v1/messages/{start.data['message_id']}/stop")
            assert [event async for event in events][-1].data["status"] == "cancelled"
        await client.until_idle()
        thoughts = Size.of("I think. " * 1000 + "</think>").tokens
        assert await client.charged() == estimate_tokens(["Be kind.", "Hi", "Half"]) + thoughts
