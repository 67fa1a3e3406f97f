"""A model's reasoning between tags at the beginning of its answer isn't shown."""

import asyncio
import json

import httpx
import pytest
import respx

from client import Client
from conftest import Serve
from decoding import every_byte, hidden_of, parts_of, text_of
from service.errors import EmptyAnswer
from service.testing.chunks import DONE, Body, answer, delta, streamed
from service.tokens import estimate_tokens
from service.upstream.charge import Size
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
