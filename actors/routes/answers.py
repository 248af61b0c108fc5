"""What the writes answer, for the OpenAPI document: a route hands back a finished Response, so nothing here runs with a
request. What is the same for every operation is added in document.py."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from domain.episode import EpisodeFacts
from domain.errors import GetiActionError
from projections import shapes
from projections.routes.replies import ETAG, header

POSITION = {"X-Log-Position": header("position of the log that holds what was done", "integer")}
REPEATED = "The same as the answer to the first create of this id"


class EpisodeNamed(shapes.Shape):
    """The episode that was started, or is gone."""

    episode_id: UUID


class SavedEpisode(EpisodeFacts):
    """``episode_index`` is its place in the dataset when it was saved."""

    episode_index: int


class LiveEpisode(shapes.OpenEpisode):
    """``robot`` has the live numbers of the control loop; ``recordable_s`` is how long the disk lasts if recording goes
    on as in this episode. Only while the session's owner answers."""

    robot: dict[str, Any] | None = None
    disk_free_bytes: int | None = None
    recordable_s: float | None = None


class LiveRecording(shapes.Recording):
    """``next_episode_in_s``: until the next episode starts by itself; null when none does."""

    episode: LiveEpisode | None
    next_episode_in_s: float | None = None


class CameraStats(BaseModel):
    """What is counted while it does not rest; counts are since it woke."""

    fps_measured: float
    frames: int
    viewers: int
    node: str | None = None
    connected: int | None = None
    encoding: bool | None = None
    encoded: int | None = None
    dropped: int | None = None
    keyframe_requests: int | None = None


class KeptVersion(BaseModel):
    """With the episodes in it that stay in the trash for its sake."""

    version: int
    reason: str
    episode_ids: list[UUID]


class Purged(BaseModel):
    """What went, what that freed, and what is kept."""

    episode_ids: list[UUID]
    versions: list[int]
    freed_bytes: int
    kept: list[KeptVersion]


def fails(*errors: type[GetiActionError]) -> dict[int | str, dict[str, Any]]:
    """``responses`` for errors that only some operations meet."""
    return {error.status: {"description": error.title} for error in errors}


def answers(status: int, shape: Any, *errors: type[GetiActionError], versioned: bool = True) -> dict[str, Any]:
    """The arguments of a write's route that say what it answers; no ``shape`` is no body."""
    headers = POSITION | (ETAG if versioned else {})
    return {
        "status_code": status,
        "response_model": shape,
        "responses": fails(*errors) | {status: {"headers": headers}},
    }


def creates(shape: Any, *errors: type[GetiActionError]) -> dict[str, Any]:
    """``answers`` of what makes a thing whose id the client may choose, and so may be sent again."""
    described = answers(HTTPStatus.CREATED, shape, *errors)
    described["responses"][HTTPStatus.OK.value] = {
        "model": shape,
        "description": REPEATED,
        "headers": POSITION | ETAG,
    }
    return described
