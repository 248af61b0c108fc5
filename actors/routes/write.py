"""What every writing route shares: JSON, conditions and keys in, ETag and log position out.

A request whose Idempotency-Key was answered before never reaches its route; one whose key is just being worked on waits
for that. One whose client hangs up is carried through all the same: Serve cancels it, but what it waits for runs on.
"""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial, wraps
from typing import Annotated, Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import orjson
from fastapi import Depends, Header, Request, Response
from sqlalchemy import Connection

from actors.answers import HOLD, Answer, Held, InProgress, Once
from actors.gateway import Gateway
from actors.log import Ack, Log
from actors.provenance import begin, of_request
from domain.aggregate import Aggregate
from domain.errors import (
    GetiActionError,
    Invalid,
    LogBusy,
    Malformed,
    NotFound,
    StaleVersion,
    Unavailable,
    UnsupportedMedia,
)
from projections import fold
from projections.kinds import Found

_TAG = re.compile(r'(W/)?"(?P<quoted>[0-9]{1,18})"|(?P<bare>[0-9]{1,18})')
"""A weak one too, for what is between us and the client may have weakened it; and for who types it, without quotes."""
TURN_S = 60.0
"""How long a repetition waits for the answer to the first request with its key."""
KEY = "the first answer to it is repeated for 24 h; 422 with another body"
CONDITION = "ETag of an earlier answer: 412 when the thing has changed since, and always on what creates"

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
    is_conditional: bool

    def load[A: Aggregate](self, kind: type[A], id: UUID, project_id: UUID | None = None) -> A:
        """What a command is for, as it is now. Raises NotFound, or StaleVersion as If-Match asks."""
        aggregate = self.gateway.load(kind, id, project_id)
        aggregate.must_match(self.if_match)
        return aggregate

    def must_be_new(self) -> None:
        """For what creates. Raises StaleVersion: RFC 9110 lets no If-Match hold where nothing is yet."""
        if self.is_conditional:
            raise StaleVersion("What this creates has no version yet that If-Match could name; leave it out.")

    @carried_through
    async def create(self, aggregate: Aggregate, read: Read) -> Response:
        """201 with the new resource; 200 when the same create came before."""
        self.must_be_new()
        async with self._unless_answered():
            made, ack = await self.gateway.create(aggregate, self._once(201, read, aggregate.id))
        return self._reply(ack, 201 if made else 200, read, aggregate.id)

    @carried_through
    async def change[A: Aggregate](
        self, kind: type[A], id: UUID, decision: Callable[[A], object], read: Read, project_id: UUID | None = None
    ) -> Response:
        """200 with the resource as it is now."""
        once = self._once(200, read)
        async with self._unless_answered():
            ack = await self.gateway.change(
                kind, id, decision, project_id=project_id, if_match=self.if_match, once=once
            )
        return self._reply(ack, 200, read)

    @carried_through
    async def delete[A: Aggregate](
        self, kind: type[A], id: UUID, decision: Callable[[A], object], project_id: UUID | None = None
    ) -> Response:
        """204; the same again is 404, unless it comes with the same Idempotency-Key."""
        once = self._once(204, _nothing)
        async with self._unless_answered():
            ack = await self.gateway.change(
                kind, id, decision, project_id=project_id, if_match=self.if_match, once=once
            )
        return self._reply(ack, 204, _nothing)

    @carried_through
    async def delete_project(self, id: UUID) -> Response:
        """204; everything in the project goes with it."""
        async with self._unless_answered():
            ack = await self.gateway.delete_project(id, if_match=self.if_match, once=self._once(204, _nothing))
        return self._reply(ack, 204, _nothing)

    async def command(self, kind: type[Aggregate], id: UUID, method: str, *args: Any, **how: Any) -> Any:
        """Gateway.ask, as If-Match allows."""
        return await self.gateway.ask(kind, id, method, *args, **how, if_match=self.if_match)

    @carried_through
    async def ask(
        self,
        status: int,
        command: Callable[[], Awaitable[Any]],
        read: Read | None = None,
        version: Callable[[], int] = lambda: 0,
    ) -> Response:
        """Run an owner's command, which may be repeated; its body is what the owner answers, and then ``version`` finds
        what it has led to, or what ``read`` finds afterwards. Its key is held meanwhile."""
        async with self._key_held():
            return await self._carried_out(status, command, read, version)

    @carried_through
    async def make(
        self,
        status: int,
        chosen: UUID | None,
        command: Callable[[UUID], Awaitable[None]],
        read: Callable[[UUID], Read],
    ) -> Response:
        """Run a command that makes something and may be repeated, and show it. Its id is the client's choice; else,
        with a key, the same for every repetition, so that none can make a second one: until the command was refused,
        or the key forgotten."""
        async with self._key_held() as held:
            id = chosen or (uuid5(NAMESPACE_URL, f"{self.scope} {self.key} {held.since}") if held else uuid4())
            return await self._carried_out(status, partial(command, id), read(id), id=id)

    async def _carried_out(
        self,
        status: int,
        command: Callable[[], Awaitable[Any]],
        read: Read | None,
        version: Callable[[], int] = lambda: 0,
        id: UUID | None = None,
    ) -> Response:
        said = await command()
        with self.gateway.log.engine.connect() as connection:
            body = said if read is None else _shown(connection, read, 0, id)
        reached = body.version if isinstance(body, Found) else version()
        answer = Answer(status, body, reached, self.gateway.log.position())
        if once := self._once(status, lambda _: body):
            answer = await self.gateway.log.remember(once, reached)
        return render(answer)

    @asynccontextmanager
    async def _unless_answered(self) -> AsyncIterator[None]:
        """Two requests with one key at once: the one that comes too late to do anything gets the other's answer."""
        try:
            yield
        except GetiActionError:
            if self.key and (answer := self.gateway.log.answered(self.scope, self.key, self.body_sha256)):
                raise Repeated(answer) from None
            raise

    @asynccontextmanager
    async def _key_held(self) -> AsyncIterator[Held | None]:
        if self.key is None:
            yield None
            return
        log = self.gateway.log
        held = await in_turn(lambda: log.hold_key(self.scope, str(self.key), self.body_sha256))
        if isinstance(held, Answer):
            raise Repeated(held)
        beat = asyncio.create_task(_renew(log, self.scope, self.key))
        try:
            yield held
        except GetiActionError as error:
            is_unsure = isinstance(error, Unavailable) and error.passes
            with suppress(LogBusy):  # then it is free a few seconds later
                await (log.leave_key if is_unsure else log.forget_key)(self.scope, self.key)
            raise
        finally:
            beat.cancel()

    def _once(self, status: int, read: Read, id: UUID | None = None) -> Once | None:
        def body(connection: Connection, version: int) -> Any:
            return _shown(connection, read, version, id)

        return Once(self.scope, self.key, self.body_sha256, status, body) if self.key else None

    def _reply(self, ack: Ack, status: int, read: Read, id: UUID | None = None) -> Response:
        if ack.answer is not None:
            return render(ack.answer)
        with self.gateway.log.engine.connect() as connection:
            return render(Answer(status, _shown(connection, read, ack.version, id), ack.version, ack.position))


def _nothing(connection: Connection) -> None:
    return None


def _shown(connection: Connection, read: Read, version: int, id: UUID | None) -> Any:
    """What ``read`` finds; but for a thing that the tables lack, or have as it was before this ``version``, because
    their view is parked: then words, and its ``id`` where only we know that."""
    try:
        found = read(connection)
    except NotFound:
        if not (hint := fold.hint(connection)):
            raise
    else:
        is_old = isinstance(found, Found) and found.version < version
        if not (is_old and (hint := fold.hint(connection))):
            return found
    named = {} if id is None else {"id": str(id)}
    return named | {"detail": f"It is done, but it cannot be shown: {hint}"}


async def in_turn[T](look: Callable[[], Awaitable[T]]) -> T:
    """What ``look`` finds once nobody else is working on the key. Raises InProgress when that takes too long."""
    deadline = time.monotonic() + TURN_S
    while True:
        try:
            return await look()
        except InProgress:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _renew(log: Log, scope: str, key: str) -> None:
    while True:
        await asyncio.sleep(HOLD.total_seconds() / 3)
        with suppress(GetiActionError):  # there are two more chances before the key is free
            await log.renew_key(scope, key)


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
    idempotency_key: Annotated[
        str | None, Header(alias="Idempotency-Key", pattern=r"^[ -~]*[!-~][ -~]*$", max_length=200, description=KEY)
    ] = None,
    if_match: Annotated[str | None, Header(alias="If-Match", description=CONDITION)] = None,
) -> Write:
    await _refuse_other_media(request)
    _refuse_doubles(await request.body())
    gateway: Gateway = request.app.state.gateway
    provenance = of_request(request.headers)
    begin(provenance)
    digest = hashlib.sha256(await request.body()).hexdigest() if idempotency_key else ""
    scope = f"{provenance.by} {request.method} {request.url.path}"
    if idempotency_key and (answer := await in_turn(partial(_answered, gateway.log, scope, idempotency_key, digest))):
        raise Repeated(answer)
    return Write(gateway, scope, digest, idempotency_key, _version(if_match), if_match is not None)


async def _answered(log: Log, scope: str, key: str, digest: str) -> Answer | None:
    return log.answered(scope, key, digest)


async def _refuse_other_media(request: Request) -> None:
    """A body is JSON where nothing else is said. None at all may be called anything: curl -d "" calls it a form."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = not media or media == "application/json" or (media.startswith("application/") and media.endswith("+json"))
    if not is_json and await request.body():
        raise UnsupportedMedia(f"Send the body as application/json, not {media}.")


def _refuse_doubles(body: bytes) -> None:
    """A name that comes twice in an object: of its two values, parsers take whichever they like."""

    def look(pairs: list[tuple[str, Any]]) -> None:
        names = {name for name, _ in pairs}
        for name, _ in pairs if len(names) < len(pairs) else ():
            if name not in names:
                raise Malformed(f"The body has {name!r} twice in one object; send it once.")
            names.remove(name)

    with suppress(ValueError, RecursionError):  # what is no JSON, whoever needs it says
        json.loads(body, object_pairs_hook=look)


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match == "*":
        return None
    if not (tag := _TAG.fullmatch(if_match)):
        raise Invalid('If-Match takes the ETag of one earlier answer, such as "3".')
    return int(tag["quoted"] or tag["bare"])


Writing = Annotated[Write, Depends(_write)]
