"""Is the log whole, and does everything that follows from it agree with it? Looks, and writes nothing.

What is found is told as it is found. A server may serve meanwhile: the tables are compared with the log as of one
moment.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, select, text

from actors import answers, codec
from actors.care import losses, rows
from actors.care.replay import replay
from actors.codec import Damaged, Unreadable
from actors.log import Log
from actors.rebuild import ALL, Told
from projections import schema, tables
from projections.fold import Recorded, standings
from projections.fresh import Fresh
from projections.tables import events, snapshots

RESTORE = "restore a backup"
MOVE = "export the log, and import it into a new database"


class Finding(NamedTuple):
    """One thing that is not as it should be, and what a person does about it."""

    what: str
    todo: str

    def __str__(self) -> str:
        return f"{self.what} -> {self.todo}"


def check_log(log: Log, told: Told = lambda _done, _total: None) -> Iterator[Finding]:
    """Every event can be read and is what was written; versions have no gap and stand in the order of positions;
    claims, views and snapshots are what the log makes of them. In memory that does not grow with the log."""
    with log.failures(), log.engine.connect() as connection:
        connection.detach()  # our tables for comparing go with it
        yield from _Checker(log, connection).findings(told)


class _Checker:
    def __init__(self, log: Log, connection: Connection) -> None:
        self._log = log
        self._connection = connection
        self._is_readable = True
        self._position = 0
        self._rows_are_traces = False
        self._missing = set[str]()
        self._following = codec.Following()
        with connection.begin():
            if connection.dialect.name == "postgresql":  # whoever reads the findings may take his time
                connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
            self._fresh = {name: Fresh(connection, {name: view}) for name, view in ALL.items()}

    def findings(self, told: Told) -> Iterator[Finding]:
        yield from self._file()
        yield from self._schema()
        if tables.events.name in self._missing:
            yield Finding("There is no log in this database", RESTORE)
            return
        position = self._log.position()
        while self._position < position:
            with self._connection.begin():
                yield from self._events(position)
            told(self._position, position)
        with self._one_moment():
            newest = rows.newest(self._connection)
            while self._position < newest:
                yield from self._events(newest)
            yield from self._order()
            if not self._missing:
                yield from self._end()
                yield from self._tables() if self._is_readable else ()
                yield from self._snapshots()
                yield from self._answers()
        if not self._is_readable:
            yield Finding("Claims and views were not compared", "mend the log first, then check again")
        elif self._missing:
            yield Finding("Claims and views were not compared", f"{MOVE}, and check that")

    def _file(self) -> Iterator[Finding]:
        """Whether SQLite finds its own file whole: a broken page may lie where none of our queries comes by."""
        if self._connection.dialect.name == "sqlite":
            with self._connection.begin():
                found = " ".join(self._connection.execute(text("PRAGMA integrity_check(1)")).scalars())
            if found != "ok":
                yield Finding(f"The database file is damaged: {' '.join(found.split())}", f"{MOVE}; or {RESTORE}")

    def _schema(self) -> Iterator[Finding]:
        """Whether the tables are what the revisions have made: what keeps two owners of a thing apart is an index."""
        with self._log.engine.connect() as connection:  # without our tables for comparing
            self._missing = set(schema.unusable_tables(connection))
            for what in schema.differences(connection):
                yield Finding(f"The tables are not what they should be: {what}", MOVE)

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """A transaction in which others' changes are not seen. SQLite's are all such."""
        with self._connection.begin():
            if self._connection.dialect.name == "postgresql":
                self._connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            yield

    def _events(self, upto: int) -> Iterator[Finding]:
        """The next page of the log; what can be read of it is folded, as long as all can."""
        recorded: list[Recorded] = []
        for row in (page := rows.page(self._connection, self._position, upto)):
            try:
                recorded.append((row.position, self._following.decode(*row)))
            except Unreadable as error:
                self._is_readable = False
                yield _unreadable(row, error)
        if self._is_readable:
            for fresh in self._fresh.values():
                fresh.take_in(recorded)
        self._position = page[-1].position

    def _order(self) -> Iterator[Finding]:
        for gap in rows.out_of_order(self._connection):
            yield Finding(str(gap), RESTORE)
        following = rows.next_position(self._connection)
        if following is not None and following <= self._position:
            yield Finding(f"The next event would get position {following}, which is not behind {self._position}", MOVE)

    def _end(self) -> Iterator[Finding]:
        """Whether the log has lost what it had acknowledged: others remember a later position, or that something
        ended. Of the latter the rows that are missing are all that is left."""
        told = (losses.end_lost(self._connection), losses.answer_lost(self._connection))
        for what in filter(None, told):
            yield Finding(what, _or_go_on("geti-action rebuild"))
        for what in losses.ends_lost(self._connection):
            self._rows_are_traces = True
            yield Finding(what, _or_go_on("geti-action rebuild"))

    def _tables(self) -> Iterator[Finding]:
        views = standings(self._connection)
        for name, fresh in self._fresh.items():
            view, again = views.get(name), f"geti-action rebuild {name}"
            if name in fresh.poisoned:
                _, why = fresh.poisoned[name]
                yield Finding(f"This release cannot make the view {name}: {why}", "install one that can")
            elif view is not None and view.parked_reason is not None:
                yield Finding(f"The view {name} is parked at {view.position}: {view.parked_reason}", again)
            elif view is not None and view.is_behind:
                yield Finding(f"The view {name} is at position {view.position} of {self._position}", again)
            elif differing := fresh.compare():
                if lost := fresh.of_lost_events():
                    yield _lost(f"{lost} rows of {name} hold" if lost > 1 else f"A row of {name} holds", again)
                    continue
                rows_are = f"{differing} rows of {name} are" if differing > 1 else f"A row of {name} is"
                todo = _or_go_on(again) if self._rows_are_traces else again
                yield Finding(f"{rows_are} not what the log says", todo)

    def _snapshots(self) -> Iterator[Finding]:
        for id, version in self._connection.execute(select(snapshots.c.originator_id, snapshots.c.version)).all():
            try:
                is_right = self._is_right(id, version)
            except Unreadable:
                continue  # the event has been told, or the gap before it
            if not is_right and version > self._newest_of(id):
                yield _lost(f"The snapshot of {id} at its version {version} holds", "geti-action rebuild")
            elif not is_right:
                what = f"The snapshot of {id} at its version {version} is not what its events make"
                yield Finding(what, "geti-action rebuild")

    def _answers(self) -> Iterator[Finding]:
        if damaged := answers.unreadable(self._connection):
            what = f"The answers to {damaged} Idempotency-Keys are damaged, so their requests cannot be repeated"
            yield Finding(what, "wait a day, for so long they are kept; or, to lose none, " + RESTORE)

    def _newest_of(self, id: UUID) -> int:
        """The version of an aggregate that the log leads to; 0 when it knows nothing of it."""
        newest = select(func.max(events.c.originator_version)).where(events.c.originator_id == id)
        return self._connection.scalar(newest) or 0

    def _is_right(self, id: UUID, version: int) -> bool:
        """One of another release's shape is passed by wherever it is met, so it does no harm."""
        replayed = replay(self._connection, id, version)
        if replayed is None:
            return False
        query = select(snapshots.c.state).where(snapshots.c.originator_id == id)
        state: bytes = self._connection.execute(query).scalar_one()
        try:
            return type(replayed).restored(id, version, state).__dict__ == replayed.__dict__
        except ValueError:
            return True


def _lost(who_holds: str, again: str) -> Finding:
    """Something remembers what the log has forgotten. To make it anew would be to forget it, too."""
    return Finding(f"{who_holds} what the log no longer leads to: events of it are lost", _or_go_on(again))


def _or_go_on(again: str) -> str:
    return f"{RESTORE}; or go on without what is lost: {again}"


def _unreadable(row: rows.Stored, error: Unreadable) -> Finding:
    event = f"The event '{row.topic}' at position {row.position}"
    if isinstance(error, Damaged):
        return Finding(f"{event} is not what was written: {error.extra['why']}", RESTORE)
    return Finding(f"{event} is none that this release knows", "start the release that wrote it")
