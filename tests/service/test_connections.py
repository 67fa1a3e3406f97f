"""One client can't harm others over real sockets: it gets few resources, and only for a short time."""

import json
import re
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from chatbot import create_app
from preloaded import ROOT
from processes import RunningService, running_service
from service.web import connections, listening
from upstreams import local_upstream

MIB = 1024 * 1024
HEALTH = b"GET /api/v1/health HTTP/1.1\r\nHost: a\r\n\r\n"
MISSING = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
METRICS_TOKEN = "m3trics"
SHORT_TIMEOUTS = {"HEAD_TIMEOUT": "1", "BODY_TIMEOUT": "1", "KEEP_ALIVE_TIMEOUT": "1", "SEND_TIMEOUT": "1"}


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with deadlines that no test reaches, and quick answers."""
    settings = {name: "300" for name in SHORT_TIMEOUTS} | {"METRICS_TOKEN": METRICS_TOKEN, "OPENAI_API_KEY": "sk"}
    directory = tmp_path_factory.mktemp("patient")
    with (
        local_upstream() as upstream,
        running_service(directory, OPENAI_BASE_URL=upstream.url("quick"), **settings) as service,
    ):
        yield service


@pytest.fixture(scope="module")
def key(patient: RunningService) -> bytes:
    return secret_key(patient)


@pytest.fixture(scope="module")
def short_timeouts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with deadlines of one second."""
    with running_service(tmp_path_factory.mktemp("short_timeouts"), **SHORT_TIMEOUTS) as service:
        yield service


def connect(service: RunningService, sent: bytes = b"") -> socket.socket:
    """Open a connection, and send this."""
    parts = urlsplit(service.url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)
    connection.sendall(sent)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the service closes the connection."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def read_until(connection: socket.socket, condition: Callable[[bytes], bool]) -> bytes:
    """Read until the condition holds or the connection closes."""
    received = b""
    while not condition(received) and (piece := connection.recv(65_536)):
        received += piece
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def response_to(service: RunningService, request: bytes) -> bytes:
    """The first response to a request. The connection is closed then."""
    with connect(service, request) as connection:
        return read_until(connection, lambda received: re.search(rb"\r\n\r\n.+", received, re.DOTALL) is not None)


def secret_key(service: RunningService) -> bytes:
    key: str = service.manage("key", "add", "shop", "--secret")["api_key"]
    return key.encode()


def question(key: bytes, more: bytes = b"", *, chunked: bool = False) -> bytes:
    """A question as a whole request, with more headers."""
    body = json.dumps({"message": "Hello?"}).encode()
    head = b"POST /api/v1/chat HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-API-Key: %b\r\n%b" % (
        key,
        more,
    )
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def is_alive(service: RunningService) -> bool:
    return statuses(response_to(service, HEALTH)) == [200]


def memory(service: RunningService) -> int:
    """Bytes of memory that the process has (proc(5), statm)."""
    pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def flood(connection: socket.socket, data: bytes, most: int) -> int:
    """Send data until the service accepts no more for a second. Returns how much it accepted."""
    sent = 0
    connection.settimeout(1)
    try:
        while sent < most:
            sent += connection.send(data)
    except (TimeoutError, ConnectionError):
        pass
    return sent


@pytest.mark.parametrize(
    "request_sent",
    [
        b"GET /x HTTP/1.1\r\n\r\n",
        HEALTH,
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"OPTIONS /api/v1/chat HTTP/1.1\r\nHost: a\r\nOrigin: https://a.test\r\n\r\n",
        b"\r\n",
    ],
    ids=["no host", "health", "a body", "chunks", "preflights", "line breaks"],
)
def test_pipelined_requests_on_a_connection_that_is_never_read_take_no_memory(
    patient: RunningService, request_sent: bytes
) -> None:
    assert is_alive(patient)
    before = memory(patient)
    with connect(patient) as connection:
        sent = flood(connection, request_sent * (65_536 // len(request_sent)), 29 * MIB)
        assert sent < 29 * MIB  # the service stopped reading
        assert is_alive(patient)
        assert memory(patient) - before < 8 * MIB


def test_pipelined_requests_are_all_answered_in_order(patient: RunningService) -> None:
    """Including those with bodies of at least the parser's piece size."""
    logged = len(patient.log())
    bodies = [b"", b"a", b"a" * connections.PIECE_BYTES, b"GET /x HTTP/1.1\r\n\r\n" * 2000]
    paths = [(b"/api/v1/health", 200), (b"/x", 404), (b"/api/v1/ready", 200), (b"/metrics", 401)] * 50
    sent = b""
    for number, (path, _) in enumerate(paths):
        body = bodies[number % len(bodies)]
        sent += b"GET %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)
    with connect(patient) as connection:
        sending = threading.Thread(target=connection.sendall, args=[sent])
        sending.start()
        received = read_until(connection, lambda received: received.count(b"HTTP/1.1 ") == len(paths))
        sending.join()
    assert statuses(received) == [status for _, status in paths]
    assert "ERROR" not in patient.log()[logged:]


def test_a_head_that_is_cut_behind_a_body_is_one_head(patient: RunningService) -> None:
    """Its last line break may come later. It is not an empty line between requests, and the body is not a request."""
    head = b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    with connect(patient, head % 1 + b"a" + (head % len(HEALTH))[:-2]) as connection:
        received = read_until(connection, lambda received: b"not_found" in received)
        connection.sendall(b"\r\n" + HEALTH + HEALTH)
        received += read_until(connection, lambda received: len(statuses(received)) == 2)
    assert statuses(received) == [404, 404, 200]


def test_an_answer_ends_with_its_connection_even_if_a_request_is_pipelined_behind_it(tmp_path: Path) -> None:
    with (
        local_upstream() as upstream,
        running_service(
            tmp_path, OPENAI_BASE_URL=upstream.url("endless"), OPENAI_API_KEY="sk", RESUME_SECONDS="0"
        ) as service,
    ):
        with connect(service, question(secret_key(service)) + HEALTH) as connection:
            read_until(connection, lambda received: b"event: message" in received)
        assert upstream.wait_until_open(0)


@pytest.mark.parametrize("offer", [b"h2c", b"websocket", b"HTTP/3.0, h2c"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_an_upgrade_offer_is_answered_over_http_1_with_its_body(
    patient: RunningService, key: bytes, offer: bytes, chunked: bool, in_pieces: bool
) -> None:
    offered = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n" % offer
    )
    head, end, body = question(key, offered, chunked=chunked).partition(b"\r\n\r\n")
    pieces = [head + end, body + HEALTH] if in_pieces else [head + end + body + HEALTH]
    with connect(patient) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        received = read_until(connection, lambda received: b'{"status":"ok"}' in received)
    assert statuses(received) == [200, 200]
    assert received.count(b"event: done") == 1


def test_a_tunnel_is_refused(patient: RunningService) -> None:
    with connect(patient, b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\n\r\n") as connection:
        assert statuses(read_all(connection)) == [400]


def test_a_malformed_request_gets_a_problem_and_never_inside_another_response(patient: RunningService) -> None:
    with connect(patient, HEALTH + b"\0\0\0") as connection:
        received = read_all(connection)
    assert statuses(received) == [200, 400]
    head, _, problem = received.rpartition(b"\r\n\r\n")
    assert json.loads(problem)["code"] == "bad_request"
    assert head.endswith(b"\r\nConnection: close")
    for name in (
        b"X-Request-ID: ",
        b"X-Content-Type-Options: nosniff",
        b"Referrer-Policy: ",
        b"Cache-Control: no-store",
    ):
        assert b"\r\n" + name in head


def test_a_refusal_that_the_application_does_not_see_is_counted(patient: RunningService) -> None:
    def counted() -> float:
        headers = {"Authorization": f"Bearer {METRICS_TOKEN}"}
        text = httpx.get(f"{patient.url}/metrics", headers=headers, timeout=60).text
        found = re.search(r'chatbot_requests_total\{code="bad_request",route="none",status="400"\} (.*)', text)
        return float(found[1]) if found else 0

    before = counted()
    with connect(patient, b"\0\0\0") as connection:
        assert statuses(read_all(connection)) == [400]
    assert counted() == before + 1


def test_an_unread_body_is_drained_up_to_a_limit(patient: RunningService) -> None:
    """The connection can be reused, and a longer body doesn't keep it open for ever."""
    size = connections.MAX_UNREAD_BYTES // 2
    with connect(patient, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size) as connection:
        connection.sendall(b"a" * size + HEALTH)
        assert statuses(read_until(connection, lambda received: b'"ok"' in received)) == [413, 200]
    before = memory(patient)
    with connect(patient, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (1024 * MIB)) as connection:
        assert flood(connection, b"a" * 65_536, 64 * MIB) < 64 * MIB
    with connect(patient, b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") as connection:
        assert flood(connection, b"1\r\na\r\n" * 10_000, 64 * MIB) < 64 * MIB
    assert memory(patient) - before < 8 * MIB
    assert is_alive(patient)


# Deadlines


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", []),
        (b"\r\n\r\n", []),
        (b"GET /api/v1/health", []),
        (b"GET /api/v1/health HTTP/1.1\r\nHost: a\r\nX-", []),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\na", [404]),
        (HEALTH, [200]),
        (HEALTH + b"\r\n", [200]),
        (HEALTH + b"GET /", [200]),
        (HEALTH + b"GET / HTTP/1.1\r\n", [200]),
    ],
    ids=[
        "nothing", "line breaks", "part of a line", "part of a head", "part of a body that nobody reads",
        "a request", "a request and a line break", "a request and part of a line", "a request and part of a head",
    ],
)  # fmt: skip
def test_a_connection_without_a_complete_request_is_closed_at_its_deadline(
    short_timeouts: RunningService, sent: bytes, answered: list[int]
) -> None:
    with connect(short_timeouts, sent) as connection:
        received = read_all(connection)
    assert statuses(received) == answered


def test_headers_that_trickle_in_do_not_extend_the_deadline(short_timeouts: RunningService) -> None:
    with connect(short_timeouts) as connection:
        connection.settimeout(0.05)
        received = b""
        for byte in b"GET /api/v1/health HTTP/1.1\r\nHost: a\r\nX-Padding: " + b"a" * 10_000:
            try:
                connection.send(bytes([byte]))
                received = connection.recv(1000)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert received == b""


def test_a_missing_body_times_out(short_timeouts: RunningService) -> None:
    with connect(short_timeouts, question(secret_key(short_timeouts))[:-1]) as connection:
        received = read_all(connection)
    assert statuses(received) == [408]
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    assert json.loads(body)["code"] == "request_timeout"


def test_a_request_in_many_pieces_gets_a_response(patient: RunningService, key: bytes) -> None:
    with connect(patient) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in question(key):
            connection.sendall(bytes([byte]))
        received = read_until(connection, lambda received: b"event: done" in received)
    assert statuses(received) == [200]


def test_a_client_that_reads_nothing_is_cut_off(short_timeouts: RunningService) -> None:
    with connect(short_timeouts) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(MISSING * 100)
    assert is_alive(short_timeouts)


# More connections than file descriptors


@contextmanager
def few_files(directory: Path, count: int, **settings: str) -> Iterator[RunningService]:
    """A service with a low limit of open files, soft and hard."""
    command = ["sh", "-c", f'ulimit -n {count}; exec "$@"', "sh", sys.executable, str(ROOT / "chatbot.py")]
    with running_service(directory, command=command, **settings) as service:
        yield service


def test_the_open_file_limit_is_raised_at_startup(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    command = ["sh", "-c", 'ulimit -S -n 64; exec "$@"', "sh", sys.executable, str(ROOT / "chatbot.py")]
    with running_service(tmp_path, command=command) as service:
        assert resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE) == (min(hard, listening.MOST_FILES), hard)
        assert ("too few open files" in service.log()) is (hard < 2100)


def test_connections_beyond_the_limit_get_503_instead_of_a_reset(tmp_path: Path) -> None:
    files, limit = 128, 32
    with ExitStack() as stack:
        upstream = stack.enter_context(local_upstream())
        settings = {"OPENAI_BASE_URL": upstream.url("endless"), "OPENAI_API_KEY": "sk", "HEAD_TIMEOUT": "300"}
        service = stack.enter_context(few_files(tmp_path, files, **settings))
        [warning] = [line for line in service.log().splitlines() if "too few open files" in line]
        assert "MAX_STREAMS" in warning and "limit=128" in warning
        asking = question(secret_key(service))
        busy = [stack.enter_context(connect(service, asking)) for _ in range(limit)]
        for connection in busy:
            assert statuses(read_until(connection, lambda received: b"event: message" in received)) == [200]
        refused = response_to(service, b"GET /widget.js HTTP/1.1\r\nHost: a\r\n\r\n")
        assert statuses(refused) == [503]
        assert re.search(rb"(?i)\r\nretry-after: \d+\r\n", refused) and b"connection: close" in refused.lower()
        assert b'"code":"overloaded"' in refused
        assert is_alive(service)  # a liveness probe must not restart the process now
        silent = [stack.enter_context(connect(service)) for _ in range(4 * limit)]
        asked = [
            stack.enter_context(connect(service, MISSING)) for _ in range(limit)
        ]  # they wait in the system's queue
        for connection in [*busy, *silent]:
            connection.close()
        for connection in asked:
            assert statuses(read_until(connection, lambda received: b"\r\n\r\n" in received)) in ([404], [503])
        assert "Traceback" not in service.log()


def test_an_idle_connection_makes_room_for_a_new_one(tmp_path: Path) -> None:
    with few_files(tmp_path, 128, HEAD_TIMEOUT="300") as service, ExitStack() as stack:
        silent = [stack.enter_context(connect(service)) for _ in range(40)]
        received: list[int] = []
        while received != [404]:  # 503, until the silent ones have waited for a moment
            received = statuses(response_to(service, MISSING))
            assert received in ([404], [503])
        assert statuses(read_all(silent[0])) == [503]


def test_a_process_that_ran_out_of_files_recovers(patient: RunningService) -> None:
    pid = patient.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files, before[1]))
    try:
        with ExitStack() as stack:
            while "no connection can be accepted" not in patient.log():
                # More than one: a connection of an earlier test that was closed just now leaves its place.
                connection = stack.enter_context(connect(patient, HEALTH))
                assert patient.process.poll() is None
                time.sleep(0.01)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            assert statuses(read_until(connection, lambda received: b'"ok"' in received)) == [200]
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


# Proxy headers


@pytest.mark.parametrize(("proxies", "is_kept"), [("127.0.0.1", True), ("10.0.0.0/8", False)])
def test_a_request_id_counts_only_from_a_trusted_proxy(tmp_path: Path, proxies: str, is_kept: bool) -> None:
    with running_service(tmp_path, FORWARDED_ALLOW_IPS=proxies) as service:
        given = b"GET /x HTTP/1.1\r\nHost: a\r\nX-Request-ID: chosen-by-the-visitor\r\n\r\n"
        assert (b"chosen-by-the-visitor" in response_to(service, given)) is is_kept
        insane = response_to(service, given.replace(b"chosen", b"chosen=1"))
        assert b"chosen" not in insane
        assert ("chosen-by-the-visitor" in service.log()) is is_kept


# uvicorn


async def test_the_uvicorn_internals_that_are_used_exist() -> None:
    """`Connection` and `Server` override and read these. They may change with any release, so uvicorn is pinned."""
    protocol = HttpToolsProtocol(uvicorn.Config(create_app(), log_config=None), uvicorn.server.ServerState(), {})
    state = {"cycle", "pipeline", "parser", "headers", "scope", "flow", "server_state", "loop", "client"}
    assert state <= vars(protocol).keys()
    protocol.on_message_begin()
    assert protocol.url == b""
    methods = {
        "_start_asgi_task",
        "on_response_complete",
        "on_message_begin",
        "on_header",
        "on_headers_complete",
        "on_message_complete",
    }
    assert methods | {"on_body", "connection_made", "connection_lost", "resume_writing"} <= set(dir(HttpToolsProtocol))
    cycle = {"disconnected", "keep_alive", "message_event", "more_body", "response_complete", "response_started"}
    assert cycle <= set(RequestResponseCycle.__init__.__code__.co_names)
    assert {"read_paused", "write_paused"} <= set(FlowControl.__init__.__code__.co_names)
    assert {"startup", "shutdown", "handle_exit"} <= set(dir(uvicorn.Server))
