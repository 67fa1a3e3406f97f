"""The receivers in docs/webhooks.md and deploy/ only accept messages signed by the service."""

import base64
import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import WebhookVerificationError

from preloaded import ROOT
from processes import free_port
from required import skip_unless_required
from service.web.handoff import EMAIL
from service.webhooks.hook import Hook, Message

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
DATA = {
    "email": "ada@example.com",
    "note": "<!channel> & more",
    "turns": [{"question": "Where is my parcel?", "answer": "On its way – now."}],
}
PAGE = (ROOT / "docs/webhooks.md").read_text()


def signed(kind: str = "handoff", data: object = DATA, *, ago: timedelta = timedelta()) -> httpx.Request:
    now = datetime.now(UTC)
    message = Message(uuid.uuid4(), kind, now, "My site", data)  # type: ignore[arg-type]
    return message.request(Hook("http://127.0.0.1/", (KEY,)), now - ago)


def example(language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(block)


def test_the_python_example_accepts_only_signed_messages() -> None:
    names: dict[str, Any] = {}
    exec(example("python"), names)
    request, late = signed(), signed(ago=timedelta(minutes=10))

    assert names["receive"](SECRET, dict(request.headers), request.content)["data"] == DATA
    for headers, body in ((request.headers, request.content + b" "), (late.headers, late.content)):
        with pytest.raises(WebhookVerificationError):
            names["receive"](SECRET, dict(headers), body)


def test_the_node_example_accepts_only_signed_messages(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        skip_unless_required("node is not installed")
    (tmp_path / "receive.mjs").write_text(example("js"))
    (tmp_path / "run.mjs").write_text(
        "import { receive } from './receive.mjs'; import { readFileSync } from 'node:fs';"
        "const calls = JSON.parse(readFileSync(0, 'utf8'));"
        "const results = calls.map(([secret, headers, body]) => {"
        "  try { return receive(secret, headers, Buffer.from(body)).data.email; }"
        "  catch (error) { return error.message; }"
        "}); console.log(JSON.stringify(results));"
    )
    request, late = signed(), signed(ago=timedelta(minutes=10))
    headers, body = dict(request.headers), request.content.decode()
    other = SECRET[:-2] + "A="
    calls = [
        (SECRET, headers, body),
        (SECRET, headers, body + " "),
        (other, headers, body),
        (SECRET, {name: value for name, value in headers.items() if name != "webhook-timestamp"}, body),
        (SECRET, dict(late.headers), late.content.decode()),
    ]
    done = subprocess.run(
        ["node", tmp_path / "run.mjs"], input=json.dumps(calls), capture_output=True, text=True, check=True, timeout=60
    )
    wrong = "not signed with this secret"
    assert json.loads(done.stdout) == ["ada@example.com", wrong, wrong, "too old", "too old"]


class Inbox:
    """A chat tool's incoming webhook and a mail server, which record messages; `refuses` makes the hook fail."""

    def __init__(self) -> None:
        self.posts: list[dict[str, str]] = []
        self.mails: list[EmailMessage] = []
        self.refuses = False


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def receiver(inbox: Inbox) -> Iterator[str]:
    """The URL of deploy/webhook_receiver.py, which forwards to the inbox."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inbox.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if inbox.refuses else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Mail(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 mail.test\r\n")
            for line in self.rfile:
                command = line[:4].upper()
                if command == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b"".join(iter(self.rfile.readline, b".\r\n"))
                    inbox.mails.append(message_from_bytes(text, policy=policy.default))
                self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")

    port = free_port()
    hook, mail = HTTPServer(("127.0.0.1", 0), Hook), socketserver.TCPServer(("127.0.0.1", 0), Mail)
    settings = {
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "WEBHOOK_SECRET": SECRET,
        "CHAT_HOOK": f"http://127.0.0.1:{hook.server_port}/",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mail.server_address[1]),
        "MAIL_FROM": "chat@example.com",
        "MAIL_TO": "team@example.com",
    }
    with serving(hook), serving(mail):
        command = [sys.executable, str(ROOT / "deploy/webhook_receiver.py")]
        process = subprocess.Popen(command, env=settings, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}/"
            assert _listens(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)


def _listens(url: str, process: subprocess.Popen[bytes]) -> bool:
    while process.poll() is None:
        try:
            return httpx.get(url, timeout=60).status_code == 501
        except httpx.ConnectError:
            continue
    return False


def send(url: str, request: httpx.Request, body: bytes | None = None) -> int:
    body = body or request.content
    headers = dict(request.headers) | {"content-length": str(len(body))}
    return httpx.post(url, headers=headers, content=body, timeout=60).status_code


def test_the_receiver_passes_signed_messages_on_once(receiver: str, inbox: Inbox) -> None:
    request = signed()
    inbox.refuses = True
    assert send(receiver, request) == 502
    inbox.refuses = False
    assert (send(receiver, request), send(receiver, request)) == (204, 204)
    assert send(receiver, request, request.content + b" ") == 400
    assert send(receiver, signed(ago=timedelta(minutes=10))) == 400
    rated = signed("feedback", {"rating": "down", "comment": None, "question": "Q?", "answer": "A."})
    assert send(receiver, rated) == 204

    assert len(inbox.posts) == 3 and len(inbox.mails) == 2
    assert "&lt;!channel&gt; &amp; more" in inbox.posts[1]["text"]
    first, second = inbox.mails
    assert (first["To"], first["Reply-To"]) == ("team@example.com", "ada@example.com")
    assert all(
        word in first.get_content() for word in ("<!channel> & more", "Where is my parcel?", "On its way – now.")
    )
    assert "Rated down (My site)" in second.get_content()


@pytest.mark.parametrize("email", ["=?utf-8?q?=0aBcc?=@b.example", "=?x?b?!?=@b", "=?utf-8?q?x=40evil.example=2c?=@b"])
def test_an_address_that_no_header_can_hold_is_only_in_the_text(receiver: str, inbox: Inbox, email: str) -> None:
    """The service accepts it; without a response, the chat tool would get the message again with each attempt."""
    assert re.fullmatch(EMAIL, email)
    assert send(receiver, signed(data=DATA | {"email": email})) == 204

    assert len(inbox.posts) == 1
    (mail,) = inbox.mails
    assert (mail["Reply-To"], mail["Bcc"]) == (None, None)
    assert email in mail.get_content()
