"""An upstream behind a proxy, and one with a certificate from a private authority."""

import asyncio
from contextlib import suppress

import pytest

from conftest import Serve
from service.testing.chunks import answer
from wire import Authority, Peer, serving

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HELLO = b"".join(answer("Hello"))
ANSWER = HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HELLO), HELLO)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Proxy:
    """Accepts CONNECT and plain requests with the right password."""

    def __init__(self, password: str = "cGFzc3dvcmQ=") -> None:
        self.asked: list[bytes] = []
        self._password = password

    async def __call__(self, peer: Peer) -> None:
        head = await peer.head()
        self.asked.append(head.partition(b"\r\n")[0])
        if f"proxy-authorization: basic {self._password}".lower().encode() not in head.lower():
            await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2].partition(b"/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if head.startswith(b"CONNECT"):
            await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            writer.write(head)
        try:
            await asyncio.gather(_pass_on(peer.reader, writer), _pass_on(reader, peer.writer))
        finally:
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def answering(peer: Peer) -> None:
    await peer.answer_all(ANSWER)


@pytest.mark.parametrize("transport", ["httptools", "httpx"])
async def test_a_certificate_of_a_private_ca_is_trusted(serve: Serve, authority: Authority, transport: str) -> None:
    async with serving(answering, authority.server("localhost")) as server:
        settings = {"openai_base_url": f"{server.url}v1", "upstream_transport": transport}
        async with serve(**settings, upstream_ca_file=str(authority.file())) as client:
            assert (await client.ask("Hi")).text == "Hello"


async def test_without_the_ca_file_it_is_not_trusted(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    async with serving(answering, authority.server("localhost")) as server:
        async with serve(openai_base_url=f"{server.url}v1") as client:
            assert (await client.refused())[1]["code"] == "upstream_failed"


async def test_public_cas_are_still_trusted(serve: Serve, authority: Authority) -> None:
    async with serve(upstream_ca_file=str(authority.file())) as client:
        transport = client.state["service"].upstream.transport
        assert len(transport._pool._context.get_ca_certs()) > 50


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_every_question_goes_through_the_proxy(serve: Serve, authority: Authority, scheme: str) -> None:
    proxy = Proxy(password="dXNlcjpwYXNzd29yZA==")
    tls = authority.server("localhost") if scheme == "https" else None
    async with serving(answering, tls) as server, serving(proxy) as through:
        settings = {
            "openai_base_url": f"{server.url}v1",
            "upstream_proxy": f"http://user:password@127.0.0.1:{through.port}",
            "upstream_ca_file": str(authority.file()),
        }
        async with serve(**settings) as client:
            assert (await client.ask("Hi")).text == "Hello"
            assert (await client.ask("Hi")).text == "Hello"
            await client.until_idle()
    method = b"CONNECT" if scheme == "https" else b"POST"
    assert [line.split(b" ")[0] for line in proxy.asked] == [method]  # and then the same connection


async def test_a_proxy_that_refuses_is_named_in_the_log_without_its_password(
    serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Proxy()) as through:
        settings = {
            "openai_base_url": "https://localhost:9/v1",
            "upstream_proxy": f"http://user:canary@127.0.0.1:{through.port}",
        }
        async with serve(**settings) as client:
            status, problem, _ = await client.refused()
    assert (status, problem["code"]) == (502, "upstream_failed")
    records = [str(vars(record)) for record in caplog.records]
    assert any("UPSTREAM_PROXY" in record for record in records)
    assert "canary" not in "".join(records)


async def test_a_visitor_who_leaves_while_the_proxy_connects_costs_nothing(serve: Serve, authority: Authority) -> None:
    """Only the CONNECT was sent, not the question."""
    connecting, going_on = asyncio.Event(), asyncio.Event()
    seen: list[bytes] = []

    async def slow_proxy(peer: Peer) -> None:
        await peer.head()
        connecting.set()
        await going_on.wait()
        await peer.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        seen.append(await peer.reader.read())

    async with serving(slow_proxy) as through:
        settings = {"openai_base_url": "https://localhost:9/v1", "upstream_proxy": f"http://127.0.0.1:{through.port}"}
        async with serve(**settings) as client:
            leaving = asyncio.create_task(client.ask_and_leave())
            await connecting.wait()
            (writing,) = client.state["service"].answers._writings.values()
            assert writing.call.phase == "connecting"
            leaving.cancel()
            await asyncio.wait([leaving])
            going_on.set()
            await client.until_idle()
            assert writing.is_withdrawn
    assert b"".join(seen) == b""
