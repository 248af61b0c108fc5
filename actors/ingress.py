"""What Serve's proxies put around themselves. They start with the server, so little is imported here."""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.flow import Taken
from actors.problem import AGAIN, problem
from domain.errors import Unavailable

NOT_FOUND = 404
_NOT_YET = "The server is starting; ask again in a moment."
_LOST = (
    "The server's process that should have answered was lost; a new one answers in a few seconds. What was asked may "
    "have been done all the same: repeat it with the same Idempotency-Key, or look, to learn whether it was."
)


def in_the_proxy() -> list[Middleware]:
    """Also for replicas behind HAProxy."""
    return [Middleware(Explained), Middleware(Taken)]


class Explained:
    """Where a replica is lost, Serve answers nothing, and where there is none, a word of plain text: of a path that is
    not found, before the first one is known. A client hears of all in the form of every other error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        await self._app(scope, receive, answer.send)
        if not answer.begun:
            code, why = ("unavailable", _NOT_YET) if answer.is_not_yet else ("server_lost", _LOST)
            await problem(scope["path"], 503, code, Unavailable.title, why, AGAIN)(scope, receive, send)


class _Answer:
    """What the application says; ``begun`` once it says anything. ``is_not_yet``: Serve knows of no application."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._bare = False
        self.begun = self.is_not_yet = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._bare = _is_bare(message)
            self.is_not_yet = self._bare and message["status"] == NOT_FOUND
        if not self._bare:
            self.begun = True
            await self._send(message)


def _is_bare(start: Message) -> bool:
    """Whether this begins an error of Serve's own: ours are no plain text, and say how long they are. What it has under
    ``/-/`` is found."""
    headers = dict(start["headers"])
    is_text = headers.get(b"content-type", b"").startswith(b"text/plain")
    return (start["status"] >= 500 or start["status"] == NOT_FOUND) and is_text and b"content-length" not in headers
