"""schemathesis against the running service: it behaves as documented for any input."""

import json
import re
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from processes import RunningService, running_service
from service.upstream.event_stream import EventStreamDecoder
from upstreams import local_upstream

ORIGIN = "http://localhost:3000"
METRICS_TOKEN = "metrics-token"
PRIVATE_KEY = Ed25519PrivateKey.generate()
SECONDS = 600


@pytest.fixture(scope="module")
def quick_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose upstream answers at once."""
    directory = tmp_path_factory.mktemp("quick_service")
    with local_upstream() as upstream:
        settings = {
            "OPENAI_BASE_URL": upstream.url("quick"),
            "OPENAI_API_KEY": "sk-upstream",
            "METRICS_TOKEN": METRICS_TOKEN,
        }
        with running_service(directory, **settings) as running:
            yield running


class Exchanges:
    """schemathesis' requests and responses, by operation."""

    def __init__(self, document: dict[str, Any], har: dict[str, Any]) -> None:
        self.statuses: dict[str, set[int]] = defaultdict(set)
        self.undocumented: set[tuple[str, int, str]] = set()
        patterns = {path: re.compile(re.sub("{.*?}", "[^/]+", path)) for path in document["paths"]}
        for entry in har["log"]["entries"]:
            path = httpx.URL(entry["request"]["url"]).raw_path.decode().partition("?")[0]
            template = next((known for known, pattern in patterns.items() if pattern.fullmatch(path)), "")
            operation = document["paths"].get(template, {}).get(entry["request"]["method"].lower())
            if operation is not None:
                self._add(f"{entry['request']['method']} {template}", operation, entry["response"])

    def _add(self, name: str, operation: dict[str, Any], response: dict[str, Any]) -> None:
        status = response["status"]
        self.statuses[name].add(status)
        if response["content"]["mimeType"] == "application/problem+json":
            code = json.loads(response["content"]["text"])["code"]
            described = operation["responses"].get(str(status), {}).get("content", {})
            if code not in described.get("application/problem+json", {}).get("examples", {}):
                self.undocumented.add((name, status, code))


def run_schemathesis(
    service: RunningService, directory: Path, full: bool, *options: str, config: str = ""
) -> Exchanges:
    """Run all checks with reproducible requests. Fails with the report."""
    (directory / "schemathesis.toml").write_text(config)
    har = directory / "exchanges.har"
    key, token = PRIVATE_KEY.public_key(), user_token()
    (directory / "key.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    service.manage("tenant", "set", "shop", "--identity-public-key-file", str(directory / "key.pem"))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(directory / "schemathesis.toml")),
        *("run", f"{service.url}/openapi.json", "--checks", "all", "--max-examples", "40" if full else "10"),
        *("--generation-deterministic", "--no-color", "--report", "har", "--report-har-path", str(har)),
        *("--header", f"X-API-Key: {service.api_key}", "--header", f"X-User-Token: {token}"),
        *("--header", f"Origin: {ORIGIN}", *options),
    ]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in service.log()
    document = httpx.get(f"{service.url}/openapi.json", timeout=60).json()
    return Exchanges(document, json.loads(har.read_text()))


def test_the_service_behaves_as_documented(quick_service: RunningService, tmp_path: Path, full: bool) -> None:
    met = run_schemathesis(quick_service, tmp_path, full, "--header", f"Authorization: Bearer {METRICS_TOKEN}")
    assert met.undocumented == set()
    assert met.statuses["POST /api/v1/chat"] >= {200, 400, 401, 404, 415, 422}
    assert met.statuses["GET /metrics"] >= {200, 401}


def test_the_service_behaves_as_documented_with_existing_data(
    service: RunningService, tmp_path: Path, full: bool
) -> None:
    """The ids that schemathesis generates don't exist; these do."""
    conversation_id, message_id = ask(service)
    forgotten, _ = ask(service)
    config = f"""
        [parameters]
        "path.conversation_id" = "{conversation_id}"
        "path.message_id" = "{message_id}"

        [[operations]]
        include-operation-id = "forgetConversation"
        parameters = {{ "path.conversation_id" = "{forgotten}" }}
    """
    met = run_schemathesis(service, tmp_path, full, "--exclude-operation-id", "chat", config=config)
    assert met.undocumented == set()
    refused = {"GET /metrics", "POST /api/v1/conversations/{conversation_id}/handoff"}  # no token, and no webhook
    assert {name for name, statuses in met.statuses.items() if not statuses & {200, 204}} == refused


def user_token() -> str:
    now = int(time.time())
    return jwt.encode({"sub": "user-1", "iat": now, "exp": now + 3600}, PRIVATE_KEY, algorithm="EdDSA")


def ask(service: RunningService) -> tuple[str, str]:
    """Ask a question. Returns the ids of its conversation and its turn."""
    headers = {"X-API-Key": service.api_key, "Origin": ORIGIN}
    body = {"message": "Hello", "message_id": str(uuid.uuid4())}
    response = httpx.post(f"{service.url}/api/v1/chat", json=body, headers=headers, timeout=30)
    start, *_, last = EventStreamDecoder().feed(response.content)
    assert (start.event, last.event) == ("start", "done")
    return json.loads(start.data)["conversation_id"], body["message_id"]
