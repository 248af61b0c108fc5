"""``?at=<position>`` on any GET of the tables: the same route reads them as they were. A plain ASGI middleware, for the
route must find them before it runs, and have them to itself until its answer is made. What has no past (streams, files,
what an owner says) refuses a position, and nobody waits for it."""

from contextlib import AsyncExitStack
from urllib.parse import parse_qs

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.requests import Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.routes.position import AT
from actors.routes.problems import render_error
from domain.errors import GetiActionError, Invalid
from projections.routes.replies import has_past

PARAMETER = b"at="


class AsOf:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or PARAMETER not in scope["query_string"]:
            return await self._app(scope, receive, send)
        asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("at")
        if asked is None or (route := _route(scope)) is None:
            return await self._app(scope, receive, send)
        try:
            if not has_past(getattr(route, "openapi_extra", None)):
                raise Invalid(
                    "`at` is for what the tables hold and for the events: this has no past. Leave it out.",
                    code="no_past",
                )
            await self._answer(_position(asked[-1]), scope, receive, send)
        except GetiActionError as error:
            await render_error(Request(scope), error)(scope, receive, send)

    async def _answer(self, position: int, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as reading:
            engine = await reading.enter_async_context(scope["app"].state.past.at(position))
            scope.setdefault("state", {}).update({"engine": engine, AT: position})

            async def made(message: Message) -> None:
                await reading.aclose()  # all is read by now: the next one need not wait until a slow client has it
                await send(message)

            await self._app(scope, receive, made)


def _route(scope: Scope) -> RouteContext | None:
    """That of the API which will answer; None where none will."""
    routes = iter_route_contexts(scope["app"].routes) if scope["path"].startswith("/api/") else ()
    return next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)


def _position(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Invalid(
            "`at` takes a position of the log, such as the X-Log-Position of an answer.", code="invalid_position"
        )
    return int(text)
