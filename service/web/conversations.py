"""The endpoints for conversations and answers: list, read, delete, stop and rate."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service import errors, schema
from service.access.visitors import visitor_id
from service.store.records import Quota
from service.web.handoff import HOUR
from service.web.openapi import ANYONE, VISITOR, operation
from service.web.requests import authenticate_reader, exchange_of, json_response, path_id, read_body, service_of

FEEDBACK_EVENTS_PER_HOUR = 60  # per visitor: each is a delivery, with the question and the answer


@operation(
    "GET",
    "listConversations",
    "List a visitor's conversations",
    "The conversations of the visitor in `X-User-Token`, the most recently used first.",
    content=schema.ConversationList,
    errors=errors.READING,
    headers=("Cache-Control",),
    security=VISITOR,
)
async def conversations(request: Request) -> Response:
    """The conversations of a visitor with a signed token, from all devices."""
    caller = await authenticate_reader(request)
    if caller.subject is None:
        raise errors.UserTokenMissing("a list of conversations without a user token")
    found = await service_of(request).store.conversations(caller.tenant.id, caller.subject, schema.MAX_LISTED)
    return json_response(schema.ConversationList(conversations=[schema.summary_of(each) for each in found]))


@operation(
    "GET",
    "readConversation",
    "Read a conversation",
    "The turns of the conversation, to restore a window after a reload.",
    content=schema.Conversation,
    errors=(*errors.READING, errors.ConversationUnknown),
    headers=("Cache-Control",),
    security=ANYONE,
)
@operation(
    "DELETE",
    "forgetConversation",
    "Delete a conversation",
    "The conversation and all its messages were deleted.",
    errors=(*errors.READING, errors.ConversationUnknown),
    security=ANYONE,
)
async def conversation(request: Request) -> Response:
    """Return the turns of a conversation or, with DELETE, delete it."""
    caller = await authenticate_reader(request)
    service, tenant_id = service_of(request), caller.tenant.id
    conversation_id = path_id(request, "conversation_id", errors.ConversationUnknown)
    if request.method == "DELETE":
        if not await service.store.delete_conversation(tenant_id, conversation_id, caller.subject):
            raise errors.ConversationUnknown("no such conversation")
        await service.answers.forget(conversation_id)
        return Response(status_code=204)
    turns = await service.store.conversation(tenant_id, conversation_id, subject=caller.subject)
    if turns is None:
        raise errors.ConversationUnknown("no such conversation")
    messages = [message for turn in turns for message in schema.messages_of(turn, service.answers.find_text(turn.id))]
    return json_response(schema.Conversation(conversation_id=conversation_id, messages=messages))


@operation(
    "POST",
    "stopAnswer",
    "Stop an answer",
    "The answer was stopped, or had already ended.",
    errors=(*errors.READING, errors.MessageUnknown),
    security=ANYONE,
)
async def stop(request: Request) -> Response:
    """Stop an answer. One that has ended already stays as it is."""
    caller = await authenticate_reader(request)
    message_id = path_id(request, "message_id", errors.MessageUnknown)
    if await service_of(request).store.find_turn(caller.tenant.id, message_id, caller.subject) is None:
        raise errors.MessageUnknown("no such message")
    await service_of(request).answers.stop(message_id)
    return Response(status_code=204)


@operation(
    "POST",
    "rateAnswer",
    "Rate an answer",
    "The rating was stored; it replaces an earlier one.",
    errors=(*errors.READING, *errors.BODY, errors.MessageUnknown),
    body=schema.FeedbackRequest,
    security=ANYONE,
)
async def feedback(request: Request) -> Response:
    """Store a visitor's rating of an answer."""
    caller = await authenticate_reader(request)
    message_id = path_id(request, "message_id", errors.MessageUnknown)
    body = await read_body(request, schema.FeedbackRequest)
    service, tenant = service_of(request), caller.tenant
    store_rating: Callable[..., Awaitable[bool]] = service.store.rate_turn
    if tenant.webhook_url_env:
        visitor = visitor_id(tenant, exchange_of(request).address)
        quota = Quota(f"feedback:{tenant.id}:{visitor}", FEEDBACK_EVENTS_PER_HOUR, HOUR)
        store_rating = partial(service.store.outbox.rate_turn, quota=quota)
    if not await store_rating(tenant.id, message_id, rating=body.rating, comment=body.comment, subject=caller.subject):
        raise errors.MessageUnknown("no such message")
    service.webhooks.wake()
    return Response(status_code=204)
