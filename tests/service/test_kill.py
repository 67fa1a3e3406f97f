"""When a process is killed, the text its readers saw is stored, and other processes close its turns at once."""

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from processes import RunningService, restarted, running_service
from service.store.store import Store
from service.upstream.event_stream import EventStreamDecoder
from upstreams import local_upstream

pytestmark = pytest.mark.each_database

SECONDS = 60
ORIGIN = "http://localhost:1"


@dataclass
class Reader:
    """A visitor who reads one answer in a thread."""

    url: str
    key: str
    message_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    after: int = 0
    text: str = ""
    conversation_id: str = ""
    last: tuple[str, Any] | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.key, "Origin": ORIGIN}

    def read(self) -> None:
        headers = self.headers() | ({"Last-Event-ID": str(self.after)} if self.after else {})
        question = {"message": "A story", "message_id": self.message_id}
        decoder = EventStreamDecoder()
        try:
            with httpx.stream(
                "POST", f"{self.url}/api/v1/chat", json=question, headers=headers, timeout=SECONDS
            ) as response:
                for piece in response.iter_raw():
                    for event in decoder.feed(piece):
                        self._take(event.event, json.loads(event.data))
        except httpx.TransportError as error:
            self._take("broken", type(error).__name__)

    def _take(self, name: str, data: Any) -> None:
        with self.changed:
            if name == "start":
                self.conversation_id = data["conversation_id"]
            elif name == "message":
                self.text += data["chunk"]
            else:
                self.last = (name, data)
            self.changed.notify_all()

    def has(self, characters: int) -> bool:
        """Wait until this many characters arrived. Returns False if the answer ended earlier."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.text) >= characters, SECONDS)

    def ending(self) -> tuple[str, Any]:
        with self.changed:
            assert self.changed.wait_for(lambda: self.last is not None, SECONDS)
            assert self.last is not None
            return self.last

    def stored(self, url: str) -> dict[str, Any]:
        """The answer as a process returns it."""
        path = f"{url}/api/v1/conversations/{self.conversation_id}"
        _, answer = httpx.get(path, headers=self.headers(), timeout=SECONDS).json()["messages"]
        found: dict[str, Any] = answer
        return found


@contextmanager
def reading(reader: Reader) -> Iterator[Reader]:
    thread = threading.Thread(target=reader.read)
    thread.start()
    try:
        yield reader
    finally:
        thread.join(SECONDS)


async def _until_stored(database_url: str, message_id: str, characters: int) -> str:
    store = Store(database_url)
    tenant = await store.get_tenant("shop")
    async with asyncio.timeout(SECONDS):
        while True:
            turn = await store.find_turn(tenant.id, uuid.UUID(message_id))
            if turn is not None and len(turn.answer) >= characters:
                await store.close()
                return turn.answer
            await asyncio.sleep(0.05)


def until_stored(database_url: str, reader: Reader, characters: int = 1) -> str:
    """Wait until the database has this much of an answer. Returns the stored text."""
    return asyncio.run(_until_stored(database_url, reader.message_id, characters))


@contextmanager
def service_on(directory: Path, database_url: str, upstream: str) -> Iterator[RunningService]:
    settings = {"DATABASE_URL": database_url, "OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "sk-upstream"}
    with running_service(directory, **settings) as running:
        yield running


def is_of_words(text: str) -> bool:
    return text == ("word " * len(text))[: len(text)]


def test_a_killed_service_closes_its_turns_when_it_restarts(database_url: str, tmp_path: Path) -> None:
    with local_upstream() as upstream, service_on(tmp_path, database_url, upstream.url("endless")) as service:
        with reading(Reader(service.url, service.api_key)) as reader:
            stored_text = until_stored(database_url, reader, 100)
            assert reader.has(len(stored_text))
            service.kill()
        assert reader.ending()[0] == "broken"
        with restarted(service) as url:
            data = reader.stored(url)
            assert (data["status"], data["code"]) == ("error", "interrupted")
            assert data["content"].startswith(stored_text)
            assert is_of_words(data["content"])
            # Nothing is left running that would hold a visitor's stream or the budget.
            charged = service.manage("usage", "shop")["total"]["charged"]
            assert len(stored_text) / 5 <= charged < 1000, "what was received, not all that was reserved"
            with reading(Reader(url, service.api_key, reader.message_id, after=10)) as again:
                assert again.ending()[1]["code"] == "interrupted"
            assert again.text == data["content"][10:]


def test_a_reader_resumes_at_another_process_and_learns_of_the_interruption(database_url: str, tmp_path: Path) -> None:
    """Its own answers continue, however often the other process restarts."""
    with (
        local_upstream() as upstream,
        service_on(tmp_path, database_url, upstream.url("endless")) as service,
        restarted(service) as other,
        reading(Reader(other, service.api_key)) as own,
    ):
        with reading(Reader(service.url, service.api_key)) as reader:
            stored_text = until_stored(database_url, reader, 50)
            assert reader.has(len(stored_text))
            service.kill()
        position = len(stored_text) // 2
        with reading(Reader(other, service.api_key, reader.message_id, after=position)) as resumed:
            name, data = resumed.ending()
        assert (name, data["code"]) == ("error", "interrupted")
        assert stored_text[:position] + resumed.text == resumed.stored(other)["content"]
        assert resumed.stored(other)["content"].startswith(stored_text)

        with restarted(service) as url:
            assert own.stored(url)["status"] == "running"
            more = len(own.text) + 50
            assert own.has(more)
            stop = f"{url}/api/v1/messages/{own.message_id}/stop"
            assert httpx.post(stop, headers=own.headers(), timeout=SECONDS).status_code == 204
            assert own.ending()[1]["status"] == "cancelled"
