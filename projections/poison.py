"""Telling a poison event, which one view cannot take in, from a database that fails as a whole."""

import logging
import sqlite3
from typing import NamedTuple

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError

from domain.aggregate import DomainEvent

LONGEST = 300
logger = logging.getLogger(__name__)
_REFUSED = (DataError, IntegrityError, NotSupportedError, ProgrammingError)


class Poison(NamedTuple):
    """The event that a view could not take in, and why, for a person."""

    position: int
    reason: str


def is_poison(error: Exception) -> bool:
    """Whether a view's code or its rows are to blame. A full disk, a lock, a lost connection, a lack of memory are not
    the view's fault: with those the whole append must fail."""
    if not isinstance(error, DBAPIError):
        return not isinstance(error, MemoryError)
    if error.connection_invalidated:
        return False
    # SQLite says of a missing column what it says of a full disk; its code tells them apart.
    is_wrong_sql = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, _REFUSED) or is_wrong_sql


def poison(position: int, event: DomainEvent, error: Exception) -> Poison:
    """What to tell of it."""
    if not isinstance(error, DBAPIError):
        logger.warning("a view cannot take in the event at position %d", position, exc_info=error)
    return Poison(position, f"event '{event.TOPIC}' at position {position}: {said(error)}"[:LONGEST])


def said(error: Exception) -> str:
    """Which error it is, and the first line of what it says: the others quote rows and their secrets."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(cause).__name__}: {str(cause).partition('\n')[0]}"[:LONGEST]
