"""How many episodes are about how long."""

from collections.abc import Sequence

from projections.changes import Row

BINS = 10


def lengths(rows: Sequence[int]) -> Row | None:
    """Least, greatest and mean of some episodes' lengths in rows, and how many lie in each of at most ``BINS`` bins of
    one width (``start`` is in it, ``end`` is not); None if there is no episode."""
    if not rows:
        return None
    least, greatest = min(rows), max(rows)
    width = -(-(greatest - least + 1) // BINS)
    counts = [0] * ((greatest - least) // width + 1)
    for length in rows:
        counts[(length - least) // width] += 1
    bins = [
        {"start": least + number * width, "end": least + (number + 1) * width, "episodes": count}
        for number, count in enumerate(counts)
    ]
    return {"min": least, "max": greatest, "mean": sum(rows) / len(rows), "histogram": bins}
