"""What Serve's proxy says itself reaches a client in the form of every other error."""

import json
from contextlib import ExitStack
from pkgutil import resolve_name
from typing import Any

import pytest
from ray.serve._private.http_util import RequestIdMiddleware, convert_object_to_asgi_messages
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors import ingress
from actors.problem import problem
from launch import server
from settings import Settings

SCOPE = {"type": "http", "path": "/api/projects", "method": "POST"}


async def _never() -> Any:
    raise AssertionError


async def heard(app: Any) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body as the client has them."""
    messages = list[Message]()

    async def send(message: Message) -> None:
        messages.append(message)

    await ingress.Explained(RequestIdMiddleware(app))({**SCOPE, "headers": []}, _never, send)
    start, *bodies = messages
    return start["status"], dict(start["headers"]), b"".join(message.get("body", b"") for message in bodies)


@pytest.mark.parametrize("status", [503, 508])
async def test_what_serve_says_itself_becomes_a_problem(status: int) -> None:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        for message in convert_object_to_asgi_messages("Internal Server Error", status_code=status):
            await send(message)

    await told(serve)


async def test_what_serve_says_before_it_knows_the_application_is_not_that_there_is_nothing() -> None:
    """A client that repeats what it asked for while the server starts must not take it for an answer."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        for message in convert_object_to_asgi_messages("Path '/api/projects' not found.", status_code=404):
            await send(message)

    await told(serve)
    assert "is starting" in json.loads((await heard(serve))[2])["detail"]


async def test_where_serve_says_nothing_there_is_a_problem() -> None:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        """A replica was lost."""

    await told(serve)


async def told(serve: ASGIApp) -> None:
    status, headers, body = await heard(serve)
    assert (status, headers[b"content-type"], headers[b"retry-after"]) == (503, b"application/problem+json", b"2")
    assert json.loads(body)["instance"] == SCOPE["path"]


@pytest.mark.parametrize(
    "ours",
    [
        problem("/api", 500, "internal_error", "Internal error", "The server's log says what."),
        PlainTextResponse("gone", 500),
        PlainTextResponse("not here", 404),
        problem("/api/x", 404, "not_found", "Not found", "There is no such thing."),
        Response(b"x" * 100_000, 200),
    ],
)
async def test_what_the_application_says_passes_as_it_is(ours: Response) -> None:
    status, headers, body = await heard(ours)
    assert (status, body) == (ours.status_code, ours.body)
    assert headers.items() >= dict(ours.raw_headers).items()


def test_serve_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.os, "environ", {})
    server._ray_environment(Settings(), ExitStack())
    assert resolve_name(server.os.environ["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]) is ingress.in_the_proxy
