"""The sources of an answer: every form in which providers send them becomes one list of web pages."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from service.schema import MAX_SOURCE_TITLE_CHARS, MAX_SOURCE_URL_CHARS, MAX_SOURCES
from service.store.records import Source

MAX_READ = 200  # entries of one list: the relevant ones come first

# Beside the choices of a chunk: Perplexity, xAI, and servers that search documents.
CHUNK_LISTS = ("citations", "search_results")
# A URL without characters that browsers interpret differently: white space, backslashes, quotes, controls, surrogates.
UNPRINTABLE_CHARACTERS = "\x00-\x20\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
WEB_PAGE = re.compile(f"https?://[^\\s\\\\\"'<>`{{}}|^{UNPRINTABLE_CHARACTERS}]+")
# In a path, a query or a fragment, these are common and equal to their percent-encoded form.
ENCODED = re.compile("[ '`{}|^]")
UNPRINTABLE = re.compile(f"[{UNPRINTABLE_CHARACTERS}]+")


class Citations:
    """Collects the sources of an answer. A list that is sent again, maybe longer, replaces the previous one; sources
    that are sent one by one are added.
    """

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self._lists: dict[str, object] = {}  # as last received
        self._numbered: dict[str, list[Source]] = {}
        self._added: list[Source] = []

    def read_lists(self, holder: Mapping[str, Any]) -> bool:
        """Read `citations` and `search_results`. Returns whether they changed anything."""
        changed = False
        for name in CHUNK_LISTS:
            given = holder.get(name)
            if isinstance(given, list) and given and given != self._lists.get(name):
                self._lists[name] = given
                self._numbered[name] = _sources(given)
                changed = True
        return changed and self._put_together()

    def read_delta(self, delta: Mapping[str, Any]) -> bool:
        """Read the citations of a delta or a message. Returns whether they changed anything."""
        changed = self.read_lists(delta)
        context = delta.get("context")
        if isinstance(context, dict):
            changed = self.read_lists(context) or changed
        annotations = delta.get("annotations")
        if isinstance(annotations, list):
            self._added = (self._added + _sources(annotations))[:MAX_READ]
            changed = self._put_together() or changed
        return changed

    def _put_together(self) -> bool:
        """A numbered list first and unchanged, because the text refers to its numbers; then any other sources."""
        numbered = [self._numbered.get(name, []) for name in CHUNK_LISTS]
        every = [source for some in (*numbered, self._added) for source in some]
        titles = {source["url"]: source["title"] for source in reversed(every) if source["title"]}
        urls = [source["url"] for source in next(filter(None, numbered), [])]
        listed = set(urls)
        urls += dict.fromkeys(source["url"] for source in every if source["url"] not in listed)
        before = self.sources
        self.sources = [{"title": titles.get(url) or _host(url), "url": url} for url in urls[:MAX_SOURCES]]
        return self.sources != before


def _sources(items: list[Any]) -> list[Source]:
    return [source for item in items[:MAX_READ] if (source := _source(item))]


def _source(item: Any) -> Source | None:
    """A page, from its bare URL or from an object with one. Without a title, the title is empty."""
    if isinstance(item, dict):
        inner = item.get("url_citation")
        item = inner if isinstance(inner, dict) else item
        url, title = item.get("url") or item.get("link"), item.get("title")
    else:
        url, title = item, None
    if not isinstance(url, str) or len(url) > MAX_SOURCE_URL_CHARS or not _is_web_page(url := _encoded(url)):
        return None
    return {"title": _line(title)[:MAX_SOURCE_TITLE_CHARS] if isinstance(title, str) else "", "url": url}


def _encoded(url: str) -> str:
    """A URL with common characters that WEB_PAGE excludes percent-encoded, except in its host."""
    origin = re.match("https?://[^/?#]*", url := url.strip(" "))
    if origin is None:
        return url
    return origin[0] + ENCODED.sub(lambda found: quote(found[0]), url[origin.end() :])


def _is_web_page(url: str) -> bool:
    if len(url) > MAX_SOURCE_URL_CHARS or not WEB_PAGE.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False


def _line(text: str) -> str:
    return UNPRINTABLE.sub(" ", text[: 2 * MAX_SOURCE_TITLE_CHARS]).strip()


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
