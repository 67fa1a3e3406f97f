"""A stream without a provider or storage, with which `manage.py doctor` tests the path to a visitor."""

import asyncio
import re
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import StreamingResponse

from service import errors, schema
from service.access.keys import Caller

HEADER = "x-probe"  # its value: seconds of silence after the words
WORDS = "one two three four five six seven eight nine ten".split()
STEP_SECONDS = 0.1
MOST_SILENCE_SECONDS = 120


def is_probe(request: Request, caller: Caller) -> bool:
    """Whether a question is a probe, which needs a secret key."""
    return HEADER in request.headers and caller.key.kind == "secret"


def probe_response(request: Request) -> StreamingResponse:
    """Ten words one by one, then silence without pings, then `done`, sent like an answer and with its headers."""
    seconds = request.headers[HEADER]
    if not re.fullmatch("[0-9]{1,3}", seconds) or int(seconds) > MOST_SILENCE_SECONDS:
        raise errors.BadRequest(f"X-Probe is not a number of seconds up to {MOST_SILENCE_SECONDS}")
    headers = {"Cache-Control": "no-cache, no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(int(seconds)), headers=headers, media_type="text/event-stream")


async def _events(silence: int) -> AsyncIterator[str]:
    for word in WORDS:
        yield f"event: message\ndata: {schema.to_json(schema.MessageEvent(chunk=f'{word} '))}\n\n"
        await asyncio.sleep(STEP_SECONDS)
    await asyncio.sleep(silence)
    yield f"event: done\ndata: {schema.to_json(schema.DoneEvent(status='complete', usage=None))}\n\n"
