"""Parses a response from its bytes (RFC 9112) with httptools; no sockets."""

from typing import Literal

import httptools
import httpx

MAX_HEAD_BYTES = 102_400  # of headers with 1xx responses, of trailers or chunk extensions; the same limit as h11's
MAX_PIECE_BYTES = 65_536  # given to a reader at once; other tasks run before the next piece

Phase = Literal["head", "body", "ended"]


class ResponseReader:
    """Parses one response (RFC 9112) incrementally; the `on_…` methods are httptools' callbacks."""

    __slots__ = (
        *("headers", "persistent", "phase", "reason", "status", "unread_bytes", "version"),
        *("_bodiless", "_held_bytes", "_is_contradictory", "_parser", "_pieces", "_until_close"),
    )

    def __init__(self, method: bytes) -> None:
        self.phase: Phase = "head"
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.version = b""
        self.unread_bytes = 0
        self.persistent = False  # whether the connection may be reused
        self._pieces: list[bytes] = []
        self._bodiless = method == b"HEAD"
        self._until_close = False
        self._is_contradictory = False  # it has both a Content-Length and chunks
        self._held_bytes = 0  # received since the last complete head, piece of the body, or message
        self._parser = httptools.HttpResponseParser(self)
        # As h11 does, accept bare line feeds in a head, and Content-Length together with chunks (RFC 9112, section
        # 6.3).
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_chunked_length=True)

    def feed(self, data: bytes) -> None:
        """Raises httpx.RemoteProtocolError."""
        self._held_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise httpx.RemoteProtocolError("the server switched to a protocol that it was not asked for") from None
        except httptools.HttpParserError as error:
            self.persistent = False
            if self.phase != "ended":
                raise httpx.RemoteProtocolError(f"the response is not HTTP: {error}") from None
        if self._held_bytes > MAX_HEAD_BYTES and self.phase != "ended":
            raise httpx.RemoteProtocolError(f"more than {MAX_HEAD_BYTES} bytes of header fields")

    def feed_eof(self) -> None:
        """The peer has closed the connection. Raises httpx.RemoteProtocolError if the response is not whole."""
        if self.phase == "head":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        if self.phase == "body" and not self._until_close:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
        self.phase = "ended"

    def close(self) -> None:
        """Free the parser, which refers back to this reader. Nothing can be fed afterwards."""
        self._parser = None  # type: ignore[assignment]

    def take(self) -> bytes:
        """The next piece of the body, at most MAX_PIECE_BYTES; empty if none has arrived."""
        pieces = self._pieces
        if len(pieces) == 1 and self.unread_bytes <= MAX_PIECE_BYTES:
            self.unread_bytes = 0
            return pieces.pop()
        unread = b"".join(pieces)
        piece, rest = unread[:MAX_PIECE_BYTES], unread[MAX_PIECE_BYTES:]
        self._pieces = [rest] if rest else []
        self.unread_bytes = len(rest)
        return piece

    def on_message_begin(self) -> None:
        if self.phase == "ended":
            self.persistent = False  # data beyond the requested response

    def on_status(self, reason: bytes) -> None:
        if self.phase == "head":
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase == "head":  # otherwise it is a trailer, which is ignored
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.phase != "head":
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self.reason, self.headers = b"", []
            return
        framing = {name.lower() for name, _ in self.headers} & {b"content-length", b"transfer-encoding"}
        self.status = status
        self.version = b"HTTP/" + self._parser.get_http_version().encode()
        self._until_close = not framing
        self._is_contradictory = len(framing) == 2
        self._held_bytes = 0
        self.phase = "ended" if self._bodiless or status in (204, 304) else "body"

    def on_body(self, piece: bytes) -> None:
        if self.phase == "body":
            self._held_bytes = 0
            self.unread_bytes += len(piece)
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.phase == "body":
            self.persistent = self._parser.should_keep_alive() and not self._is_contradictory
            self.phase = "ended"
