"""A large answer waits for its client, through queues that never wait themselves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.flow import WINDOW_BYTES, Taken, paced

PIECE = b"x" * (1 << 20)
PIECES = 64
DOWNLOAD = "/api/dataset/1/download"


class Client:
    """Takes as many pieces as it is allowed to, until it leaves."""

    def __init__(self) -> None:
        self.allowed, self.taken, self.gone = asyncio.Semaphore(0), 0, asyncio.Event()

    async def send(self, message: Message) -> None:
        if message.get("body"):
            await self.allowed.acquire()
            self.taken += 1

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def allow(self, pieces: int) -> None:
        for _ in range(pieces):
            self.allowed.release()


class Replica:
    """As many pieces as ``send`` takes; ``left`` is when it has heard that the client is gone."""

    def __init__(self) -> None:
        self.sent, self.left = 0, False

    async def answer(self, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(self._listen(receive))
        for _ in range(PIECES):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            self.sent += 1
        await listening

    async def _listen(self, receive: Receive) -> None:
        self.left = (await receive())["type"] == "http.disconnect"


def serve(replica: Replica) -> ASGIApp:
    """What lies between: queues without an end, both ways."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        there, back = asyncio.Queue[Message](), asyncio.Queue[Message]()

        async def fetch() -> None:
            while True:
                message = await receive()
                there.put_nowait(message)
                if message["type"] == "http.disconnect":
                    return

        async def put(message: Message) -> None:
            back.put_nowait(message)

        fetching = asyncio.create_task(fetch())
        answering = asyncio.create_task(paced(replica.answer, scope, there.get, put))
        while not (answering.done() and back.empty()):
            getting = asyncio.create_task(back.get())
            await asyncio.wait((getting, answering), return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                await send(getting.result())
            else:
                getting.cancel()
        fetching.cancel()
        await answering

    return proxy


@asynccontextmanager
async def asked(path: str) -> AsyncIterator[tuple[Client, Replica]]:
    client, replica = Client(), Replica()
    scope = {"type": "http", "path": path}
    going = asyncio.create_task(Taken(serve(replica))(scope, client.receive, client.send))  # type: ignore[arg-type]
    yield client, replica
    client.gone.set()
    client.allow(PIECES)
    await asyncio.wait_for(going, 10)


async def settled() -> None:
    for _ in range(500):
        await asyncio.sleep(0)


async def test_it_waits_for_who_takes_nothing_and_goes_on_with_who_does() -> None:
    window = WINDOW_BYTES // len(PIECE)
    async with asked(DOWNLOAD) as (client, replica):
        await settled()
        assert replica.sent == window + 1
        for taken in (1, 5, 20):
            client.allow(taken - client.taken)
            await settled()
            assert (client.taken, replica.sent) == (taken, taken + window + 1)
        client.allow(PIECES)
        await settled()
        assert client.taken == replica.sent == PIECES


async def test_nobody_waits_for_who_has_left() -> None:
    async with asked(DOWNLOAD) as (client, replica):
        await settled()
        client.gone.set()
        await settled()
        assert (replica.left, replica.sent) == (True, PIECES)


@pytest.mark.parametrize("path", ["/api/live", "/api/projects"])
async def test_other_answers_go_as_before(path: str) -> None:
    async with asked(path) as (_, replica):
        await settled()
        assert replica.sent == PIECES


async def test_without_a_proxy_that_tells_nothing_waits() -> None:
    replica = Replica()
    received: list[Message] = []

    async def send(message: Message) -> None:
        received.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    await paced(replica.answer, {"type": "http", "path": DOWNLOAD}, receive, send)
    assert len(received) == PIECES
