"""Refuses what somebody else's web page could make a browser send (unknown Host names, writes of foreign Origin), and
bodies larger than any command."""

from urllib.parse import SplitResult, urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.problem import problem

SAFE = ("GET", "HEAD", "OPTIONS")
MAX_BODY_BYTES = 1024 * 1024


class Guard:
    """Plain ASGI, two header look-ups a request. ``address`` is what people type, ``hosts`` are names without port,
    ``origins`` as browsers send them. An empty ``hosts`` allows any (a server that others are meant to reach by names
    we cannot know)."""

    def __init__(self, app: ASGIApp, address: str, hosts: frozenset[str], origins: frozenset[str]) -> None:
        self._app = app
        self._address = address
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (detail := self._refusal(scope)):
            await problem(scope["path"], 403, "forbidden", "Forbidden", detail)(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] not in SAFE:
            await self._app(scope, _bounded(receive), send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        name = _split(f"//{host}").hostname or ""
        if self._hosts and name not in self._hosts:
            return f"This server is not called {name!r}; use {self._address} or set HOST."
        origin = headers.get(b"origin")
        if scope["method"] in SAFE or origin is None:
            return None
        text = origin.decode("latin-1")
        if text in self._origins or _split(text).netloc == host:
            return None
        return f"Pages from {text} may not write here; add it to CORS_ORIGINS if it is yours."


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:  # brackets that are no IPv6 address
        return urlsplit("")


def _bounded(receive: Receive) -> Receive:
    """``receive`` that stops a body which is too large while it comes in, whatever its Content-Length says."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, f"A request may have {MAX_BODY_BYTES // 1024} KiB at most.")
        return message

    return bounded
