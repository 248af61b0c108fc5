"""A large answer goes no faster than its client takes it.

Serve puts what a replica answers into queues without an end, here and in its proxy, so that ``send`` never waits: all
of a large download would lie in memory until a slow client has taken it. So the proxy says how many bytes the client
has taken, by messages among those that the replica receives anyway, and the replica waits while too many are on their
way. With HAProxy it is the replica's own server that says so. Where nobody does (a bare ``serve run``), nothing waits.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

WINDOW_BYTES = 8 << 20
TAKEN = "geti-action.taken"
"""The message that says how many bytes; and, in a scope, that there will be such messages."""
LARGE = ("/download", "/video/")


class Taken:
    """In the proxy: tells the replica what a client has taken of an answer that may be large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not any(part in scope["path"] for part in LARGE):
            return await self._app(scope, receive, send)
        meter = _Meter(receive, send)
        try:
            await self._app({**scope, TAKEN: True}, meter.receive, meter.send)
        finally:
            meter.close()


class _Meter:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._taken, self._news = 0, asyncio.Event()
        self._waiting: asyncio.Future[Message] | None = None

    async def send(self, message: Message) -> None:
        await self._send(message)  # which waits until the socket has room
        self._taken += len(message.get("body", b""))
        self._news.set()

    async def receive(self) -> Message:
        """The client's next message, or what it has taken, whichever is there first."""
        self._waiting = self._waiting or asyncio.ensure_future(self._receive())
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait((self._waiting, news), return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if self._waiting.done():
            message, self._waiting = self._waiting.result(), None
            return message
        self._news.clear()
        return {"type": TAKEN, "bytes": self._taken}

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


async def paced(app: Callable[[Receive, Send], Awaitable[None]], scope: Scope, receive: Receive, send: Send) -> None:
    """In the replica: let ``app`` answer, and wait in its ``send`` while ``WINDOW_BYTES`` are on their way."""
    if TAKEN not in scope:
        return await app(receive, send)
    pace = _Pace(receive, send)
    pumping = asyncio.create_task(pace.pump())
    try:
        await app(pace.inbox.get, pace.send)
    finally:
        pumping.cancel()


class _Pace:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._sent, self._taken, self._moved = 0, 0.0, asyncio.Event()
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()

    async def pump(self) -> None:
        """Sort what comes. Once the client is gone nothing waits for it."""
        while self._taken < math.inf:
            message = await self._receive()
            if message["type"] == TAKEN:
                self._taken = message["bytes"]
            else:
                self.inbox.put_nowait(message)
                self._taken = math.inf if message["type"] == "http.disconnect" else self._taken
            self._moved.set()

    async def send(self, message: Message) -> None:
        while self._sent - self._taken > WINDOW_BYTES:
            self._moved.clear()
            await self._moved.wait()
        self._sent += len(message.get("body", b""))
        await self._send(message)
