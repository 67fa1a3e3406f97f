"""The upstream's transport: which connections it keeps, makes and closes, with TLS and without, on both event loops."""

import asyncio
import socket
import ssl
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
import respx

from faults.machine import silent_address
from service.upstream.transport import Entrance, Transport
from wire import CHUNKED, HELLO, Authority, Peer, connecting, serving
from wire import anyio_backend as anyio_backend  # both event loops
from wire import nothing_is_left as nothing_is_left

JSON = {"question": "Hello?"}
KEEP, CLOSE = "kept", "closed"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


# Keeping connections


@pytest.mark.parametrize(
    ("response", "fate"),
    [
        (HELLO, KEEP),
        (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", KEEP),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO, KEEP),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", KEEP),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", CLOSE),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", CLOSE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", CLOSE),
        (HELLO + HELLO, CLOSE),
        (HELLO + b"surplus", CLOSE),
    ],
    ids="length|chunks|after 1xx|1.0 keep-alive|1.0|Connection: close|both lengths|two responses|surplus".split("|"),
)
async def test_a_connection_is_reused_if_the_response_allows_it(response: bytes, fate: str) -> None:
    async with serving(lambda peer: peer.answer_all(response)) as server, connecting() as client:
        for _ in range(3):
            assert (await client.post(server.url, json=JSON)).text == "hello"
        assert server.accepted == (1 if fate == KEEP else 3)


async def test_closing_a_response_early_closes_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, b"5\r\nhello\r\n")
        await peer.until_gone()

    async with serving(script) as server, connecting(most=1) as client:
        for _ in range(3):
            async with client.stream("POST", server.url, json=JSON) as response:
                async for _piece in response.aiter_raw():
                    break
            await server.until_open(0)
        assert server.accepted == 3


async def test_an_idle_connection_is_closed_after_the_keepalive_timeout() -> None:
    async with serving(Peer.answer_all) as server, connecting(expiry=0.05) as client:
        await client.post(server.url, json=JSON)
        await server.until_open(0)
        await client.post(server.url, json=JSON)
        assert server.accepted == 2


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
async def test_an_idle_connection_that_the_server_closes_is_not_reused(farewell: bytes) -> None:
    end = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)
        await end.wait()
        await peer.send(farewell)

    async with serving(script) as server, connecting() as client:
        await client.post(server.url, json=JSON)
        end.set()
        await server.until_open(0)
        assert (await client.post(server.url, json=JSON)).text == "hello"
        assert server.accepted == 2


async def test_a_connection_closed_during_the_next_request_is_a_protocol_or_read_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)
        await peer.head()

    async with serving(script) as server, connecting() as client:
        await client.post(server.url, json=JSON)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.post(server.url, json=JSON)


async def test_idle_connections_are_limited_and_the_oldest_are_closed_first() -> None:
    async with serving(Peer.answer_all) as server, connecting(idle=2) as client:
        await _open_at_once(client, server.url, 5)
        await server.until_open(2)
        await client.post(server.url, json=JSON)
        assert server.accepted == 5


async def test_without_keepalive_each_request_has_its_own_connection() -> None:
    async with serving(Peer.answer_all) as server, connecting(idle=0) as client:
        for _ in range(3):
            await client.post(server.url, json=JSON)
            await server.until_open(0)
        assert server.accepted == 3


async def test_a_pool_full_of_idle_connections_makes_room_for_another_server() -> None:
    async with serving(Peer.answer_all) as one, serving(Peer.answer_all) as other, connecting(most=2) as client:
        await _open_at_once(client, one.url, 2)
        await client.post(other.url, json=JSON)
        await one.until_open(1)
        assert (other.open, one.accepted, other.accepted) == (1, 2, 1)


async def test_requests_to_a_full_pool_wait_in_order_and_time_out() -> None:
    proceed = asyncio.Event()
    order: list[int] = []

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await proceed.wait()
            await peer.send(HELLO)

    async with serving(script) as server, connecting(most=1, timeout=httpx.Timeout(60, pool=60)) as client:

        async def ask(number: int) -> None:
            await client.post(server.url, json=JSON)
            order.append(number)

        asking = [asyncio.create_task(ask(number)) for number in range(4)]
        await server.until_open(1)
        with pytest.raises(httpx.PoolTimeout):
            await client.post(server.url, json=JSON, timeout=httpx.Timeout(60, pool=0.05))
        asking[1].cancel()
        proceed.set()
        await asyncio.wait(asking)
        assert order == [0, 2, 3]
        assert server.accepted == 1


async def _open_at_once(client: httpx.AsyncClient, url: str, count: int) -> None:
    """Have so many connections open at the same time, which are then idle."""
    responses = [await client.send(client.build_request("POST", url, json=JSON), stream=True) for _ in range(count)]
    for response in responses:
        await response.aread()


async def test_many_idle_connections_do_not_slow_down_a_request() -> None:
    async with serving(Peer.answer_all) as server, connecting() as client:

        async def steps() -> int:
            """Function calls, Python's and C's, of one request and its response."""
            count = 0

            def profile(frame: Any, event: str, argument: Any) -> None:
                nonlocal count
                count += event in ("call", "c_call")

            sys.setprofile(profile)
            try:
                await client.post(server.url, json=JSON)
            finally:
                sys.setprofile(None)
            return count

        await _open_at_once(client, server.url, 2)
        few = min([await steps() for _ in range(5)])
        await _open_at_once(client, server.url, 300)
        many = min([await steps() for _ in range(5)])
        assert server.open == 300
    assert many < few + 50


async def test_closing_the_client_ends_responses_that_are_being_read() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.until_gone()

    async with serving(script) as server:
        async with connecting() as client:
            response = await client.send(client.build_request("POST", server.url, json=JSON), stream=True)
            reading = asyncio.create_task(response.aread())
            await asyncio.sleep(0)
        with pytest.raises(httpx.ReadError):
            await reading
        await server.until_open(0)


# Making connections


async def test_a_refused_connection_is_a_connect_error() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with connecting() as client:
            with pytest.raises(httpx.ConnectError):
                await client.post(f"http://127.0.0.1:{bound.getsockname()[1]}/", json=JSON)


@pytest.mark.parametrize("name", [f"{'.'.join(5 * ['no-such-upstream-' + 40 * 'x'])}", f"{70 * 'x'}.test"])
async def test_an_invalid_host_name_is_a_connect_error(name: str) -> None:
    async with connecting() as client:
        with pytest.raises(httpx.ConnectError):
            await client.post(f"http://{name}/", json=JSON)


async def test_an_address_that_does_not_answer_is_a_connect_timeout() -> None:
    with silent_address() as silent:
        async with connecting(timeout=httpx.Timeout(60, connect=0.1)) as client:
            with pytest.raises(httpx.ConnectTimeout):
                await client.post(f"http://127.0.0.1:{silent.getsockname()[1]}/", json=JSON)


async def test_another_scheme_is_refused() -> None:
    async with connecting() as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.post("ftp://127.0.0.1/", json=JSON)


async def test_the_next_address_of_a_name_is_tried_when_one_refuses_or_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(Peer.answer_all) as server:
        with silent_address() as silent, socket.socket() as refusing:
            refusing.bind(("127.0.0.1", 0))
            ports = [refusing.getsockname()[1], silent.getsockname()[1], server.port]
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
            async with connecting() as client:
                assert (await client.post("http://many.test/", json=JSON)).text == "hello"


async def test_the_first_error_is_raised_if_every_address_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        targets = [bound.getsockname() for bound in (one, other)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", target) for target in targets]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
        async with connecting() as client:
            with pytest.raises(httpx.ConnectError):
                await client.post("http://many.test/", json=JSON)


# TLS


async def test_a_private_ca_in_the_context_is_trusted_and_http1_negotiated(authority: Authority) -> None:
    agreed: list[str | None] = []

    async def script(peer: Peer) -> None:
        agreed.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await peer.answer_all()

    async with serving(script, authority.server("localhost")) as server, connecting(authority.client()) as client:
        for _ in range(3):
            assert (await client.post(server.url, json=JSON)).text == "hello"
        assert (server.accepted, agreed) == (1, ["http/1.1"])


@pytest.mark.parametrize("trusted", [True, False], ids=["for another name", "of an unknown authority"])
async def test_an_untrusted_certificate_is_refused_before_anything_is_sent(authority: Authority, trusted: bool) -> None:
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        received.append(await peer.reader.read())

    tls = authority.server("other.test" if trusted else "localhost")
    context = authority.client() if trusted else ssl.create_default_context()
    async with serving(script, tls) as server, connecting(context) as client:
        with pytest.raises(httpx.ConnectError):
            await client.post(server.url, json=JSON)
    assert b"".join(received) == b""


async def test_the_server_name_can_be_overridden(authority: Authority) -> None:
    names: list[str | None] = []
    tls = authority.server("other.test")
    tls.sni_callback = lambda connection, name, context: names.append(name)
    async with serving(Peer.answer_all, tls) as server, connecting(authority.client()) as client:
        response = await client.post(server.url, json=JSON, extensions={"sni_hostname": "other.test"})
        assert response.text == "hello"
    assert names == ["other.test"]


async def test_an_unfinished_tls_handshake_is_a_connect_timeout(authority: Authority) -> None:
    async with serving(Peer.until_gone) as server:
        async with connecting(authority.client(), timeout=httpx.Timeout(60, connect=0.1)) as client:
            with pytest.raises(httpx.ConnectTimeout):
                await client.post(server.url.replace("http:", "https:"), json=JSON)
            await server.until_open(0)


async def test_large_bodies_pass_through_tls_in_both_directions(authority: Authority) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        body = request.partition(b"\r\n\r\n")[2]
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", body)  # ends when the server closes

    body = bytes(range(256)) * 20_000
    async with serving(script, authority.server("localhost")) as server, connecting(authority.client()) as client:
        assert (await client.post(server.url, content=body)).content == body


async def test_a_tls_connection_closes_without_waiting_for_the_server(authority: Authority) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, b"5\r\nhello\r\n")
        await peer.until_gone()

    async with serving(script, authority.server("localhost")) as server, connecting(authority.client()) as client:
        async with client.stream("POST", server.url, json=JSON) as response:
            async for _piece in response.aiter_raw():
                break
        await server.until_open(0)


# Cancellation


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_request_cancelled_at_any_step_frees_its_slot(authority: Authority, tls: bool) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(CHUNKED)
            for piece in (b"2\r\nhe\r\n", b"3\r\nllo\r\n", b"0\r\n\r\n"):
                await asyncio.sleep(0)
                await peer.send(piece)

    context = authority.server("localhost") if tls else None
    async with serving(script, context) as server, connecting(authority.client(), most=1) as client:
        completed = 0
        for turns in range(80):
            asking = asyncio.create_task(client.post(server.url, json=JSON))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            [result] = await asyncio.gather(asking, return_exceptions=True)
            completed += isinstance(result, httpx.Response)
            assert (await client.post(server.url, json=JSON)).text == "hello"
            await server.until_open(1)
    assert completed < 80


async def test_a_request_cancelled_during_connect_or_handshake_frees_its_slot() -> None:
    with silent_address() as silent:
        async with serving(Peer.until_gone) as mute, serving(Peer.answer_all) as server, connecting(most=1) as client:
            for url in (f"http://127.0.0.1:{silent.getsockname()[1]}/", mute.url.replace("http:", "https:")):
                asking = asyncio.create_task(client.post(url, json=JSON))
                await asyncio.sleep(0.05)
                asking.cancel()
                await asyncio.wait([asking])
                await mute.until_open(0)
            assert (await client.post(server.url, json=JSON)).text == "hello"


# As others of httpx and httpcore


async def test_the_trace_extension_gets_the_same_events_as_with_httpx(authority: Authority) -> None:
    async def events(client: httpx.AsyncClient, url: str) -> list[str]:
        traced: list[str] = []

        async def trace(event: str, info: dict[str, Any]) -> None:
            traced.append(event)

        for _ in range(2):
            await client.post(url, json=JSON, extensions={"trace": trace})
        return traced

    async with serving(Peer.answer_all, authority.server("localhost")) as server:
        async with connecting(authority.client()) as client:
            ours = await events(client, server.url)
        async with httpx.AsyncClient(verify=authority.client()) as client:
            assert ours == await events(client, server.url)
    assert ours[:2] == ["connection.connect_tcp.started", "connection.connect_tcp.complete"]


@respx.mock
async def test_respxs_default_mocker_replaces_the_transport(respx_mock: respx.MockRouter) -> None:
    answer = respx_mock.post("https://upstream.test/v1").respond(200, text="mocked")
    respx_mock.post("https://broken.test/").mock(side_effect=httpx.ConnectError)
    respx_mock.route(host="127.0.0.1").pass_through()
    async with serving(Peer.answer_all) as server, connecting(most=1) as client:
        for _ in range(3):
            assert (await client.post("https://upstream.test/v1", json=JSON)).text == "mocked"
            with pytest.raises(httpx.ConnectError):
                await client.post("https://broken.test/")
            assert (await client.post(server.url, json=JSON)).text == "hello"
        assert server.accepted == 1
    assert answer.calls.last.request.content == b'{"question":"Hello?"}'


async def test_the_httpcore_internals_that_are_used_exist() -> None:
    """Besides the public interface: see `Entrance`, and `Trace`, whose events the test above compares."""
    requirements = (Path(__file__).parents[2] / "requirements.txt").read_text().splitlines()
    assert f"httpcore=={version('httpcore')}" in requirements
    assert "httpcore._async.connection.AsyncHTTPConnection" in respx.mocks.HTTPCoreMocker.targets
    assert "handle_async_request" not in vars(Entrance)  # it is inherited, or the mocker does not see it
    passed: list[httpcore.Request] = []

    class Inner(httpcore.AsyncConnectionInterface):
        async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
            passed.append(request)
            return httpcore.Response(200)

    entrance = Entrance(Inner())
    request = httpcore.Request("POST", "https://upstream.test/v1")
    assert (await entrance.handle_async_request(request)).status == 200
    assert passed == [request]
    assert isinstance(Transport(ssl.create_default_context(), httpx.Limits()), httpx.AsyncBaseTransport)
