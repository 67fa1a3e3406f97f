"""Handing a conversation to the site's owner, who receives it through a webhook."""

import re
from math import ceil
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from service import errors, schema
from service.access.visitors import visitor_id
from service.store.outbox import Handoff
from service.store.records import Conflict, Quota, QuotaSpent
from service.web.openapi import ANYONE, operation
from service.web.requests import authenticate_reader, exchange_of, path_id, read_body, service_of
from service.webhooks.hook import has_hook

MAX_EMAIL_CHARS = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets
MAX_NOTE_CHARS = 2000
HANDOFFS_PER_HOUR = 10  # per visitor
HOUR = 3600

# One email address, without anything that an email header could take for another address or field.
_CHARACTERS = r"[^\s@<>()\[\]\\,;:\"\u0000-\u0020\u007f-\u00a0\ufeff]+"
EMAIL = f"^{_CHARACTERS}@{_CHARACTERS}$"


def _email(value: str) -> str:
    if not re.fullmatch(EMAIL, value):
        raise ValueError("must be an email address")
    return value


def _agreed(value: object) -> object:
    if value is not True:
        raise ValueError("must be true")
    return value


class HandoffRequest(schema.Incoming):
    """A request to hand a conversation to the site's owner."""

    model_config = schema.examples(
        {"email": "ada@example.com", "consent": True},
        {"email": "ada@example.com", "note": "I need the answer by Friday.", "consent": True},
    )

    email: Annotated[str, AfterValidator(_email)] = Field(
        description="Where the person should reply.",
        max_length=MAX_EMAIL_CHARS,
        examples=["ada@example.com"],
        json_schema_extra={"pattern": EMAIL},
    )
    note: Annotated[schema.Words, Field(max_length=MAX_NOTE_CHARS)] | None = Field(
        default=None, description="An optional note from the visitor."
    )
    consent: Annotated[Literal[True], BeforeValidator(_agreed)] = Field(
        description="The visitor agrees that the conversation, the address and the note are sent to the site's owner."
    )


@operation(
    "POST",
    "handOffConversation",
    "Hand off a conversation to a person",
    "The conversation, the address and the note will be sent to the tenant's webhook. Repeating the same request does "
    "not send them again.",
    errors=(
        *errors.READING,
        *errors.BODY,
        errors.ConversationUnknown,
        errors.HandoffNotSetUp,
    ),
    body=HandoffRequest,
    security=ANYONE,
)
async def handoff(request: Request) -> Response:
    """Send a conversation to the tenant's webhook."""
    caller, service = await authenticate_reader(request), service_of(request)
    conversation_id = path_id(request, "conversation_id", errors.ConversationUnknown)
    request_body = await read_body(request, HandoffRequest)
    if not has_hook(caller.tenant):
        raise errors.HandoffNotSetUp("the tenant has no webhook that can be used")
    visitor = visitor_id(caller.tenant, exchange_of(request).address)
    quota = Quota(f"handoff:{caller.tenant.id}:{visitor}", HANDOFFS_PER_HOUR, HOUR)
    new_handoff = Handoff(request_body.email, request_body.note, quota)
    try:
        is_known = await service.store.outbox.hand_off(caller.tenant.id, conversation_id, new_handoff, caller.subject)
    except Conflict:
        is_known = False
    except QuotaSpent as refusal:
        raise errors.VisitorRateLimited(
            "the visitor's hand-offs",
            detail="You have sent this several times. Please try again later.",
            retry_after=ceil(refusal.quota_states[-1].seconds),
        ) from None
    if not is_known:
        raise errors.ConversationUnknown("no such conversation")
    service.webhooks.wake()
    return Response(status_code=204)
