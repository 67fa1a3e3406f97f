"""A receiver for the service's webhooks: verifies each message and passes it on to a chat tool, by email, or both.

    WEBHOOK_SECRET=whsec_… CHAT_HOOK=https://hooks.slack.com/services/… python3 webhook_receiver.py
    WEBHOOK_SECRET=whsec_… SMTP_HOST=mail.example.com MAIL_FROM=… MAIL_TO=… python3 webhook_receiver.py

It needs only Python, and listens on 127.0.0.1, PORT (8080). The settings: WEBHOOK_SECRET, CHAT_HOOK (an incoming
webhook that accepts {"text": …}, as in Slack, Mattermost and Rocket.Chat), SMTP_HOST, SMTP_PORT (25), SMTP_USER and
SMTP_PASSWORD (with STARTTLS), MAIL_FROM, MAIL_TO.
"""

import base64
import hashlib
import hmac
import json
import os
import smtplib
import ssl
import sys
import time
import urllib.request
from collections import OrderedDict
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MOST_BYTES = 2_000_000
TOLERANCE_SECONDS = 300
MOST_IDS = 10_000
TIMEOUT_SECONDS = 10

known_ids: OrderedDict[str, None] = OrderedDict()


def verify(secret: str, headers: Any, body: bytes) -> Any:
    """The message, if it has a valid, recent signature (standardwebhooks.com). Raises ValueError otherwise."""
    name, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        raise ValueError("too old, or from the future")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, f"{name}.{timestamp}.".encode() + body, hashlib.sha256)).decode()
    given = headers.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(f"v1,{expected}".encode(), each.encode()) for each in given):
        raise ValueError("not signed with this secret")
    return json.loads(body)


def text_of(message: dict[str, Any]) -> str:
    """The message as readable text."""
    data = message["data"]
    if message["type"] == "handoff":
        turns = "\n\n".join(f"Q: {turn['question']}\nA: {turn['answer']}" for turn in data["turns"])
        return f"{data['email']} asks for a person ({message['tenant']}).\n\n{data['note'] or ''}\n\n{turns}"
    if message["type"] == "feedback":
        comment = f": {data['comment']}" if data["comment"] else ""
        rated = f"Rated {data['rating']} ({message['tenant']}){comment}"
        return f"{rated}\n\nQ: {data['question']}\nA: {data['answer']}"
    return f"An event of type {message['type']} ({message['tenant']})."


def post_to_chat(hook: str, text: str) -> None:
    """Post to a chat tool. In Slack's format, only these three characters need escaping."""
    for character, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, written)
    body = json.dumps({"text": text[:30_000]}).encode()
    request = urllib.request.Request(hook, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
        pass


def send_mail(message: dict[str, Any], text: str) -> None:
    """Send an email; a reply to it goes to the visitor, whose address is in the text, too."""
    mail = EmailMessage()
    mail["From"], mail["To"] = os.environ["MAIL_FROM"], os.environ["MAIL_TO"]
    mail["Subject"] = f"Chat: {message['type']}"
    mail["Message-ID"] = f"<{message['id']}@webhooks>"
    # An address with an encoded word (RFC 2047) may decode to a line break, which EmailMessage refuses, or to others.
    if message["type"] == "handoff" and "=?" not in message["data"]["email"]:
        mail["Reply-To"] = message["data"]["email"]
    mail.set_content(text)
    with smtplib.SMTP(os.environ["SMTP_HOST"], int(os.environ.get("SMTP_PORT", "25")), timeout=TIMEOUT_SECONDS) as smtp:
        if user := os.environ.get("SMTP_USER"):
            smtp.starttls(context=ssl.create_default_context())
            smtp.login(user, os.environ["SMTP_PASSWORD"])
        smtp.send_message(mail)


class Receiver(BaseHTTPRequestHandler):
    """Responds with 2xx once a signed message has been passed on. After anything else, the service sends it again."""

    timeout = TIMEOUT_SECONDS

    def do_POST(self) -> None:
        self.send_response(self._take())
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _take(self) -> int:
        length = int(self.headers.get("Content-Length", 0))
        if not 0 < length <= MOST_BYTES:
            return 413
        try:
            message = verify(os.environ["WEBHOOK_SECRET"], self.headers, self.rfile.read(length))
        except ValueError:
            return 400
        if message["id"] in known_ids:
            return 204
        text = text_of(message)
        try:
            if "CHAT_HOOK" in os.environ:
                post_to_chat(os.environ["CHAT_HOOK"], text)
            if "SMTP_HOST" in os.environ:
                send_mail(message, text)
        except (OSError, smtplib.SMTPException) as error:
            print(f"not passed on: {type(error).__name__}", file=sys.stderr)
            return 502
        known_ids[message["id"]] = None
        if len(known_ids) > MOST_IDS:
            known_ids.popitem(last=False)
        return 204


def main() -> None:
    if not os.environ.get("WEBHOOK_SECRET") or not {"CHAT_HOOK", "SMTP_HOST"} & os.environ.keys():
        sys.exit("Set WEBHOOK_SECRET, and CHAT_HOOK or SMTP_HOST.")
    with ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Receiver) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
