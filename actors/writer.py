"""Who writes to the log's database: one at a time, in turn, from one thread of each process.

SQLite's writers queue in the kernel, fairly, on a lock file beside the database; PostgreSQL's on the events table. That
a process writes from one thread keeps its event loops from freezing while it waits, and a caller that has waited too
long is told so while its work is sure not to happen.
"""

import asyncio
import fcntl
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from domain.errors import GetiActionError, LogBusy, StorageFull, Unavailable
from projections import database, tables

Room = Callable[[], AbstractContextManager[None]]
_TABLE_LOCK = f"LOCK TABLE {tables.events.name} IN EXCLUSIVE MODE; NOTIFY {tables.events.name}"
"""The notice is heard after the commit, and only then; who finds nothing new goes on waiting."""

logger = logging.getLogger(__name__)


class Writer:
    """``lock_path`` is SQLite's lock file, None for PostgreSQL. Work waits for its turn for ``timeout_s`` at most."""

    def __init__(self, engine: Engine, lock_path: Path | None, timeout_s: float) -> None:
        self._engine, self._lock_path, self._timeout_s = engine, lock_path, timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log-writer")
        self._connection: Connection | None = None

    def close(self) -> None:
        """Returns when what was given to it is done."""
        self._thread.shutdown()
        self._disconnect()

    async def do[T](self, work: Callable[[Connection], T], room: Room = nullcontext) -> T:
        """Do ``work`` in a turn. Raises LogBusy when that does not come in time, and what ``failures`` raises."""
        ticket = _Ticket()
        done = asyncio.wrap_future(self._thread.submit(self._work, work, ticket, room))
        in_time, _ = await asyncio.wait({done}, timeout=self._timeout_s)
        if not in_time and ticket.abandon():
            done.cancel()
            raise _busy()
        return await asyncio.shield(done)

    def do_later(self, work: Callable[[Connection], object], otherwise: Callable[[GetiActionError], object]) -> None:
        """Do ``work`` in a turn that nobody waits for; ``otherwise`` is told why it could not be done."""

        def try_to() -> None:
            try:
                self._work(work, _Ticket(), nullcontext)
            except GetiActionError as error:
                otherwise(error)
            except Exception:  # there is nobody else who would hear of it
                logger.exception("something that nobody waits for failed")

        self._thread.submit(try_to)

    @contextmanager
    def turn(self, connection: Connection, room: Room = nullcontext) -> Iterator[None]:
        """A transaction, entered when it is our turn: nobody else writes while keys, claims and versions are looked at
        in it. ``room`` is made for it when it begins."""
        with ExitStack() as stack:
            if self._lock_path is not None:
                fcntl.flock(stack.enter_context(self._lock_path.open("ab")), fcntl.LOCK_EX)
            stack.enter_context(room())
            stack.enter_context(database.begin_immediate(connection, postgresql=_TABLE_LOCK))
            yield

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Says what the database fails with in our words: StorageFull, LogBusy, Unavailable or DatabaseDamaged."""
        driver = self._engine.dialect.loaded_dbapi
        try:
            yield
        except (DatabaseError, driver.DatabaseError) as error:  # SQLAlchemy's, or raw
            if damage := database.damage(error):
                raise damage from error
            if isinstance(error, OperationalError | driver.OperationalError):
                raise _operational(error) from error
            raise

    def _work[T](self, work: Callable[[Connection], T], ticket: "_Ticket", room: Room) -> T:
        with self.failures():
            try:
                return self._once(work, ticket, room)
            except OperationalError as error:
                if ticket.has_begun or not error.connection_invalidated:
                    raise
            return self._once(work, ticket, room)  # the connection was from before the database was started again

    def _once[T](self, work: Callable[[Connection], T], ticket: "_Ticket", room: Room) -> T:
        """On a connection that is kept: one from the pool would be tried out first, another way there and back."""
        self._connection = self._connection or self._engine.connect()
        try:
            with self.turn(self._connection, room):
                ticket.begin()
                return work(self._connection)
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Ticket:
    """Decides between a caller that gives up waiting and the writer that begins: exactly one of them wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = "waiting"

    @property
    def has_begun(self) -> bool:
        return self._state == "begun"

    def begin(self) -> None:
        """The writer has the lock. Raises LogBusy when the caller is gone: then nothing must be written."""
        with self._lock:
            if self._state == "abandoned":
                raise _busy()
            self._state = "begun"

    def abandon(self) -> bool:
        """True when the append is now sure not to happen; False when it has begun and must be waited for."""
        with self._lock:
            if self._state == "begun":
                return False
            self._state = "abandoned"
            return True


def _busy() -> LogBusy:
    return LogBusy("Others kept the event log for too long; nothing was done, try again.")


def _operational(error: Exception) -> GetiActionError:
    said = str(getattr(error, "orig", error)).lower()
    if database.is_full(getattr(error, "orig", error)):
        return StorageFull(database.FULL)
    if "lock" in said or "timeout" in said:
        return _busy()
    logger.error("the database failed", exc_info=error)
    return Unavailable(
        "The database failed, so the command may have happened or not: ask how it stands. The server's log says more."
    )
