"""An answer's sources: one list from every provider's format, wherever the answer is read."""

import asyncio
import json
import uuid
from typing import Any

import pytest
import respx

from client import Client
from conftest import Serve
from decoding import every_byte, parts_of, sources_of, text_of
from service.schema import MAX_SOURCES
from service.testing.chunks import DONE, answer, data, delta, streamed

HOURS = {"title": "Opening hours", "url": "https://shop.test/hours"}
PRICES = {"title": "Prices", "url": "https://shop.test/prices?plan=1#small"}


def chunk(content: str = "", beside: dict[str, Any] | None = None, **fields: Any) -> bytes:
    """A chunk with these fields in its delta, and with others beside its choices."""
    sent = {"choices": [{"index": 0, "delta": {"content": content} | fields}], **(beside or {})}
    return b"data: %s\n\n" % json.dumps(sent).encode()


def annotation(source: dict[str, str]) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {**source, "start_index": 0, "end_index": 5}}


def cited(*pieces: bytes) -> list[Any]:
    parts, _ = parts_of([*pieces, delta(finish_reason="stop"), DONE])
    return list(sources_of(parts))


ONLY_URLS = [HOURS["url"], PRICES["url"]]
FORMS = {
    "OpenAI and OpenRouter": [chunk("Nine"), chunk(annotations=[annotation(HOURS), annotation(PRICES)])],
    "one by one": [chunk("Ni", annotations=[annotation(HOURS)]), chunk("ne", annotations=[annotation(PRICES)])],
    "Perplexity": [
        chunk("Ni", {"citations": ONLY_URLS, "search_results": [HOURS, PRICES]}),
        chunk("ne", {"citations": ONLY_URLS, "search_results": [HOURS, PRICES]}),
    ],
    "search_results alone": [chunk("Nine", {"search_results": [HOURS | {"date": "2026-01-01"}, PRICES]})],
    "citations with titles": [chunk("Nine", {"citations": [HOURS, PRICES]})],
    "citations in the delta": [chunk("Nine", citations=[HOURS, PRICES])],
    "Azure on your data": [
        chunk(context={"intent": "[]", "citations": [HOURS | {"content": "…", "filepath": "a.md"}, PRICES]}),
        chunk("Nine"),
    ],
    "links": [chunk("Nine", {"search_results": [{"title": s["title"], "link": s["url"]} for s in (HOURS, PRICES)]})],
    "after the finish": [chunk("Nine"), delta(finish_reason="stop"), chunk("", {"citations": [HOURS, PRICES]})],
    "a message": [
        data({"choices": [{"message": {"content": "Nine", "annotations": [annotation(HOURS), annotation(PRICES)]}}]})
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_citation_gives_the_same_list(form: str) -> None:
    assert cited(*FORMS[form]) == [HOURS, PRICES]


def test_sources_survive_byte_by_byte_decoding_and_change_no_text() -> None:
    body = b"".join([*FORMS["Perplexity"], delta(finish_reason="stop"), DONE])
    parts, _ = parts_of(every_byte(body))
    assert (text_of(parts), sources_of(parts)) == ("Nine", [HOURS, PRICES])


def test_only_new_sources_are_emitted() -> None:
    parts, _ = parts_of([*FORMS["Perplexity"], *FORMS["Perplexity"], delta(finish_reason="stop"), DONE])
    assert len([part for part in parts if not isinstance(part, str)]) == 1


def test_the_numbers_in_the_text_are_those_of_the_list() -> None:
    """A page that is listed twice keeps both numbers; unnumbered sources come last."""
    urls = [HOURS["url"], HOURS["url"], PRICES["url"]]
    other = {"title": "News", "url": "https://shop.test/news"}
    found = cited(chunk("[3]", {"citations": urls, "search_results": [PRICES, other, HOURS]}))
    assert [source["url"] for source in found] == [*urls, other["url"]]
    assert found[0] == HOURS and found[3] == other


def test_a_growing_list_replaces_the_shorter_one() -> None:
    assert cited(chunk("a", {"citations": [HOURS]}), chunk("b", {"citations": [PRICES, HOURS]})) == [PRICES, HOURS]


def test_a_source_without_a_title_shows_its_host() -> None:
    assert cited(chunk("a", {"citations": ["https://www.shop.test:8443/x"]}))[0]["title"] == "www.shop.test"
    assert cited(chunk("a", annotations=[annotation({"title": " \n", "url": "http://[::1]/"})]))[0]["title"] == "::1"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://shop.test/x",
        "//shop.test/x",
        "/x",
        "shop.test",
        "",
        "https://",
        "https:///x",
        "https://user@shop.test/",
        "https://shop.test\\@evil.test/",
        "https://shop test/",
        "https://shop'.test/",
        "https://shop.test/\n",
        "https://shop.test/\u202e",
        "https://shop.test/\ud83d",
        "https://shop.test:99999/",
        "https://[::1/",
        'https://shop.test/"onclick="x',
        "https://shop.test/" + "x" * 2000,
        None,
        7,
        ["https://shop.test/"],
    ],
)
def test_anything_but_a_web_page_is_left_out(url: object) -> None:
    assert cited(chunk("a", {"citations": [url, HOURS]})) == [HOURS]
    assert cited(chunk("a", annotations=[{"url_citation": {"url": url, "title": "x"}}])) == []


@pytest.mark.parametrize(
    ("url", "encoded"),
    [
        ("https://en.wikipedia.org/wiki/Moore's_law", "https://en.wikipedia.org/wiki/Moore%27s_law"),
        ("https://shop.test/a|b?q={x}^`y`#z'", "https://shop.test/a%7Cb?q=%7Bx%7D%5E%60y%60#z%27"),
        (" https://shop.test/a b%20c ", "https://shop.test/a%20b%20c"),
        ("https://shop.test?it's", "https://shop.test?it%27s"),
    ],
)
def test_characters_that_are_common_in_urls_are_percent_encoded(url: str, encoded: str) -> None:
    found = cited(chunk("[3]", {"citations": [HOURS["url"], url, PRICES["url"]]}))
    assert [source["url"] for source in found] == [HOURS["url"], encoded, PRICES["url"]]
    assert [source["url"] for source in cited(chunk(annotations=[annotation({"title": "", "url": url})]))] == [encoded]


@pytest.mark.parametrize("given", [None, {}, "https://shop.test/", 7, [], [None, 7, [], {}, {"url_citation": 7}]])
def test_malformed_sources_are_ignored(given: object) -> None:
    assert cited(chunk("a", {"citations": given}, annotations=given, context=given)) == []
    assert cited(chunk("a", context={"citations": given})) == []


def test_titles_are_a_single_short_line() -> None:
    title = "A\x00 title\u202e of\n\ntwo lines \ud800" + "x" * 500
    found = cited(chunk("a", annotations=[annotation({"title": title, "url": HOURS["url"]})]))[0]["title"]
    assert found.startswith("A title of two lines xxx") and len(found) == 200


def test_there_are_at_most_twenty_sources() -> None:
    urls = [f"https://shop.test/{number}" for number in range(500)]
    assert [source["url"] for source in cited(chunk("a", {"citations": urls}))] == urls[:MAX_SOURCES]
    assert len(cited(*(chunk("a", annotations=[annotation({"title": "", "url": url})]) for url in urls))) == 20


# End to end


def citing(*texts: str) -> list[bytes]:
    return [chunk(beside={"citations": [HOURS, PRICES]}), *answer(*texts)]


@pytest.mark.each_database
async def test_sources_arrive_before_the_end_and_are_stored(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*citing("From nine [1].")))
    got = await client.ask("When?")
    assert got.names == ["start", "message", "sources", "done"]
    assert got.events[-2].data == {"sources": [HOURS, PRICES]}
    conversation = await client.get_json(f"/api/v1/conversations/{got.events[0].data['conversation_id']}")
    question, its_answer = conversation["messages"]
    assert its_answer["sources"] == [HOURS, PRICES]
    assert "sources" not in question


async def test_an_answer_without_citations_has_no_sources_event_or_field(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("From nine.")))
    got = await client.ask("When?")
    assert got.names == ["start", "message", "done"]
    conversation = await client.get_json(f"/api/v1/conversations/{got.events[0].data['conversation_id']}")
    assert all("sources" not in message for message in conversation["messages"])


async def test_a_reader_who_resumes_gets_the_sources(client: Client, upstream: respx.Route) -> None:
    resume = asyncio.Event()
    upstream.mock(return_value=streamed(citing()[0], delta("From "), resume, *answer("nine [1].")))
    question = {"message": "When?", "message_id": str(uuid.uuid4())}
    async with client.stream("POST", "/api/v1/chat", json_body=question) as response:
        events = response.events()
        assert (await anext(events)).name == "start"
        seen = await anext(events)
        await response.leave()
    resume.set()
    for _ in ("while it is written or just after", "from the database"):
        again = await client.ask(
            question["message"], message_id=question["message_id"], headers={"Last-Event-ID": seen.id}
        )
        assert (again.names, again.text) == (["start", "message", "sources", "done"], "nine [1].")
        assert again.events[-2].data == {"sources": [HOURS, PRICES]}
        await client.until_idle()


async def test_an_interrupted_or_stopped_answer_keeps_its_sources(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(citing()[0], delta("From nine [1]")))
    got = await client.ask("When?")
    assert got.names == ["start", "message", "sources", "error"]
    turns = await client.get_json(f"/api/v1/conversations/{got.events[0].data['conversation_id']}")
    assert turns["messages"][1]["sources"] == [HOURS, PRICES]


@pytest.mark.each_database
async def test_sources_are_available_in_another_process(serve: Serve, upstream: respx.Route) -> None:
    resume = asyncio.Event()
    upstream.mock(return_value=streamed(citing()[0], delta("From "), resume, *answer("nine [1].")))
    question = {"message": "When?", "message_id": str(uuid.uuid4())}
    async with serve() as one, serve("other") as two:
        two.headers = one.headers
        async with one.stream("POST", "/api/v1/chat", json_body=question) as response:
            events = response.events()
            assert (await anext(events)).name == "start"
            following = asyncio.create_task(two.ask(question["message"], message_id=question["message_id"]))
            resume.set()
            assert [event.name async for event in events][-2:] == ["sources", "done"]
        got = await following
        assert (got.text, got.names[-2:]) == ("From nine [1].", ["sources", "done"])
        assert got.events[-2].data == {"sources": [HOURS, PRICES]}
        conversation = await two.get_json(f"/api/v1/conversations/{got.events[0].data['conversation_id']}")
        assert conversation["messages"][1]["sources"] == [HOURS, PRICES]
