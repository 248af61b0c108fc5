"""What every writing route shares: conditions and keys in, ETag and log position out.

A request whose Idempotency-Key was answered before never reaches its route. One whose client hangs up is carried
through all the same: Serve cancels it, but what it waits for runs on.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import orjson
from fastapi import Depends, Header, Request, Response
from sqlalchemy import Connection

from actors.gateway import Gateway
from actors.log import Ack, Answer, Once
from domain.aggregate import Aggregate
from domain.errors import Invalid, NotFound
from projections import fold
from projections.kinds import Found

type Read = Callable[[Connection], Any]

_running: set[asyncio.Task[Any]] = set()


class Repeated(Exception):
    """Cuts a request short: its Idempotency-Key came before and was answered with this."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


def carried_through[**P, T](command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Runs to its end even when its caller is cancelled."""

    @wraps(command)
    async def whole(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.create_task(command(*args, **kwargs))
        _running.add(task)
        task.add_done_callback(_running.discard)
        return await asyncio.shield(task)

    return whole


@dataclass(frozen=True, slots=True)
class Write:
    """One writing request. ``read`` arguments make the reply's body from the tables, which are never behind."""

    gateway: Gateway
    scope: str
    body_sha256: str
    key: str | None
    if_match: int | None

    def new_id(self, chosen: UUID | None) -> UUID:
        """The client's choice; else with a key always the same, so that repeating cannot make a second thing."""
        if chosen is not None:
            return chosen
        return uuid5(NAMESPACE_URL, f"{self.scope} {self.key}") if self.key else uuid4()

    @carried_through
    async def create(self, aggregate: Aggregate, read: Read) -> Response:
        """201 with the new resource; 200 when the same create came before."""
        made, ack = await self.gateway.create(aggregate, self._once(201, read))
        return self._reply(ack, 201 if made else 200, read)

    @carried_through
    async def change[A: Aggregate](
        self, kind: type[A], id: UUID, decision: Callable[[A], object], read: Read, project_id: UUID | None = None
    ) -> Response:
        """200 with the resource as it is now."""
        once = self._once(200, read)
        ack = await self.gateway.change(kind, id, decision, project_id=project_id, if_match=self.if_match, once=once)
        return self._reply(ack, 200, read)

    @carried_through
    async def delete[A: Aggregate](
        self, kind: type[A], id: UUID, decision: Callable[[A], object], project_id: UUID | None = None
    ) -> Response:
        """204; the same again is 404, unless it comes with the same Idempotency-Key."""
        once = self._once(204, lambda _: None)
        ack = await self.gateway.change(kind, id, decision, project_id=project_id, if_match=self.if_match, once=once)
        return self._reply(ack, 204, lambda _: None)

    @carried_through
    async def delete_project(self, id: UUID) -> Response:
        """204; everything in the project goes with it."""
        ack = await self.gateway.delete_project(id, if_match=self.if_match, once=self._once(204, lambda _: None))
        return self._reply(ack, 204, lambda _: None)

    @carried_through
    async def ask(self, status: int, command: Callable[[], Awaitable[Any]], read: Read | None = None) -> Response:
        """Run an owner's command; its body is what the owner answers, or what ``read`` finds afterwards."""
        said = await command()
        with self.gateway.log.engine.connect() as connection:
            body = said if read is None else _shown(read)(connection)
        version = body.version if isinstance(body, Found) else 0
        answer = Answer(status, body, version, self.gateway.log.position())
        if once := self._once(status, lambda _: body):
            answer = await self.gateway.log.remember(once, version)
        return render(answer)

    def _once(self, status: int, read: Read) -> Once | None:
        return Once(self.scope, self.key, self.body_sha256, status, _shown(read)) if self.key else None

    def _reply(self, ack: Ack, status: int, read: Read) -> Response:
        if ack.answer is not None:
            return render(ack.answer)
        with self.gateway.log.engine.connect() as connection:
            return render(Answer(status, _shown(read)(connection), ack.version, ack.position))


def _shown(read: Read) -> Read:
    """``read``, but for a thing that is in the log and not in the tables, because its view is parked: then words."""

    def shown(connection: Connection) -> Any:
        try:
            return read(connection)
        except NotFound:
            if not (hint := fold.hint(connection)):
                raise
            return {"detail": f"It is done, but it cannot be shown: {hint}"}

    return shown


def render(answer: Answer) -> Response:
    """The answer as HTTP."""
    body = b"" if answer.body is None else orjson.dumps(answer.body)
    headers = {"X-Log-Position": str(answer.position), "Cache-Control": "no-store"}
    if answer.version:
        headers["ETag"] = f'"{answer.version}"'
    media_type = "application/json" if body else None
    return Response(body, answer.status, headers, media_type)


async def _write(
    request: Request,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    if_match: Annotated[str | None, Header()] = None,
) -> Write:
    gateway: Gateway = request.app.state.gateway
    digest = hashlib.sha256(await request.body()).hexdigest() if idempotency_key else ""
    scope = f"{request.method} {request.url.path}"
    if idempotency_key and (answer := gateway.log.answered(scope, idempotency_key, digest)):
        raise Repeated(answer)
    return Write(gateway, scope, digest, idempotency_key, _version(if_match))


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match == "*":
        return None
    text = if_match.removeprefix("W/").strip('"')
    if not text.isdecimal():
        raise Invalid('If-Match takes the ETag of an earlier answer, such as "3".')
    return int(text)


Writing = Annotated[Write, Depends(_write)]
