"""The test site: its pages, the other widgets from npm, and the endpoint that all widgets use."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from markdown import SECTION

from service.testing.chunks import DONE, data, delta
from upstreams import chunked

TOKENS_PER_SECOND = 200  # four characters each
LONG = "".join(SECTION.format(number=number) for number in range(1000))[:12_000]
END = "That is all."
COMPRESS = "process.stdout.write(require('zlib').brotliCompressSync(require('fs').readFileSync(process.argv[1])))"


@dataclass
class Peer:
    """A widget: its npm package, the markup that its docs recommend, and the selector of the button that opens it."""

    package: str
    html: str
    launcher: str


PEERS = {
    "deep-chat": Peer(
        "deep-chat@2.4.2",
        """<script type="module" src="/files/deep-chat/dist/deepChat.bundle.js"></script>
        <deep-chat connect='{"url": "/deep-chat", "stream": true}'></deep-chat>""",
        "",
    ),
    "@n8n/chat": Peer(
        "@n8n/chat@1.37.0",
        """<link href="/files/@n8n/chat/dist/style.css" rel="stylesheet">
        <script type="module" nonce="n">
            import { createChat } from '/files/@n8n/chat/dist/chat.bundle.es.js';
            createChat({ webhookUrl: '/n8n', enableStreaming: true, loadPreviousSession: false });
        </script>""",
        ".chat-window-toggle",
    ),
    "flowise-embed": Peer(
        "flowise-embed@3.1.6",
        """<script type="module" nonce="n">
            import Chatbot from '/files/flowise-embed/dist/web.js';
            Chatbot.init({ chatflowid: 'x', apiHost: location.origin });
        </script>""",
        "flowise-chatbot button",
    ),
}


def install(directory: Path) -> None:
    for name, peer in PEERS.items():
        command = ["npm", "pack", "--silent", "--pack-destination", str(directory), peer.package]
        packed = subprocess.run(command, cwd=directory, capture_output=True, check=True, text=True).stdout.split()[-1]
        (directory / name).mkdir(parents=True)
        subprocess.run(
            ["tar", "xzf", str(directory / packed), "--strip-components=1", "-C", str(directory / name)], check=True
        )


@cache
def compressed(path: Path) -> bytes:
    return subprocess.run(["node", "-e", COMPRESS, str(path)], capture_output=True, check=True).stdout


class Site:
    """Serves the host pages, the peers' files, and the endpoint in each widget's own protocol."""

    def __init__(self, directory: Path) -> None:
        self.url = ""
        self.pages: dict[str, tuple[str, str]] = {}
        self.asked = 0
        self.answered = 0
        self.images = 0
        self._directory = directory

    def answer(self, question: str) -> Iterator[str]:
        """The texts of the answer, at the model's pace."""
        if "image" in question:
            yield f"![a picture]({self.url}/image?stolen=words)\n\n{END}"
        elif "long" in question:
            begin = time.monotonic()
            for at in range(0, len(LONG), 4):
                time.sleep(max(0, begin + at / 4 / TOKENS_PER_SECOND - time.monotonic()))
                yield LONG[at : at + 4]
            yield f"\n\n{END}"
        else:
            yield f"It is **done**.\n\n{END}"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                if path in site.pages:
                    html, policy = site.pages[path]
                    self._send(html.encode(), "text/html; charset=utf-8", {"Content-Security-Policy": policy})
                elif path.startswith("/files/"):
                    kind = "text/css" if path.endswith(".css") else "text/javascript"
                    file = site._directory / path.removeprefix("/files/")
                    self._send(compressed(file), kind, {"Content-Encoding": "br"})
                elif path.startswith("/api/v1/chatflows-streaming/"):
                    self._send(b'{"isStreaming": true}', "application/json", {})
                elif path.startswith("/api/v1/public-chatbotConfig/"):
                    self._send(b"{}", "application/json", {})
                else:
                    site.images += path == "/image"
                    self.send_error(404)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                site.asked += 1
                self.send_response(200)
                self.send_header("Content-Type", "text/plain" if self.path == "/n8n" else "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                with suppress(OSError):
                    for piece in frames(self.path, site.answer(last_question(body))):
                        self.wfile.write(chunked(piece))
                    self.wfile.write(chunked(b""))
                site.answered += 1

            def _send(self, body: bytes, kind: str, headers: dict[str, str]) -> None:
                self.send_response(200)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        return Handler


def last_question(body: str) -> str:
    """The last question in the request body, in any of the protocols."""
    return max(("image", "long", "short"), key=body.rfind)


def frames(path: str, texts: Iterator[str]) -> Iterator[bytes]:
    """The answer in the client's protocol."""
    if path == "/n8n":
        yield b'{"type": "begin"}\n'
        yield from (json.dumps({"type": "item", "content": text}).encode() + b"\n" for text in texts)
        yield b'{"type": "end"}\n'
    elif path == "/deep-chat":
        yield from (data({"text": text}) for text in texts)
    elif path.startswith("/api/v1/prediction/"):
        yield data({"event": "start", "data": ""})
        yield from (data({"event": "token", "data": text}) for text in texts)
        yield data({"event": "end", "data": "[DONE]"})
    else:
        yield from map(delta, texts)
        yield delta(finish_reason="stop") + DONE
