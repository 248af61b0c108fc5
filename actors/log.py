"""The event log. One append is one transaction: events, claims, rows of every view, the answer's idempotency key.

This is the one place that knows recorders; whose turn it is to write is actors/writer.py's.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing_sqlalchemy.datastore import SQLAlchemyDatastore
from eventsourcing_sqlalchemy.recorders import SQLAlchemyApplicationRecorder
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from actors import answers, claims, codec, snapshots
from actors.answers import Answer, Held, Once
from actors.provenance import Provenance, following, stamped
from actors.reserve import Reserve
from actors.unread import Unread
from actors.wakeup import Pulse
from actors.writer import Room, Writer
from domain import camera, dataset, environment, model, operation, project, recording, robot, training
from domain.aggregate import Aggregate, DomainEvent
from domain.claims import ITSELF
from domain.errors import Conflict, GetiActionError, NotFound, StorageFull
from projections import database, fold, tables

AGGREGATES: tuple[type[Aggregate], ...] = (
    project.Project,
    camera.Camera,
    robot.Robot,
    environment.Environment,
    dataset.Dataset,
    recording.Recording,
    training.Job,
    model.Model,
    operation.Operation,
)
KINDS: dict[str, type[Aggregate]] = {aggregate.kind: aggregate for aggregate in AGGREGATES}
PAGE = 1000
_NEWEST = select(func.max(tables.events.c.id))
_PARKED = select(func.min(tables.positions.c.position)).where(tables.positions.c.parked_reason.is_not(None))
_NEWEST_SQL = str(_NEWEST)
_SHOWN_SQL = str(select(_NEWEST.scalar_subquery(), _PARKED.scalar_subquery()))

logger = logging.getLogger(__name__)


class VersionConflict(Conflict):
    """Another process appended to this aggregate first: load it again and decide anew."""

    code = "version_conflict"


@dataclass(frozen=True, slots=True)
class Ack:
    """An append that is durable: the position of its last event, the version that the aggregate has now which it is
    about (the first, unless said otherwise), and the answer stored with it, if any. ``repeated`` when that answer was
    there before: then nothing was appended."""

    position: int
    version: int
    answer: Answer | None = None
    repeated: bool = False


class Log:
    """The log of one database. Cheap to make; reads on any thread; writes on its own one. An append waits for its
    turn for ``lock_timeout_s`` at most. ``pooled`` where many read at once. ``pulse`` beats with every append."""

    def __init__(self, url: str, lock_timeout_s: float = 5.0, pooled: bool = False) -> None:
        self.engine: Engine = database.engine(url, pooled)
        self.unread = Unread(self.engine)
        self.pulse = Pulse()
        self._recorder = _Recorder(
            SQLAlchemyDatastore(session_maker=sessionmaker(bind=self.engine)), events_table_name=tables.events.name
        )
        path = database.sqlite_path(url)
        lock_path = path and path.with_name(path.name + ".lockfile")
        self._writer = Writer(self.engine, lock_path, lock_timeout_s)
        self.turn, self.failures = self._writer.turn, self._writer.failures
        self._reserve = None if path is None else Reserve(path.with_name(f"{path.name}.reserve"))

    def close(self) -> None:
        self._writer.close()
        self.engine.dispose()

    # reading

    def load[A: Aggregate](self, kind: type[A], id: UUID) -> A:
        """The aggregate as the log has it. Raises NotFound, or Unreadable where its events are damaged or lost; a
        deleted one is loaded (its methods refuse)."""
        with self.engine.connect() as connection:
            aggregate: Any = snapshots.newest(connection, kind, id)
            for event in _stream(connection, id, after=aggregate.version if aggregate else 0):
                aggregate = event.mutate(aggregate)
        if not isinstance(aggregate, kind):
            raise NotFound.of(kind.kind, id)
        return aggregate

    def stream(self, id: UUID, after: int = 0) -> list[DomainEvent]:
        """The events of one aggregate behind its version ``after``, oldest first."""
        with self.engine.connect() as connection:
            return list(_stream(connection, id, after))

    def provenance(self, id: UUID) -> Provenance:
        """That of what follows from the newest event of an aggregate. Raises NotFound."""
        events = tables.events.c
        query = select(tables.events).where(events.originator_id == id).order_by(events.originator_version.desc())
        with self.engine.connect() as connection:
            row = connection.execute(query.limit(1)).first()
        if row is None:
            raise NotFound.of("aggregate", id)
        return following(codec.decode(*row))

    def read(self, after: int = 0) -> Iterator[tuple[int, DomainEvent]]:
        """The whole log from behind position ``after``, a page at a time."""
        decoder = codec.Following()
        while page := self.page(after, decoder=decoder):
            yield from page
            after = page[-1][0]

    def page(
        self, after: int, limit: int = PAGE, topics: Collection[str] = (), decoder: codec.Following | None = None
    ) -> list[tuple[int, DomainEvent]]:
        """At most ``limit`` events behind position ``after``, each with its own; of these topics, if any are named.
        ``decoder`` is the one that has read what is before."""
        decoder = decoder or codec.Following()
        events = tables.events.c
        query = select(tables.events).where(events.id > after).order_by(events.id).limit(limit)
        if topics:
            query = query.where(events.topic.in_(topics))
        with self.engine.connect() as connection:
            return [(row.id, decoder.decode(*row)) for row in connection.execute(query)]

    def position(self) -> int:
        """The position of the newest event; 0 in an empty log."""
        newest = self._one_row(_NEWEST_SQL)[0]
        return newest or 0

    def shown_position(self) -> int:
        """Up to where every table shows the log: all of it, or less while a view is parked."""
        newest, parked = self._one_row(_SHOWN_SQL)
        return (newest or 0) if parked is None else min(newest or 0, parked)

    def _one_row(self, statement: str) -> Sequence[int | None]:
        """Every GET asks, so it goes past SQLAlchemy and without a transaction: a fifth of the time on SQLite, one way
        to PostgreSQL instead of three."""
        with closing(self.engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(statement)
            row: Sequence[int | None] = cursor.fetchone() or (None, None)
            return row

    def holders(self, key: str) -> list[tuple[type[Aggregate], UUID]]:
        """The aggregates that hold a claim."""
        with self.engine.connect() as connection:
            return _named(claims.holders(connection, key))

    def check_free(self, key: str) -> None:
        """Raises the refusal that names the holder when somebody holds the claim."""
        with self.engine.connect() as connection:
            claims.check_free(connection, key)

    def running(self) -> list[tuple[type[Aggregate], UUID]]:
        """The sessions, jobs and operations that have not ended."""
        with self.engine.connect() as connection:
            return _named(claims.owners(connection, slot="busy"))

    def existing(self, kind: type[Aggregate]) -> list[UUID]:
        """The aggregates of a kind that are there."""
        with self.engine.connect() as connection:
            return [id for each, id in _named(claims.owners(connection, slot=ITSELF)) if each is kind]

    def views(self) -> dict[str, fold.Standing]:
        """How far each view is folded, and which are parked."""
        with self.engine.connect() as connection:
            return fold.standings(connection)

    def moment_behind(self, position: int) -> datetime | None:
        """When the first event behind ``position`` happened; None when there is none. One that cannot be read is noted
        as such."""
        try:
            page = self.page(position, 1)
        except codec.Unreadable as error:
            self.unread.note(error)
            return None
        return page[0][1].timestamp if page else None

    def answered(self, scope: str, key: str, body_sha256: str) -> Answer | None:
        """The answer given before to this key. Raises KeyReused when it came with another body, InProgress while the
        first request with it is being carried out."""
        with self.engine.connect() as connection:
            return answers.find(connection, scope, key, body_sha256)

    # writing

    async def append(self, *aggregates: Aggregate, once: Once | None = None, about: Aggregate | None = None) -> Ack:
        """Make the pending events of all aggregates durable, or none. A cancelled caller does not half-do it.

        Raises VersionConflict, the refusal of a claim, KeyReused, LogBusy or StorageFull (then nothing happened), or
        Unavailable (it may have happened). What deletes things is written on a full disk too.
        """
        write = partial(self._append, aggregates, (about or aggregates[0]).version, once)
        ack = await self._even_when_full(write, all(map(_may_when_full, aggregates)))
        grown = [(each, each.version - len(each.pending_events)) for each in aggregates]
        for aggregate in aggregates:
            aggregate.collect_events()
        if not ack.repeated:
            self.pulse.beat()
            self._keep([each for each, before in grown if snapshots.is_due(before, each.version)])
        return ack

    def fill_reserve(self) -> bool:
        """Set space aside for deletes on a full disk. False while there is none to spare."""
        return self._reserve is None or self._reserve.fill()

    def _keep(self, aggregates: list[Aggregate]) -> None:
        """Snapshots come after the commit, in the writer's own time: nobody waits for them."""
        if aggregates:
            states = [(each.id, each.version, each.snapshot()) for each in aggregates]
            self._writer.do_later(
                lambda connection: snapshots.write(connection, states),
                lambda error: logger.warning("a snapshot was not written: %s", error.detail),
            )

    async def _append(self, aggregates: Iterable[Aggregate], version: int, once: Once | None, room: Room) -> Ack:
        pending = (event for aggregate in aggregates for event in cast("list[DomainEvent]", aggregate.pending_events))
        events = [stamped(event) for event in pending]
        stored = [
            StoredEvent(event.originator_id, event.originator_version, event.TOPIC, codec.encode(event))
            for event in events
        ]
        commit = partial(self._commit, version=version, events=events, stored=stored, once=once)
        try:
            return await self._written(commit, room)
        except fold.Unfoldable:  # rare, so that only then a savepoint is paid for
            return await self._written(partial(commit, may_park=True), room)

    async def remember(self, once: Once, version: int) -> Answer:
        """Keep the answer of a command whose events were appended by its owner. ``version`` is what it leads to."""
        ack = await self._even_when_full(partial(self._append, (), version, once))
        assert ack.answer is not None
        return ack.answer

    async def hold_key(self, scope: str, key: str, body_sha256: str) -> Answer | Held:
        """Keep a key for a few seconds while its command is carried out, unless there is an answer already. Raises
        KeyReused, or InProgress when somebody else holds it."""
        return await self._of_keys(lambda connection: answers.hold(connection, scope, key, body_sha256))

    async def renew_key(self, scope: str, key: str) -> None:
        await self._of_keys(lambda connection: answers.renew(connection, scope, key))

    async def leave_key(self, scope: str, key: str) -> None:
        """The command may have been carried out: who repeats it need not wait."""
        await self._of_keys(lambda connection: answers.leave(connection, scope, key))

    async def forget_key(self, scope: str, key: str) -> None:
        """The command was refused, so its key may come again."""
        await self._of_keys(lambda connection: answers.forget(connection, scope, key))

    async def forget_old_keys(self) -> None:
        await self._written(answers.forget_old)

    async def _of_keys[T](self, work: Callable[[Connection], T]) -> T:
        return await self._even_when_full(partial(self._written, work))

    async def _even_when_full[T](self, write: Callable[[Room], Awaitable[T]], may: bool = True) -> T:
        """On a full disk ``write`` gets the room that was set aside for what makes room, and for the keys of such
        commands, if it ``may``."""
        try:
            return await write(nullcontext)
        except StorageFull:
            if not (may and self._reserve):
                raise
            return await write(self._reserve.lent)

    async def _written[T](self, work: Callable[[Connection], T], room: Room = nullcontext) -> T:
        try:
            return await self._writer.do(work, room)
        except IntegrityError as error:
            raise _conflict(error) from error

    def _commit(
        self,
        connection: Connection,
        *,
        version: int,
        events: list[DomainEvent],
        stored: list[StoredEvent],
        once: Once | None,
        may_park: bool = False,
    ) -> Ack:
        if once and (answer := answers.given(connection, once)):
            return Ack(answer.position, answer.version, answer, repeated=True)
        position = self._record(connection, events, stored, may_park) if events else _newest(connection)
        return Ack(position, version, answers.remember(connection, once, version, position) if once else None)

    def _record(
        self, connection: Connection, events: list[DomainEvent], stored: list[StoredEvent], may_park: bool
    ) -> int:
        with Session(bind=connection, join_transaction_mode="rollback_only") as session:
            positions = self._recorder.insert_events(stored, session=session) or []
            for position, event in zip(positions, events, strict=True):
                claims.apply(connection, position, event)
            fold.fold(connection, list(zip(positions, events, strict=True)), may_park=may_park)
            return int(positions[-1])


class _Recorder(SQLAlchemyApplicationRecorder):  # type: ignore[misc]
    """An append begins with the table's lock and a word to the listeners: each of them again is one more way to the
    database and back."""

    def _lock_table(self, session: Session) -> None:
        pass

    def _notify_channel(self, session: Session) -> None:
        pass


def _stream(connection: Connection, id: UUID, after: int) -> Iterator[DomainEvent]:
    events, decoder = tables.events.c, codec.FollowingOne(after)
    query = select(tables.events).where(events.originator_id == id, events.originator_version > after)
    for row in connection.execute(query.order_by(events.originator_version)):
        yield decoder.decode(*row)


def _named(owners: Iterable[str]) -> list[tuple[type[Aggregate], UUID]]:
    """Whom the claims call "kind:id"."""
    return [(KINDS[kind], UUID(id)) for kind, _, id in (owner.partition(":") for owner in owners)]


def _may_when_full(aggregate: Aggregate) -> bool:
    """Whether all that is to be written makes room, or says what the full disk has ended."""
    topics = (cast("DomainEvent", event).TOPIC for event in aggregate.pending_events)
    return all(topic.endswith(("deleted", "discarded", "interrupted", "purged")) for topic in topics)


def now() -> datetime:
    """The one wall clock of the write side; the domain is handed its times."""
    return datetime.now(UTC)


def _newest(connection: Connection) -> int:
    return connection.scalar(_NEWEST) or 0


def _conflict(error: IntegrityError) -> GetiActionError:
    """Every other rule was checked under the lock, so what is left is a version that another process took."""
    return VersionConflict(f"Another process wrote first ({type(error.orig).__name__}); load and decide again.")
