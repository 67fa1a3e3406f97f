"""uvicorn's flow control and queue of requests, in less memory, for a connection that parses one request at a time."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class Flow(FlowControl):
    """uvicorn's flow control, but reading continues only after earlier data has been parsed."""

    def __init__(self, transport: asyncio.Transport, parse_received: Callable[[], None]) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False
        self._parse_received = parse_received

    def resume_reading(self) -> None:
        if self.read_paused:
            super().resume_reading()
            self._parse_received()

    def pause_writing(self) -> None:
        if not self.write_paused:
            self.write_paused = True
            self._is_writable_event = asyncio.Event()  # only now: it takes 0.8 kB

    def close(self) -> None:
        """Let writers go on, and let go of the connection, which refers back to this."""
        self.resume_writing()
        self.read_paused = False
        self._parse_received = lambda: None


class Pipeline(list[tuple[RequestResponseCycle, Any]]):
    """Where uvicorn puts pipelined requests: one at most, so a deque would waste 0.7 kB of each connection."""

    def appendleft(self, request: tuple[RequestResponseCycle, Any]) -> None:
        self.insert(0, request)
