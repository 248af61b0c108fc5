"""A client of live updates as the standard says: messages, the last id, and how soon to come back."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Message:
    """``id`` is the last one that was said so far. A block without data has only that to say: its event is ""."""

    event: str
    id: str | None
    data: Any


class Reader:
    """One connection's messages, one at a time."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.received = 0
        self._messages = self._read(response.aiter_lines())

    async def next(self) -> Message:
        """Raises StopAsyncIteration behind the last one."""
        return await anext(self._messages)

    async def rest(self) -> list[Message]:
        """All that come until the server ends the stream."""
        return [message async for message in self._messages]

    async def _read(self, lines: AsyncIterator[str]) -> AsyncGenerator[Message, None]:
        event, id, data = "message", None, ""
        async for line in lines:
            self.received += len(line.encode()) + 1
            name, _, value = line.partition(": ")
            match name:
                case "event":
                    event = value
                case "id":
                    id = value
                case "data":
                    data = value
                case "" if not line:
                    yield Message(event, id, json.loads(data)) if data else Message("", id, None)
                    event, data = "message", ""


@asynccontextmanager
async def watching(
    client: httpx.AsyncClient, last_event_id: int | str | None = None, **parameters: str
) -> AsyncIterator[Reader]:
    """A stream of live updates that has said hello."""
    headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
    async with client.stream("GET", "/api/live", headers=headers, params=parameters, timeout=60) as response:
        if response.is_error:
            await response.aread()
        response.raise_for_status()
        yield Reader(response)
