"""``X-Log-Position`` on every answer of the API: what it shows holds all that the log had there, perhaps more; while a
view is parked, that is where it stopped. A plain ASGI middleware, for errors have it too."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.gateway import Gateway
from domain.errors import GetiActionError
from projections.routes.replies import SHOWS_PAST

HEADER = "X-Log-Position"
AT = "at"
"""Where in the request's state a middleware inside notes for which position it was asked."""


class LogPosition:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        newest = _newest(scope)
        state = scope.setdefault("state", {})

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start" and newest is not None:
                MutableHeaders(scope=message).setdefault(HEADER, str(state[AT] if SHOWS_PAST in state else newest))
            await send(message)

        await self._app(scope, receive, told)


def _newest(scope: Scope) -> int | None:
    """Looked up before the route runs; None while the database does not answer, which the route may say itself."""
    gateway: Gateway | None = getattr(scope["app"].state, "gateway", None)
    if gateway is None:  # still starting
        return None
    log = gateway.log
    try:
        with log.failures():
            return log.shown_position()
    except GetiActionError:
        return None
