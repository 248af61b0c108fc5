"""``?at=<position>`` on any GET of the tables: the same route reads them as they were. A plain ASGI middleware, for the
route must find them before it runs, and have them to itself until it is through."""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.routes.position import AT
from actors.routes.problems import render_error
from domain.errors import GetiActionError, Invalid

PARAMETER = b"at="


class AsOf:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or PARAMETER not in scope["query_string"]:
            return await self._app(scope, receive, send)
        asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("at")
        if asked is None:
            return await self._app(scope, receive, send)
        try:
            position = _position(asked[-1])
            async with scope["app"].state.past.at(position) as engine:
                scope.setdefault("state", {}).update({"engine": engine, AT: position})
                await self._app(scope, receive, send)
        except GetiActionError as error:
            await render_error(Request(scope), error)(scope, receive, send)


def _position(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Invalid(
            "`at` takes a position of the log, such as the X-Log-Position of an answer.", code="invalid_position"
        )
    return int(text)
