"""Shared fixtures: an application with its lifespan running, and a real service in its own process."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sse_starlette.sse import AppStatus

import chatbot
from client import Client
from databases import database_kind as database_kind
from databases import database_url as database_url
from databases import empty_database_url as empty_database_url
from databases import extend_deadlines
from databases import postgresql_databases as postgresql_databases
from databases import sqlite_template as sqlite_template
from processes import RunningService, running_service
from service.answers import pace
from service.settings import Settings
from service.testing.chunks import BASE_URL
from service.testing.fixtures import chat as chat
from service.testing.fixtures import upstream as upstream

ORIGIN = "https://shop.test"
# The modules that take half a minute or more, slowest first, according to `pytest --durations=0`.
SLOWEST = (
    "test_faults",
    "test_widget_tenants",
    "test_widget_replaced_pages",
    "test_manage",
    "test_connections",
    "test_other_browsers",
    "test_widget_languages",
    "test_leaving",
    "test_schema_service",
    "test_owner_pages",
    "test_studio",
    "test_widget_features",
    "test_widget_answers",
    "test_widget_accessibility",
    "test_workers",
    "test_privacy",
    "test_store_processes",
    "test_widget_host_page",
    "test_recorded_upstreams",
    "test_widget_assistive",
    "test_widget_scrolling",
    "test_widget_placing",
    "test_widget_keyboard",
    "test_widget_api",
    "test_widget_failures",
    "test_widget_layout",
    "test_docs_commands",
    "test_replicas",
    "test_widget_conversation",
)

Serve = Callable[..., AbstractAsyncContextManager[Client]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run load tests and faults with their full counts")


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether load tests use their full counts."""
    return bool(pytestconfig.getoption("--full"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test marked `each_database` on both databases."""
    marked = metafunc.definition.get_closest_marker("each_database")
    chosen = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if marked and "database_kind" in metafunc.fixturenames and "database_kind" not in chosen:
        metafunc.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest modules first, so that none starts when the others end."""
    place = {name: number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ignore the environment and any `.env`."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend deadlines that a busy machine could miss. Modules that test deadlines set their own."""
    extend_deadlines(monkeypatch)
    monkeypatch.setattr(chatbot, "REFUSAL_SECONDS", 60)
    monkeypatch.setattr(pace, "STORING_SECONDS", 60)


@pytest.fixture(autouse=True)
def _sse_starlette_forgets_shutdowns() -> Iterator[None]:
    yield
    AppStatus.should_exit = False


@pytest.fixture
def serve(database_url: str) -> Serve:
    """Runs the application on a fresh database: `async with serve(max_streams=1) as client`."""

    @asynccontextmanager
    async def run(name: str = "shop", tenant: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Client]:
        defaults = {
            "database_url": database_url,
            "openai_api_key": "sk-upstream",
            "openai_base_url": BASE_URL,
            "public_url": "https://chat.test",
        }
        app = chatbot.create_app(Settings(**(defaults | settings)))
        async with app.router.lifespan_context(app) as state:
            assert state is not None
            chosen = {"origins": [ORIGIN], "rate_per_minute": 0, "visitor_rate_per_minute": 0, "tokens_per_day": 0}
            _, widget, api_key = await state["service"].store.add_tenant(name, **(chosen | (tenant or {})))
            client = Client(app, dict(state), {"X-API-Key": api_key, "Origin": ORIGIN})
            client.widget_id = widget.id
            yield client

    return run


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[Client]:
    """The application with a tenant without limits, whose key and origin are sent with each request."""
    async with serve() as client:
        yield client


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A real service in demonstration mode with an additional tenant, for pages on this machine."""
    with running_service(tmp_path_factory.mktemp("service")) as running:
        yield running
