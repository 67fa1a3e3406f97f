"""The OpenAPI document: valid, complete, true to the routes, with examples that hold."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

import chatbot
from service import schema
from service.errors import every_error
from service.settings import Settings
from service.upstream.event_stream import EventStreamDecoder
from service.web.openapi import openapi
from service.web.owner.routes import owner_routes

LIMITS: dict[str, Any] = {"version": "1.2.3", "max_message_chars": 4000, "max_body_bytes": 65_536}
DOCUMENT = openapi(chatbot.routes, **LIMITS)
SCHEMAS = DOCUMENT["components"]["schemas"]
STREAMS = DOCUMENT["paths"]["/api/v1/chat"]["post"]["responses"]["200"]["content"]["text/event-stream"]["examples"]


def nodes(value: Any, place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every descriptive object in the document, with its path; examples are values and don't count."""
    if isinstance(value, dict):
        yield place, value
        for key, child in value.items():
            if key not in ("example", "examples"):
                yield from nodes(child, f"{place}/{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from nodes(child, f"{place}/{index}")


def resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/")]
    return found


def examples_of(node: dict[str, Any]) -> list[Any]:
    """The examples of a schema, of a media type, or of a parameter or header."""
    examples = node.get("examples", [])
    named = [example["value"] for example in examples.values()] if isinstance(examples, dict) else examples
    return [*named, *([node["example"]] if "example" in node else [])]


def problems_with(value: Any, described: dict[str, Any]) -> list[str]:
    validator = OAS31Validator(described | {"components": DOCUMENT["components"]}, format_checker=oas31_format_checker)
    return [error.message for error in validator.iter_errors(value)]


SCHEMAS_WITH_EXAMPLES = [
    pytest.param(node.get("schema", node), example, id=f"{place}-{index}")
    for place, node in nodes(DOCUMENT)
    for index, example in enumerate(examples_of(node))
]


def test_the_document_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_the_document_reflects_the_settings() -> None:
    document = openapi(chatbot.routes, version="7.0.0", max_message_chars=17, max_body_bytes=999)
    assert document["info"]["version"] == "7.0.0"
    assert document["components"]["schemas"]["ChatRequest"]["properties"]["message"]["maxLength"] == 17
    assert "999 bytes" in document["paths"]["/api/v1/chat"]["post"]["requestBody"]["description"]


def test_the_document_is_served_unchanged() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT == openapi(chatbot.routes, **LIMITS)


def test_every_model_is_a_component() -> None:
    of_the_api = ("service.schema", "service.web.handoff")  # not the owner's pages
    models = {
        model.__name__
        for kind in (schema.Incoming, schema.Outgoing)
        for model in kind.__subclasses__()
        if model.__module__ in of_the_api
    }
    assert models == SCHEMAS.keys() - {"StreamEvent"}


def test_every_reference_resolves_and_every_schema_parameter_and_header_is_used() -> None:
    references = {node["$ref"] for _, node in nodes(DOCUMENT) if "$ref" in node}
    assert all(isinstance(resolve(reference), dict) for reference in references)
    for kind in ("schemas", "parameters", "headers"):
        assert {f"#/components/{kind}/{name}" for name in DOCUMENT["components"][kind]} <= references


def test_every_error_of_the_service_is_in_the_document() -> None:
    before = {
        example["value"]["code"]
        for _, node in nodes(DOCUMENT)
        for example in node.get("application/problem+json", {}).get("examples", {}).values()
    }
    of_the_owners_pages = {"studio_token_wrong"}  # which the document leaves out
    documented = before | set(SCHEMAS["ErrorEvent"]["properties"]["code"]["examples"])
    assert documented == set(every_error()) - of_the_owners_pages


@pytest.mark.parametrize(("described", "example"), SCHEMAS_WITH_EXAMPLES)
def test_every_example_is_valid(described: dict[str, Any], example: Any) -> None:
    assert problems_with(example, described) == []


def test_every_schema_body_parameter_and_header_has_an_example() -> None:
    for name in SCHEMAS.keys() - {"StreamEvent"}:
        assert examples_of(SCHEMAS[name]), name
    for place, node in nodes(DOCUMENT):
        if "schema" in node:
            assert examples_of(node) or examples_of(resolve(node["schema"]["$ref"])), place


@pytest.mark.parametrize("name", STREAMS)
def test_every_example_of_a_stream_is_a_valid_stream(name: str) -> None:
    decoder = EventStreamDecoder()
    events = list(decoder.feed(STREAMS[name]["value"].encode()))
    for event in events:
        assert problems_with(json.loads(event.data), data_schema(event.event)) == []
    names = [event.event for event in events]
    assert names[0] == "start"
    assert [name for name in names if name in ("done", "error")] == names[-1:]
    assert set(names[1:-1]) - {"sources"} == {"message"}
    assert "sources" not in names[:-2], "it comes at most once, before the last"


def data_schema(event: str) -> dict[str, Any]:
    """The schema of an event's data, found as a reader of the document finds it."""
    described = {one["properties"]["event"]["const"]: one for one in SCHEMAS["StreamEvent"]["oneOf"]}
    content: dict[str, Any] = described[event]["properties"]["data"]["contentSchema"]
    return content


def test_every_event_refers_to_its_component() -> None:
    components = {name: data_schema(name)["$ref"].rpartition("/")[2] for name in schema.EVENTS}
    assert components == {
        "start": "StartEvent",
        "message": "MessageEvent",
        "sources": "SourcesEvent",
        "done": "DoneEvent",
        "error": "ErrorEvent",
    }


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("post", "/api/v1/chat", {200, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 431, 500, 502, 503, 504}),
        ("get", "/api/v1/conversations", {200, 400, 401, 403, 429, 431, 500, 503}),
        ("get", "/api/v1/conversations/{conversation_id}", {200, 400, 401, 403, 404, 429, 431, 500, 503}),
        ("delete", "/api/v1/conversations/{conversation_id}", {204, 400, 401, 403, 404, 429, 431, 500, 503}),
        ("post", "/api/v1/messages/{message_id}/stop", {204, 400, 401, 403, 404, 429, 431, 500, 503}),
        (
            "post",
            "/api/v1/messages/{message_id}/feedback",
            {204, 400, 401, 403, 404, 408, 413, 415, 422, 429, 431, 500, 503},
        ),
        (
            "post",
            "/api/v1/conversations/{conversation_id}/handoff",
            {204, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 431, 500, 503},
        ),
        ("get", "/api/v1/ready", {200, 400, 431, 500, 503}),
    ],
)
def test_each_operation_documents_its_statuses(method: str, path: str, statuses: set[int]) -> None:
    assert {int(status) for status in DOCUMENT["paths"][path][method]["responses"]} == statuses


@pytest.mark.parametrize(
    ("status", "header"),
    [(401, "WWW-Authenticate"), (429, "Retry-After"), (503, "Retry-After"), (200, "X-Accel-Buffering")],
)
def test_each_response_documents_its_headers(status: int, header: str) -> None:
    response = DOCUMENT["paths"]["/api/v1/chat"]["post"]["responses"][str(status)]
    assert {"X-Request-ID", header} <= response["headers"].keys()


# Files that browsers load by themselves, the owner's API, and this document.
PAGES_AND_FILES = {
    *(route.path for route in owner_routes),
    *("/docs", "/openapi.json"),
    *("/widget.js", "/widget.mjs", "/widget.d.ts", "/widget.html", "/assets/{path:path}"),
}


def test_the_document_lists_exactly_the_routes_of_the_api() -> None:
    documented = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    routes = chatbot.create_app(Settings()).routes
    assert all(isinstance(route, Route) for route in routes)
    served = {(method, route.path) for route in routes if isinstance(route, Route) for method in route.methods or ()}
    # The text tells of the other two: every GET has a HEAD, and OPTIONS answers preflights of the API.
    assert {path for method, path in served if method == "HEAD"} == {path for method, path in served if method == "GET"}
    assert {path for method, path in served if method == "OPTIONS"} == {
        path for path, item in DOCUMENT["paths"].items() if "ApiKey" in json.dumps(item)
    }
    api = {one for one in served if one[0] not in ("HEAD", "OPTIONS") and one[1] not in PAGES_AND_FILES}
    assert api == documented
