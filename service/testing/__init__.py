"""A pytest plugin for teams that build on the service, with mock providers.

`pytest_plugins = ["service.testing"]` in a `conftest.py` gives the fixtures `chat` and `upstream`. See docs/testing.md.
"""

from service.testing.behaviours import (
    Behaviour,
    answers,
    breaks_after,
    cites,
    in_turn,
    refuses,
    stalls_after,
    thinks,
)
from service.testing.chunks import BASE_URL, Body, streamed
from service.testing.dialects import DIALECTS, Dialect
from service.testing.fixtures import chat, upstream
from service.testing.running import Chat, ChatAnswer, ChatEvent, running_chat

__all__ = [
    "BASE_URL",
    "DIALECTS",
    "Behaviour",
    "Body",
    "Chat",
    "ChatAnswer",
    "ChatEvent",
    "Dialect",
    "answers",
    "breaks_after",
    "chat",
    "cites",
    "in_turn",
    "refuses",
    "running_chat",
    "stalls_after",
    "streamed",
    "thinks",
    "upstream",
]
