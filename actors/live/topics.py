"""Which events a reader wants: topics, or their first words."""

from collections.abc import Iterator

from actors.log import AGGREGATES
from domain.aggregate import Aggregate, DomainEvent
from domain.errors import Invalid


def _of(aggregate: type[Aggregate]) -> Iterator[str]:
    """The topics of the events that an aggregate can have, not those of their common bases."""
    nested = [each for each in vars(aggregate).values() if isinstance(each, type) and issubclass(each, DomainEvent)]
    bases = {base for each in nested for base in each.__mro__[1:]}
    return (each.TOPIC for each in nested if each not in bases)


RECORDING_ROWS, CAMERA_FPS, JOB_METRICS = "recording.rows", "camera.fps", "job.metrics"
"""Telemetry: said by no event."""
TOPICS = frozenset(topic for aggregate in AGGREGATES for topic in _of(aggregate)) | {
    RECORDING_ROWS,
    CAMERA_FPS,
    JOB_METRICS,
}


def chosen(words: str) -> frozenset[str]:
    """The topics that a comma separated list such as ``camera,job.completed`` means. Raises Invalid for an unknown
    one."""
    found: set[str] = set()
    for word in words.split(","):
        meant = {topic for topic in TOPICS if topic == word.strip() or topic.startswith(f"{word.strip()}.")}
        if not meant:
            raise Invalid(f"There is no topic {word.strip()!r}; topics are {', '.join(sorted(TOPICS))}.")
        found |= meant
    return frozenset(found)
