"""The upstream's bytes are decoded into events and text, however they are split."""

import base64
import json
from typing import Any

import pytest

from cases import body_of, ends_honestly, load, texts_of
from decoding import decode, every_byte, parts_of
from service.errors import EmptyAnswer, InvalidAnswer, ServiceError, UpstreamFailed, UpstreamInterrupted
from service.testing.chunks import DONE, answer, data, delta
from service.upstream.charge import TokenCount
from service.upstream.completion import ChatDecoder
from service.upstream.event_stream import EventStreamDecoder
from service.upstream.stream import Finish


def status_of(ending: Finish | ServiceError) -> str:
    return "error" if isinstance(ending, ServiceError) else ending.status


@pytest.mark.parametrize("case", load("sse_parser_cases.json", "cases"))
def test_event_streams_decode_as_specified_whole_and_byte_by_byte(case: dict[str, Any]) -> None:
    body = base64.b64decode(case["input_b64"])
    for pieces in ([body], every_byte(body)):
        decoder = EventStreamDecoder()
        events = [event for piece in pieces for event in decoder.feed(piece)]
        assert [{"event": e.event, "data": e.data, "id": e.id} for e in events] == case["expected"]


@pytest.mark.parametrize("stream", load("streams_manifest.json", "streams"))
def test_recorded_streams_give_their_text_and_the_right_ending_however_they_are_split(stream: dict[str, Any]) -> None:
    body = body_of(stream)
    whole = decode([body])
    assert whole[0] in texts_of(stream)
    assert ends_honestly(stream, status_of(whole[1]))
    text, ending = decode(every_byte(body))
    assert (text, repr(ending)) == (whole[0], repr(whole[1]))


def test_every_split_of_a_short_stream_in_two_gives_the_same_text() -> None:
    body = b"".join(answer("Grüße, ", "世界 \U0001f30d", "\u2028next"))
    for place in range(len(body)):
        assert decode([body[:place], body[place:]]) == (
            "Grüße, 世界 \U0001f30d\u2028next",
            Finish("complete", TokenCount(9, 4)),
        )


ODD_TEXTS = [
    *('"', "\\", '\\"', "\n\n", "\r", "", "\0", "\x7f", "\u2028", "é", "\U0001f30d"),
    *('"}}]}\n\ndata: {"', "</think>", "data: "),
]


@pytest.mark.parametrize("odd", ODD_TEXTS)
def test_texts_are_the_same_alone_and_together(odd: str) -> None:
    texts = ["One", " two", odd, " three", odd, odd, f" {odd} four", " five"]
    body = b"".join(answer(*texts))
    expected = "".join(texts), Finish("complete", TokenCount(9, 4))
    for pieces in (answer(*texts), [body], every_byte(body), [body[:700], body[700:]]):
        assert decode(pieces) == expected


def test_texts_that_arrive_together_are_one_part() -> None:
    """So a fast provider's tokens cost hardly more than its bytes."""
    first, *others, last = [delta(text) for text in ("One", " two", " three", " four", " five")]
    parts, _ = parts_of([first, b"".join(others), last + delta(finish_reason="stop") + DONE])
    assert parts == ["One", " two three four", " five"]


@pytest.mark.parametrize(
    ("pieces", "text", "ending"),
    [
        pytest.param([delta("Hi")], "Hi", UpstreamInterrupted, id="a stream that just ends"),
        pytest.param([delta("Hi"), DONE], "Hi", Finish("complete"), id="[DONE] after text, without a reason"),
        pytest.param([DONE], "", UpstreamInterrupted, id="[DONE] without anything"),
        pytest.param([delta(finish_reason="stop"), DONE], "", EmptyAnswer, id="a reason without text"),
        pytest.param([delta("Hi", "error"), DONE], "Hi", UpstreamInterrupted, id="the reason is error"),
        pytest.param([delta(finish_reason="error"), DONE], "", UpstreamFailed, id="the reason is error, without text"),
        pytest.param([delta("Hi", "STOP")], "Hi", Finish("complete"), id="the reason in capitals"),
        pytest.param([delta("Hi", "length")], "Hi", Finish("length"), id="too long for the model"),
        pytest.param([delta("Hi"), b"data: {\n\n"], "Hi", InvalidAnswer, id="broken JSON"),
        pytest.param([delta("Hi", "stop"), delta(None), DONE], "Hi", Finish("complete"), id="null after the reason"),
        pytest.param([delta("Hi"), DONE, delta("more", "stop")], "Hi", Finish("complete"), id="text after [DONE]"),
        pytest.param(
            [delta("Hi"), delta(finish_reason="stop")[:-1]], "Hi", Finish("complete"), id="no last blank line"
        ),
    ],
)
def test_endings_are_distinguished(pieces: list[bytes], text: str, ending: Finish | type[ServiceError]) -> None:
    got_text, got = decode(pieces)
    assert got_text == text
    assert got == ending if isinstance(ending, Finish) else type(got) is ending


def test_a_refusal_without_text_ends_as_filtered() -> None:
    refusal = data({"choices": [{"delta": {"refusal": "I will not."}, "finish_reason": None}]})
    assert decode([refusal, delta(finish_reason="stop"), DONE]) == ("", Finish("filtered"))


def test_reasoning_and_other_choices_are_not_part_of_the_answer() -> None:
    chunk = {
        "choices": [
            {"index": 0, "delta": {"reasoning_content": "hm", "reasoning": "hm", "content": "Yes"}},
            {"index": 1, "delta": {"content": "No"}},
        ]
    }
    assert decode([data(chunk), delta(finish_reason="stop")])[0] == "Yes"


def at(index: object, finish_reason: str | None = None, **delta: object) -> bytes:
    return data({"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]})


@pytest.mark.parametrize("last", [0, 1])
def test_text_at_another_index_than_the_thoughts_is_the_answer(last: int) -> None:
    """LiteLLM sends the number of Claude's content block as the index of the choice."""
    thoughts = [at(0, role="assistant", reasoning_content="H"), at(0, reasoning_content="m")]
    pieces = [*thoughts, at(1, content=""), at(1, content="Hello"), at(1, content=" you"), at(last, "stop"), DONE]
    for each in (pieces, [b"".join(pieces)], pieces[:-1]):
        assert decode(each) == ("Hello you", Finish("complete"))
    pieces[-2] = at(last, "length")
    assert decode(pieces)[1] == Finish("length")


def test_several_answers_with_thoughts_are_not_mixed() -> None:
    """The choice whose text begins first is the answer."""
    thoughts = [at(0, reasoning="Hm"), at(1, role="assistant", content=""), at(1, reasoning="Oh")]
    first = [at(0, content="Yes"), at(1, content="No"), at(1, "length"), at(0, content=" yes"), at(0, "stop")]
    second = [at(1, content="No"), at(0, content="Yes"), at(0, "stop"), at(1, content=" no"), at(1, "stop")]
    early = [at(1, "length"), at(0, content="Yes"), at(0, content=" yes"), at(0, "stop")]
    assert decode([*thoughts, *first, DONE]) == ("Yes yes", Finish("complete"))
    assert decode([*thoughts, *second, DONE]) == ("No no", Finish("complete"))
    assert decode([*thoughts, *early, DONE]) == ("Yes yes", Finish("complete"))


def test_an_answer_that_ended_within_its_thoughts_is_not_replaced_by_another() -> None:
    pieces = [at(0, reasoning="Hm"), at(0, "length"), at(1, content="No"), at(1, "stop"), DONE]
    assert decode(pieces) == ("", Finish("length"))


def test_surrogate_pairs_are_joined_across_chunks_and_lone_surrogates_replaced() -> None:
    pieces = [
        b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (b"a\\ud83d", b"\\ude00b", b"\\ud83dc")
    ]
    assert decode([*pieces, delta(finish_reason="stop")])[0] == "a\U0001f600b\ufffdc"


def test_a_line_beyond_the_limit_is_refused_before_it_is_buffered() -> None:
    decoder = EventStreamDecoder(max_bytes=100)
    with pytest.raises(InvalidAnswer, match="longer than 100 bytes"):
        for _ in range(20):
            list(decoder.feed(b"data: " + b"x" * 10))


def test_the_data_lines_of_one_event_are_limited_together() -> None:
    decoder = EventStreamDecoder(max_bytes=100)
    with pytest.raises(InvalidAnswer):
        list(decoder.feed(b"data:\n" * 101))


def test_deeply_nested_json_is_an_error_and_not_a_crash() -> None:
    assert isinstance(decode([b"data: " + b"[" * 100_000 + b"\n\n"])[1], InvalidAnswer)


@pytest.mark.parametrize(("inner", "refused"), [(7, False), (8, True)])
def test_json_may_be_nested_up_to_the_limit(inner: int, refused: bool) -> None:
    decoder = ChatDecoder(max_json_depth=8)
    event = b'data: {"choices":[{"delta":{"content":"ok"}}],"extra":' + b"[" * inner + b"]" * inner + b"}\n\n"
    if refused:
        with pytest.raises(InvalidAnswer, match="nested deeper than 8"):
            list(decoder.feed(event))
    else:
        assert list(decoder.feed(event)) == ["ok"]


def test_brackets_in_a_string_do_not_count_as_nesting() -> None:
    decoder = ChatDecoder(max_json_depth=8)
    text = "[{" * 50 + '\\" [['
    assert list(decoder.feed(delta(text))) == [text]


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 2**31},
        7,
    ],
)
def test_a_missing_token_count_stays_unknown(usage: object) -> None:
    ending = decode([delta("Hi", "stop"), data({"choices": [], "usage": usage}), DONE])[1]
    assert ending == Finish("complete", None)


def test_no_error_repeats_what_the_upstream_sent() -> None:
    secret = "sk-very-secret"
    for piece in (
        f"data: {secret}\n\n".encode(),
        data({"error": {"message": secret}}),
        f"data: [DONE]{secret}\n\n".encode(),
    ):
        error = decode([piece])[1]
        assert isinstance(error, ServiceError)
        assert secret not in json.dumps([str(error), error.detail, error.code])


@pytest.mark.parametrize(
    "lines",
    [
        b'{"object": "error", "message": "Internal worker died", "code": 503}',
        b'{ "error": {"message": "boom"} }',
        json.dumps({"error": {"message": "boom"}}, indent=1).encode(),
        b'{"detail": "Internal Server Error"}',
        b'{"message": "boom',
    ],
)
def test_an_error_on_lines_of_its_own_leaves_no_answer_complete(lines: bytes) -> None:
    """Without `data:` before it, as a server writes whatever breaks into a stream that has begun."""
    for body in (b"".join([delta("Half"), lines, b"\n\n", DONE]), b"".join([delta("Half"), lines, b"\n", DONE])):
        for pieces in ([body], every_byte(body)):
            text, ending = decode(pieces)
            assert (text, status_of(ending)) == ("Half", "error")


def test_json_on_a_line_of_its_own_does_no_harm_to_an_answer_with_a_finish_reason() -> None:
    line = b'{"usage": {"prompt_tokens": 9, "completion_tokens": 4}}\n\n'
    count = TokenCount(9, 4)
    assert decode([delta("Whole", "stop"), line, DONE]) == ("Whole", Finish("complete", count))


@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_fast_path_for_similar_chunks_decodes_the_same_text(ascii_only: bool) -> None:
    """The fast path doesn't parse them as JSON, but must find the same text."""
    texts = [
        "Hello",
        " you",
        'say "hi"',
        "back\\slash",
        "two\nlines",
        "id",
        "0",
        "assistant",
        "",
        "\u00a0",
        "}",
        "é",
        " end",
    ]
    chunks = [
        {"id": "id", "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]}
        for text in texts
    ]
    events = [b"data: %b\n\n" % json.dumps(chunk, ensure_ascii=ascii_only).encode() for chunk in chunks]
    assert decode([*events, delta(finish_reason="stop"), DONE]) == ("".join(texts), Finish("complete"))


def test_a_text_is_not_confused_with_the_same_letters_elsewhere_in_its_chunk() -> None:
    chunks = [b'{"model":"%b","choices":[{"delta":{"content":"\\u0068i"}}]}' % model for model in (b"hi", b"hi", b"no")]
    events = [b"data: %b\n\n" % chunk for chunk in chunks]
    assert decode([*events, delta(finish_reason="stop"), DONE]) == ("hihihi", Finish("complete"))
