"""The recording sessions and the episodes taken in them.

A session's row says whether it is open; what it does with an episode (recording, saving) is that episode's state, since
an event about an old, interrupted episode must not change what is said of the open one.
"""

from collections.abc import Iterable
from enum import StrEnum

from domain.aggregate import DomainEvent
from domain.episode import Limits, Quality
from domain.plan import Plan
from domain.project import Project
from domain.recording import Recording, RecordingState
from projections.changes import Change, Drop, Patch, Put, Row, patch, touched
from projections.tables import recording_episodes, recordings, rfc3339

LISTENS_TO = (Recording.Event, Project.Deleted)
TABLES = (recordings, recording_episodes)


class TakeState(StrEnum):
    RECORDING = "recording"
    SAVING = "saving"
    SAVED = "saved"
    DISCARDED = "discarded"
    INTERRUPTED = "interrupted"


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Project.Deleted():
            yield Drop(recordings, {"project_id": str(event.originator_id)})
        case Recording.Opened():
            yield Put(recordings, _opened(event) | touched(position, event))
        case Recording.Readied():
            yield patch(recordings, position, event, state=RecordingState.READY.value)
        case Recording.Failed(reason=reason):
            yield patch(recordings, position, event, state=RecordingState.FAILED.value, reason=reason)
        case Recording.Closed(reason=reason):
            yield patch(recordings, position, event, state=RecordingState.CLOSED.value, reason=reason)
        case _:
            yield patch(recordings, position, event)
            yield from _takes(position, event)


def _takes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Recording.EpisodeStarted():
            yield Put(recording_episodes, _started(event) | {"position": position})
        case Recording.EpisodeEnded(episode_id=id, rows=rows):
            yield _take(position, event, str(id), TakeState.SAVING, rows=rows)
        case Recording.EpisodeSaved(episode=episode):
            yield _take(position, event, str(episode.episode_id), TakeState.SAVED, rows=episode.rows, reason=None)
        case Recording.EpisodeDiscarded(episode_id=id):
            yield _take(position, event, str(id), TakeState.DISCARDED)
        case Recording.EpisodeInterrupted(episode_id=id, rows=rows, reason=reason):
            yield _take(position, event, str(id), TakeState.INTERRUPTED, rows=rows, reason=reason)


def _take(position: int, event: DomainEvent, id: str, state: TakeState, **values: str | int | None) -> Patch:
    key = (str(event.originator_id), id)
    return Patch(recording_episodes, key, values | {"state": state.value, "position": position})


def _opened(event: Recording.Opened) -> Row:
    return {
        "id": str(event.originator_id),
        "project_id": str(event.project_id),
        "environment_id": str(event.environment_id),
        "dataset_id": event.dataset_id and str(event.dataset_id),
        "fps": event.fps,
        "task": event.task,
        "state": RecordingState.OPENING.value,
        "reason": None,
        "source": "none" if event.tele_operator == "none" else "teleoperation",
        "created_at": rfc3339(event.timestamp),
        "options": _options(event),
    }


def _options(event: Recording.Opened) -> Row | None:
    """What was asked for beyond what every session does."""
    asked: Row = {}
    if (event.plan, event.limits) != (Plan(), Limits()):
        asked |= event.plan.model_dump() | event.limits.model_dump()
    if event.quality != Quality():
        asked |= event.quality.model_dump(mode="json")
    return asked or None


def _started(event: Recording.EpisodeStarted) -> Row:
    return {
        "recording_id": str(event.originator_id),
        "id": str(event.episode_id),
        "number": event.number,
        "state": TakeState.RECORDING.value,
        "task": event.task,
        "rows": None,
        "reason": None,
        "started_at": rfc3339(event.timestamp),
    }
