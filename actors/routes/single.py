"""Refuses a request that says one thing twice: a query parameter, or a header of which only one can count. Whichever
were taken, the client may have meant the other. A plain ASGI middleware: it looks before anything is done."""

from collections import Counter
from collections.abc import Iterable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.routes.problems import render_error
from domain.errors import Invalid

HEADERS = frozenset({b"idempotency-key", b"if-match", b"last-event-id"})


class Single:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (twice := _twice(scope)):
            refused = Invalid(f"The request has more than one {twice}; send one.", code="said_twice")
            await render_error(Request(scope), refused)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _twice(scope: Scope) -> str | None:
    if header := _first(name for name, _ in scope["headers"] if name in HEADERS):
        return f"{header.decode()} header"
    if b"&" not in scope["query_string"]:
        return None
    parameter = _first(name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    return f"`{parameter}` in its query" if parameter else None


def _first[Name: (str, bytes)](names: Iterable[Name]) -> Name | None:
    """That comes more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)
