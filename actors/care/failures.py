"""What files fail with, in the words of a person who sits at this machine and may know its paths."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from actors.capture.durable import FULL
from domain.errors import StorageFull, Unavailable


@contextmanager
def file_errors(doing: str) -> Iterator[None]:
    """Raises StorageFull or Unavailable for an OSError inside, which name the file."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        what = f"Could not {doing}: {os.strerror(error.errno or 0)}{where}"
        if error.errno in FULL:
            raise StorageFull(f"{what}. Free some space there, then try again.") from error
        raise Unavailable(f"{what}. See to it that this can be read and written, then try again.") from error
