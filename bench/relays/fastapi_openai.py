"""A common way to write a relay: FastAPI, openai and sse-starlette. No keys, limits, history or database."""

import json
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from openai import AsyncOpenAI
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

client = AsyncOpenAI(base_url=os.environ["UPSTREAM"], api_key="sk-bench", max_retries=0)
app = FastAPI()


class Question(BaseModel):
    message: str


async def chat(question: Question) -> EventSourceResponse:
    async def events() -> AsyncIterator[dict[str, str]]:
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": question.message}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield {"event": "message", "data": json.dumps({"chunk": chunk.choices[0].delta.content})}
        yield {"event": "done", "data": "{}"}

    return EventSourceResponse(events())


app.post("/chat")(chat)
