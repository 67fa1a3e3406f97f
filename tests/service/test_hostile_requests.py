"""Good and bad requests over real sockets: never a 5xx, never a secret in an answer or in the log, and always a service
that answers the next one."""

import base64
import contextlib
import json
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from cases import load
from processes import RunningService, running_service
from service.web import connections
from upstreams import local_upstream

ALLOWED = "https://allowed.example"
WORDS = "the-visitors-own-words"
SECRET = "sk-upstream-secret"
CONTROL = json.dumps({"message": "hi"}).encode()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Target"]:
    """A service whose tenant allows https://allowed.example, and the values of the cases' placeholders."""
    with (
        local_upstream() as upstream,
        running_service(
            tmp_path_factory.mktemp("hostile"), ALLOWED, OPENAI_BASE_URL=upstream.url("quick"), OPENAI_API_KEY=SECRET
        ) as running,
    ):
        other = running.manage("tenant", "add", "other", "--origin", ALLOWED)
        revoked = running.manage("key", "add", "shop")
        running.manage("key", "revoke", "shop", str(revoked["id"]))
        secret = running.manage("key", "add", "shop", "--secret")
        target = Target(running, other, revoked["api_key"], secret["api_key"])
        yield target
        log = running.log()
        assert "Traceback" not in log
        for hidden in (SECRET, running.api_key, target.secret, other["api_key"], revoked["api_key"], WORDS):
            assert hidden not in log


class Target:
    def __init__(self, service: RunningService, other: dict[str, Any], revoked: str, secret: str) -> None:
        self.service = service
        parts = urlsplit(service.url)
        self.address = (parts.hostname or "", parts.port or 0)
        self.host = parts.netloc
        self.other = other
        self.revoked = revoked
        self.secret = secret
        started = self.send(self.request("POST", "/api/v1/chat", self.good_headers(other["api_key"]), CONTROL))
        found = re.search(rb'"conversation_id":"([^"]+)"', started)
        assert found, started
        self.conversation_of_other = found[1].decode()

    def good_headers(self, api_key: str) -> list[tuple[str, str]]:
        return [("Content-Type", "application/json"), ("X-API-Key", api_key), ("Origin", ALLOWED)]

    def fill(self, text: str) -> str:
        """A case's text with its placeholders filled in."""
        key = self.service.api_key
        for name, value in {
            "GOOD_KEY_MINUS_1": key[:-1],
            "GOOD_KEY_PLUS_A": key + "a",
            "GOOD_KEY_UPPERCASED": key.upper(),
            "GOOD_KEY": key,
            "REVOKED_KEY": self.revoked,
            "CONVERSATION_ID_OF_ANOTHER_TENANT": self.conversation_of_other,
            "WIDGET_OF_OTHER_TENANT": self.other["widget_id"],
            "HOST": self.host,
        }.items():
            text = text.replace(name, value)
        return text

    def request(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
        names = {name.lower() for name, _ in headers}
        if "host" not in names:
            headers = [("Host", self.host), *headers]
        if body and not names & {"content-length", "transfer-encoding"}:
            headers = [*headers, ("Content-Length", str(len(body)))]
        lines = [*(f"{name}: {value}" for name, value in headers), "Connection: close", "", ""]
        return f"{method} {path} HTTP/1.1\r\n".encode() + "\r\n".join(lines).encode("latin-1") + body

    def send(self, request: bytes) -> bytes:
        """Everything that the service answers until it closes the connection."""
        last = self.request("HEAD", "/api/v1/health", [], b"")  # with `Connection: close`
        with socket.create_connection(self.address, timeout=30) as connection:
            with contextlib.suppress(OSError):  # it may be refused before it is read to its end
                connection.sendall(request)
                if b"\r\n\r\n" not in request and b"\n\n" not in request:
                    connection.shutdown(socket.SHUT_WR)  # a head without an end would be waited for
            received = b""
            kept_open = b"Connection: close" not in request
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    received += piece
                    if kept_open:
                        # Answered after whatever else the service took for a request.
                        kept_open = False
                        with contextlib.suppress(OSError):
                            connection.sendall(last)
        start_of_last = received.rfind(b"HTTP/1.1 ")
        is_to_head = received[start_of_last:].partition(b"\r\n\r\n")[2] == b""
        return received[:start_of_last] if start_of_last > 0 and is_to_head else received

    def send_until_closed(self, request: bytes) -> bytes:
        """The service's answers until it closes the connection, which may happen before everything is sent."""
        received = b""
        with socket.create_connection(self.address, timeout=60) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(request)
            while piece := connection.recv(65536):
                received += piece
        return received


def body_of(target: Target, case: dict[str, Any]) -> bytes:
    recipe = case.get("recipe")
    if recipe is None:
        return target.fill(base64.b64decode(case.get("body_b64", "")).decode("latin-1")).encode("latin-1")
    if "json_many_keys" in recipe:
        return json.dumps({f"k{number}": 1 for number in range(recipe["json_many_keys"])}).encode()
    count = recipe["count"] if isinstance(recipe["count"], int) else 4001
    if "repeat" in recipe:
        return str(recipe["repeat"]).encode() * count
    body = json.dumps({"message": recipe["json_message_repeat"] * count}).encode()
    if size := recipe.get("chunked"):
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return body


def headers_of(target: Target, case: dict[str, Any]) -> list[tuple[str, str]]:
    headers = []
    for name, value in case["headers"]:
        if name.startswith("REPEAT_HEADER:"):
            _, prefix, count = name.split(":")
            headers += [(f"{prefix}{number}", value) for number in range(int(count))]
        elif value.startswith("REPEAT:"):
            _, character, count = value.split(":")
            headers.append((name, character * int(count)))
        elif value.startswith("RANGES:"):
            headers.append((name, "bytes=" + ",".join(f"{n}-{n}" for n in range(int(value[7:])))))
        else:
            headers.append((name, target.fill(value)))
    if case["auth"] == "good":
        headers.append(("X-API-Key", target.service.api_key))
    elif case["auth"] == "wrong":
        headers.append(("X-API-Key", "a4_pub_" + "0" * 32))
    if case["origin"] == "allowed":
        headers.append(("Origin", ALLOWED))
    return headers


@pytest.mark.parametrize("case", load("http_cases.json", "cases"))
def test_good_and_hostile_requests_get_the_right_responses(target: Target, case: dict[str, Any]) -> None:
    if "raw_b64" in case:
        # Raw bytes come from no browser, and have no Origin: the key that is good for them is a server's.
        raw = base64.b64decode(case["raw_b64"]).replace(b"GOOD_KEY", target.secret.encode())
        raw = target.fill(raw.decode("latin-1")).encode("latin-1")
    else:
        raw = target.request(case["method"], target.fill(case["path"]), headers_of(target, case), body_of(target, case))
    received = target.send(raw)
    statuses = [int(status) for status in re.findall(rb"(?:^|\r\n)HTTP/1\.[01] (\d{3}) ", received)]
    closed_without_answer = not received and case["group"] == "raw-wire"
    assert closed_without_answer or statuses[0] in case["expect"], received[:500]
    assert all(status < 500 or status in case["expect"] for status in statuses)
    assert b"Traceback" not in received
    assert b"/smuggled" not in received
    assert target.service.api_key.encode() not in received
    if case["group"] == "cors-preflight" or (case["group"] == "origin" and statuses[0] != 200):
        allowed = re.search(rb"(?i)access-control-allow-origin: (\S+)", received)
        assert not allowed or allowed[1] == ALLOWED.encode()
    if statuses and statuses[0] >= 400 and case.get("method") != "HEAD" and b"json" in received:
        problem = json.loads(received.partition(b"\r\n\r\n")[2])
        assert problem["code"] and problem["status"] == statuses[0]


HEALTH = b"GET /api/v1/health HTTP/1.1\r\nHost: a\r\n"
ENDLESS = [HEALTH + b"a: b\r\n" * 200_000, HEALTH + b"x: " + b"x" * 1_000_000, b"GET /" + b"x" * 1_000_000]
ENDLESS_NAMES = ["many headers", "a long header", "a long path"]


@pytest.mark.parametrize("endless", ENDLESS, ids=ENDLESS_NAMES)
def test_a_head_beyond_the_limit_is_refused(target: Target, endless: bytes) -> None:
    received = target.send_until_closed(endless[: connections.MAX_HEAD_BYTES + 1])
    assert_head_too_large(received)


@pytest.mark.parametrize("endless", ENDLESS, ids=ENDLESS_NAMES)
def test_an_endless_head_is_refused_and_not_buffered(target: Target, endless: bytes) -> None:
    """The refusal may get lost, as the service closes the connection without reading the rest."""
    received = target.send_until_closed(endless)
    if received:
        assert_head_too_large(received)


def test_trailers_beyond_the_limit_are_refused(target: Target) -> None:
    headers = [*target.good_headers(target.service.api_key), ("Transfer-Encoding", "chunked")]
    head = target.request("POST", "/api/v1/chat", headers, b"")
    body = b"1\r\n{\r\n0\r\n" + b"a: b\r\n" * 20_000
    received = target.send_until_closed(head + body[: connections.PIECE_BYTES + connections.MAX_HEAD_BYTES + 1])
    assert_head_too_large(received)


@pytest.mark.parametrize("name", ["X-API-Key", "Origin", "X-Widget-Proof", "X-User-Token", "Last-Event-ID", "Host"])
def test_trailers_do_not_become_headers(target: Target, name: str) -> None:
    received = target.send(chunked(target, target.service.api_key, trailer=f"{name}: evil"))
    assert received.startswith(b"HTTP/1.1 200 "), received[:500]
    assert received.count(b"event: done") == 1


def test_a_trailer_does_not_change_the_visitors_address(target: Target) -> None:
    limits = ["--rate-per-minute", "0", "--visitor-rate-per-minute", "1"]
    strict = target.service.manage("tenant", "add", "strict", "--origin", ALLOWED, *limits)["api_key"]
    proxied = ("X-Forwarded-For", "203.0.113.9")
    first = target.send(chunked(target, strict, proxied, trailer="X-Other: 1"))
    second = target.send(chunked(target, strict, proxied, trailer="X-Forwarded-For: 198.51.100.1"))
    assert first.startswith(b"HTTP/1.1 200 "), first[:500]
    assert second.startswith(b"HTTP/1.1 429 "), second[:500]


@pytest.mark.parametrize(("digits", "status"), [("0" * 5000, 200), ("0" * 5000 + "9" * 15, 413)])
def test_a_length_counts_by_its_value_however_many_zeros_it_has(target: Target, digits: str, status: int) -> None:
    request = target.request("GET", "/api/v1/health", [("Content-Length", digits)], b"")
    assert target.send(request).startswith(b"HTTP/1.1 %d " % status)
    assert "ERROR" not in target.service.log()


def chunked(target: Target, key: str, *more: tuple[str, str], trailer: str) -> bytes:
    """A good question in one chunk, with a trailer."""
    headers = [*target.good_headers(key), *more, ("Transfer-Encoding", "chunked")]
    body = b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(CONTROL), CONTROL, trailer.encode())
    return target.request("POST", "/api/v1/chat", headers, body)


def assert_head_too_large(received: bytes) -> None:
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 "), received[:500]
    assert json.loads(body)["code"] == "head_too_large"


def test_a_normal_request_works_after_all_hostile_ones(target: Target) -> None:
    good = target.good_headers(target.service.api_key)
    received = target.send(target.request("POST", "/api/v1/chat", good, json.dumps({"message": WORDS}).encode()))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b"event: done") == 1
