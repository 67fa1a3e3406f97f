"""The visitor's scheme from a proxy's headers, in each spelling that proxies use, and only if the proxy is trusted."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from processes import RunningService, running_service

HOST = "localhost:8443"


def status_of_call(service: RunningService, *forwarded: str) -> int:
    """The status of a widget's call from https://localhost:8443: 404 if that is the service's own origin, else 403."""
    page = httpx.get(f"{service.url}/widget.html", params={"id": service.widget_id}, timeout=60)
    headers = [
        ("Host", HOST),
        ("Origin", f"https://{HOST}"),
        ("X-API-Key", service.api_key),
        ("X-Widget-Proof", page.headers["x-widget-proof"]),
        *(("X-Forwarded-Proto", value) for value in forwarded),
    ]
    path = "/api/v1/conversations/6f1b1f0e-5a52-4a63-9f0a-000000000001"
    return httpx.get(service.url + path, headers=headers, timeout=60).status_code


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose tenant does not list this machine's names."""
    with running_service(tmp_path_factory.mktemp("exact"), "https://shop.example") as running:
        yield running


@pytest.mark.parametrize(
    "forwarded",
    [["https"], ["HTTPS"], ["Https"], ["https,http"], ["https, https"], ["HTTPS , HTTP"], ['"https"'],
     ["https", "http"]],
)  # fmt: skip
def test_the_first_forwarded_scheme_is_the_visitors(exact: RunningService, forwarded: list[str]) -> None:
    assert status_of_call(exact, *forwarded) == 404


@pytest.mark.parametrize("forwarded", [[], ["http"], ["http,https"], ["http", "https"], ["ftp"], [""], ["x" * 5000]])
def test_a_different_scheme_makes_a_different_origin(exact: RunningService, forwarded: list[str]) -> None:
    assert status_of_call(exact, *forwarded) == 403


def test_an_untrusted_client_cannot_choose_the_scheme(tmp_path: Path) -> None:
    with running_service(tmp_path, "https://shop.example", FORWARDED_ALLOW_IPS="192.0.2.1") as service:
        assert status_of_call(service, "https") == 403
