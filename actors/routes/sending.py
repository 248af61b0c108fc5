"""How files go out: whole or in ranges, or not at all to whoever has them already."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from actors.flow import paced
from actors.problem import problem
from projections.routes.replies import header

ASK_AGAIN = {"Cache-Control": "no-cache"}  # what an index or "newest" means changes: it is kept, and asked for again
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "As If-None-Match has it"}}
KEPT = {"ETag": header("names these bytes, for If-None-Match and If-Range")}


def binary(media_type: str, **headers: dict[str, Any]) -> dict[str, Any]:
    """How the OpenAPI document describes an answer of bytes."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {"content": content, "headers": KEPT | headers}


def has(request: Request, etag: str) -> bool:
    """Whether the client says that it has what this ETag (with its quotes) names."""
    asked = request.headers.get("if-none-match", "")
    return asked.strip() == "*" or etag in [each.strip().removeprefix("W/") for each in asked.split(",")]


def not_modified(headers: Mapping[str, str]) -> Response:
    """For who has it: the headers that the whole answer would have, but for those of its body."""
    kept = {name: value for name, value in headers.items() if name.lower() in ("etag", "cache-control")}
    return Response(status_code=304, headers=kept)


class Streamed(Response):
    """Sends what an iterator gives until the client leaves, each piece when the one before it was taken. (Starlette's
    own logs a traceback for each that leaves, because Serve then cancels what waits for it.)"""

    def __init__(self, stream: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        if "Content-Length" not in headers:
            del self.headers["content-length"]
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await paced(self._answer, scope, receive, send)

    async def _answer(self, receive: Receive, send: Send) -> None:
        tasks = asyncio.create_task(self._send(send)), asyncio.create_task(_left(receive))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            sent, _ = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(sent, Exception):
            raise sent

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._stream) as stream:
            async for text in stream:
                await send({"type": "http.response.body", "body": text, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_beside(pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same pieces, each read off the event loop when it is asked for."""
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece


class Video(FileResponse):
    """A file of pictures, with ranges (206, If-Range). A range that cannot be had is a problem document."""

    media_type = "video/mp4"

    def __init__(self, path: Path) -> None:
        super().__init__(path, headers=ASK_AGAIN, media_type=self.media_type, stat_result=path.stat())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(receive: Receive, send: Send) -> None:
            await FileResponse.__call__(self, scope, receive, _refusing(scope, receive, send))

        await paced(answer, scope, receive, send)


def _refusing(scope: Scope, receive: Receive, send: Send) -> Send:
    """``send`` that puts a problem document in the place of Starlette's refusal, which is plain text."""
    refusal: Message | None = None

    async def told(message: Message) -> None:
        nonlocal refusal
        if message["type"] == "http.response.start" and message["status"] >= 400:
            refusal = message
        elif refusal is None:
            await send(message)
        else:
            await _refused(scope, refusal)(scope, receive, send)

    return told


def _refused(scope: Scope, refusal: Message) -> Response:
    if refusal["status"] == 416:
        length = dict(refusal["headers"])[b"content-range"].decode()
        detail = f"This video has no such bytes: it has {length.rpartition('/')[2]}."
        return problem(
            scope["path"], 416, "range_not_satisfiable", "Range not satisfiable", detail, {"Content-Range": length}
        )
    detail = "The Range header cannot be read: it is written as in bytes=0-1023."
    return problem(scope["path"], refusal["status"], "malformed", "Bad request", detail)
