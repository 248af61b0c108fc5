"""What a part of an episode holds, told from its row log: so it is the same during, after and long after the take."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from actors.capture.rowlog import Row, read_rows
from domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class TakeReport:
    """What one part of an episode holds. ``part`` is a camera's key, or ``robot``. ``measured_fps`` is the rate at
    which the device really delivered, whatever the rows took of it; ``max_age_s`` the oldest capture in a row."""

    part: str
    rows: int
    dropped: int
    repeats: int
    stale: int
    measured_fps: float
    max_age_s: float


def summarise(part: str, log: Path, rows: int) -> TakeReport:
    """The first ``rows`` rows of a log in numbers. Raises Conflict if it has fewer."""
    logged = read_rows(log)
    if len(logged) < rows:
        raise Conflict(f"{part} has only {len(logged)} of {rows} rows. Keep the episode as interrupted, or discard it.")
    return summary(part, logged[:rows])


def summary(part: str, rows: Sequence[Row]) -> TakeReport:
    """The same of rows read before."""
    return TakeReport(
        part,
        rows=len(rows),
        dropped=sum(row["dropped"] for row in rows),
        repeats=sum(row["repeated"] for row in rows),
        stale=sum(row["stale"] for row in rows),
        measured_fps=_delivered_hz(rows),
        max_age_s=max(row["age_ns"] for row in rows) / 1e9,
    )


def _delivered_hz(rows: Sequence[Row]) -> float:
    """Captures a second by the device's own count (a reconnect starts it anew); 0 if there was only one."""
    delivered = sum(max(0, after["sequence"] - before["sequence"]) for before, after in pairwise(rows))
    span_ns = rows[-1]["captured_ns"] - rows[0]["captured_ns"]
    return round(delivered * 1e9 / span_ns, 3) if span_ns > 0 else 0.0
