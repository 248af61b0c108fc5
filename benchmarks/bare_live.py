"""The least that live updates cost behind Ray Serve: one deployment, no log and no database. GET streams, POST says the
time to every stream."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from actors.routes.live import EventStream


@serve.deployment(
    max_ongoing_requests=1000,
    ray_actor_options={"num_cpus": 0},
    logging_config={"log_level": "WARNING", "enable_access_log": False},
)
class BareLive:
    """Every stream waits for the same event."""

    def __init__(self) -> None:
        self._said = b""
        self._news = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        if request.method == "GET":
            return EventStream(self._stream(), {})
        self._said = b"data: %s\n\n" % json.dumps({"at": datetime.now(UTC).isoformat()}).encode()
        news, self._news = self._news, asyncio.Event()
        news.set()
        return Response(status_code=201)

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        news = self._news
        yield b"event: hello\ndata: {}\n\n"
        while await news.wait():
            news = self._news
            yield self._said


def application() -> Any:
    """The deployment for ``serve.run``."""
    return BareLive.bind()  # type: ignore[attr-defined]
