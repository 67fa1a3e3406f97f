"""The models of requests and responses, and their agreement with the document."""

import json
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from pydantic import ValidationError

import chatbot
from service.schema import ChatRequest, DoneEvent, ErrorEvent, FeedbackRequest, FieldError, Problem, to_json
from service.web.openapi import openapi

LIMIT = 20
SCHEMAS = openapi(chatbot.routes, version="1", max_message_chars=LIMIT, max_body_bytes=1)["components"]["schemas"]


def accepts(model: type[ChatRequest] | type[FeedbackRequest], body: dict[str, Any]) -> bool:
    try:
        model.model_validate_json(json.dumps(body), context={"max_message_chars": LIMIT})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("message", "accepted"),
    [
        ("Hi", True),
        (" Hi\n", True),
        ("?", True),
        ("\n?\n", True),
        ("你好", True),
        ("👍🏽", True),
        ("\U0001fae8", True),  # an emoji that Python 3.11 has not heard of
        ("\ue000", True),  # private use: a site's own font may draw it
        ("a\u200bb", True),
        ("\x01?", True),
        ("x" * LIMIT, True),
        ("👍" * LIMIT, True),
        ("x" * (LIMIT + 1), False),
        ("", False),
        (" ", False),
        ("\n\t\r\n", False),
        ("\u00a0\u2003\u3000", False),
        ("\u200b\u200d\ufeff", False),
        ("\u2066\u2069\u00ad", False),
        ("\u3164\u2800\ufe0f", False),
        ("\x01\x1b\x9f", False),
        ("a\0b", False),
        ("\0", False),
    ],
)
def test_a_message_must_be_visible_and_short_as_documented(message: str, accepted: bool) -> None:
    assert accepts(ChatRequest, {"message": message}) is accepted
    assert OAS31Validator(SCHEMAS["ChatRequest"]).is_valid({"message": message}) is accepted


def test_a_message_is_trimmed_before_it_is_measured() -> None:
    request = ChatRequest.model_validate({"message": "\n " + "x" * LIMIT + " \n"}, context={"max_message_chars": LIMIT})
    assert request.message == "x" * LIMIT


@pytest.mark.parametrize(
    ("model", "body", "accepted"),
    [
        (ChatRequest, {"message": "Hi", "conversation_id": None, "message_id": None, "regenerate": False}, True),
        (ChatRequest, {"message": "Hi", "message_id": "c1f3b1de-6a52-4e0c-8d0f-3f6f0f5d9a27"}, True),
        (ChatRequest, {"message": "Hi", "messages": []}, False),
        (ChatRequest, {"message": "Hi", "regenerate": 1}, False),
        (ChatRequest, {"message": "Hi", "regenerate": "true"}, False),
        (ChatRequest, {"message": ["Hi"]}, False),
        (ChatRequest, {"message": 1}, False),
        (ChatRequest, {"message": None}, False),
        (ChatRequest, {"message": "Hi", "conversation_id": 1}, False),
        (ChatRequest, {}, False),
        (FeedbackRequest, {"rating": "up"}, True),
        (FeedbackRequest, {"rating": "down", "comment": None}, True),
        (FeedbackRequest, {"rating": "down", "comment": ""}, True),
        (FeedbackRequest, {"rating": "down", "comment": "x" * 1000}, True),
        (FeedbackRequest, {"rating": "down", "comment": "x" * 1001}, False),
        (FeedbackRequest, {"rating": "down", "comment": "a\0b"}, False),
        (FeedbackRequest, {"rating": "sideways"}, False),
        (FeedbackRequest, {"comment": "Good"}, False),
    ],
)
def test_a_body_has_the_documented_fields(
    model: type[ChatRequest] | type[FeedbackRequest], body: dict[str, Any], accepted: bool
) -> None:
    assert accepts(model, body) is accepted
    assert OAS31Validator(SCHEMAS[model.__name__]).is_valid(body) is accepted


def test_empty_optional_fields_are_omitted() -> None:
    event = ErrorEvent(code="busy", error="Wait.", request_id="1f")
    assert json.loads(to_json(event)) == {"code": "busy", "error": "Wait.", "request_id": "1f"}
    event.retry_after = 0
    assert json.loads(to_json(event))["retry_after"] == 0


def test_a_missing_token_count_is_null() -> None:
    assert json.loads(to_json(DoneEvent(status="complete", usage=None))) == {"status": "complete", "usage": None}


def test_a_problem_always_has_its_type() -> None:
    problem = Problem(title="Not Found", status=404, detail="There is nothing here.", code="not_found", request_id="1f")
    assert json.loads(to_json(problem)) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is nothing here.",
        "code": "not_found",
        "request_id": "1f",
    }
    problem.errors = [FieldError(field="message", message="must contain something visible")]
    assert json.loads(to_json(problem))["errors"] == [{"field": "message", "message": "must contain something visible"}]
