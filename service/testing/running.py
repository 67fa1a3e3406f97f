"""The whole service on its own port, with a tenant, in a thread of the test's process: respx sees its requests to the
upstream, and browsers can use it, too."""

import asyncio
import json
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from service.settings import Settings
from service.store.store import open_store
from service.testing.chunks import BASE_URL
from service.upstream.event_stream import EventStreamDecoder
from service.web.listening import bind, url_of
from service.web.server import make_server

ORIGIN = "https://shop.example"
NO_LIMITS = {"rate_per_minute": 0, "visitor_rate_per_minute": 0, "tokens_per_day": 0}
PATIENCE = 60.0  # seconds; an upper bound that no passing test reaches


class GivenSettings(Settings):
    """The settings that a test passes, regardless of the environment and any `.env`."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """One event of a stream: its name, its data, and its id if it has one."""

    name: str
    data: Any
    id: str = ""


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """The response to a question. If it was refused, `problem` says why and there are no events."""

    status: int
    headers: Mapping[str, str]
    events: list[ChatEvent] = field(default_factory=list)
    problem: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "".join(event.data["chunk"] for event in self.events if event.name == "message")

    @property
    def ending(self) -> str:
        """How the answer ended: `complete`, `length`, `filtered`, `cancelled`, or an error's code."""
        if not self.events:
            return str(self.problem["code"])
        last = self.events[-1]
        return str(last.data["code"] if last.name == "error" else last.data["status"])

    @property
    def sources(self) -> list[dict[str, str]]:
        return next((list(event.data["sources"]) for event in self.events if event.name == "sources"), [])

    @property
    def conversation_id(self) -> str:
        return str(self.events[0].data["conversation_id"])

    @property
    def message_id(self) -> str:
        return str(self.events[0].data["message_id"])


@dataclass(frozen=True, slots=True)
class Chat:
    """A running service and one tenant of it."""

    url: str
    api_key: str
    widget_id: str
    origin: str
    database_url: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers that a page of the tenant sends."""
        return {"X-API-Key": self.api_key, "Origin": self.origin}

    def ask(self, message: str, *, headers: Mapping[str, str] | None = None, **fields: Any) -> ChatAnswer:
        """Ask a question and read the whole answer. `fields` are those of the request's body."""
        with self._request("POST", "/api/v1/chat", {"message": message, **fields}, headers) as response:
            if response.status != 200:
                return ChatAnswer(response.status, dict(response.headers), problem=json.loads(response.read()))
            return ChatAnswer(response.status, dict(response.headers), list(_events(response)))

    @contextmanager
    def stream(
        self, message: str, *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Iterator[Iterator[ChatEvent]]:
        """Ask a question and read its events as they arrive; the reader disconnects at the end of the block."""
        with self._request("POST", "/api/v1/chat", {"message": message, **fields}, headers) as response:
            assert response.status == 200, response.read()
            yield _events(response)

    def request(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """Call any other route of the API. Returns its JSON, or None for a response without a body."""
        with self._request(method, path, body, headers) as response:
            content = response.read()
            return json.loads(content) if content else None

    @contextmanager
    def _request(
        self, method: str, path: str, body: object, headers: Mapping[str, str] | None
    ) -> Iterator[HTTPResponse]:
        # Not with httpx, whose requests a test's respx would intercept.
        host = urlsplit(self.url)
        with closing(HTTPConnection(host.hostname or "", host.port, timeout=PATIENCE)) as connection:
            sent = {**self.headers, "Content-Type": "application/json", **(headers or {})}
            connection.request(method, path, None if body is None else json.dumps(body).encode(), sent)
            with closing(connection.getresponse()) as response:
                yield response


def _events(response: HTTPResponse) -> Iterator[ChatEvent]:
    decoder = EventStreamDecoder()
    while piece := response.read1():
        for event in decoder.feed(piece):
            yield ChatEvent(event.event, json.loads(event.data), event.id)


@contextmanager
def running_chat(*, tenant: Mapping[str, Any] | None = None, origin: str = ORIGIN, **settings: Any) -> Iterator[Chat]:
    """Run the service with one tenant for pages of `origin`, on a fresh SQLite database, until the block ends.

    `settings` are those of `chatbot.Settings`; the upstream's default URL is `BASE_URL`. `tenant` has settings of the
    tenant, which has no limits by default.
    """
    from chatbot import create_app

    with tempfile.TemporaryDirectory(prefix="chat-") as directory:
        sockets = bind("127.0.0.1", 0)
        sockets[0].listen()  # clients that connect before the service is ready wait for it
        defaults: dict[str, Any] = {
            "public_url": url_of(sockets[0]),
            "database_url": f"sqlite:///{Path(directory, 'chatbot.db')}",
            "openai_base_url": BASE_URL,
            "openai_api_key": "sk-test",
            "shutdown_delay": 0,
        }
        chosen = GivenSettings(**(defaults | settings))
        added: Future[tuple[str, str]] = Future()
        server = make_server(create_app(chosen), chosen, sockets)

        async def serve() -> None:
            try:
                async with open_store(chosen.database_url) as store:
                    of_tenant = {"origins": [origin], **NO_LIMITS, **(tenant or {})}
                    _, widget, api_key = await store.add_tenant(f"test {uuid.uuid4().hex[:8]}", **of_tenant)
            except BaseException as error:
                added.set_exception(error)
                return
            added.set_result((widget.id, api_key))
            await server.serve()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="chat", daemon=True)
        thread.start()
        try:
            widget_id, api_key = added.result(PATIENCE)
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            if not server.started:
                raise RuntimeError("the service did not start; the log says why")
            yield Chat(url_of(sockets[0]), api_key, widget_id, origin, chosen.database_url)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            for bound in sockets:
                bound.close()
