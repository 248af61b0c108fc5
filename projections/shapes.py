"""What the GETs answer, for the OpenAPI document; the queries make these shapes, and the tests compare the two."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.camera import CameraStatus
from domain.environment import TeleOperator
from domain.episode import Codec
from domain.model import ExportFacts, Rollouts
from domain.operation import OperationKind, OperationStatus
from domain.recording import RecordingState
from domain.robot import RobotStatus
from domain.training import JobStatus


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Dataset(Shape):
    """``path`` is relative to the storage root; ``fps`` is unknown before the first episode."""

    id: UUID
    project_id: UUID
    environment_id: UUID
    name: str
    default_task: str
    path: str
    episodes: int
    frames: int
    fps: int | None
    size_bytes: int


class Project(Shape):
    id: UUID
    name: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    datasets: list[Dataset]


class CameraState(Shape):
    """``width`` and ``height`` in pixels while it streams; ``since`` when the status last changed."""

    status: CameraStatus
    reason: str | None
    width: int | None
    height: int | None
    node: str | None
    since: AwareDatetime


class Camera(Shape):
    id: UUID
    driver: str
    name: str
    fingerprint: str
    hardware_name: str | None
    payload: dict[str, Any]
    state: CameraState
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Robot(Shape):
    id: UUID
    name: str
    type: str
    payload: dict[str, Any]
    active_calibration_id: UUID | None
    connection_status: RobotStatus


class RobotInEnvironment(Shape):
    robot_id: UUID
    tele_operator: TeleOperator


class Environment(Shape):
    id: UUID
    name: str
    robots: list[RobotInEnvironment]
    camera_ids: list[UUID]


class EmbeddedRobot(RobotInEnvironment):
    robot: Robot


class EnvironmentWithDevices(Shape):
    id: UUID
    name: str
    robots: list[EmbeddedRobot]
    camera_ids: list[UUID]
    cameras: list[Camera]


class Episode(Shape):
    """``length``, ``dropped`` and ``stale`` count rows; ``suspect`` says why it is left out of training."""

    episode_index: int
    id: UUID
    tasks: list[str]
    length: int
    fps: int
    duration_s: float
    tags: list[str]
    rating: int | None
    dropped: int
    stale: int
    success: bool | None
    suspect: str | None


class EpisodeFacts(Episode):
    """``sha256`` is that of the episode's manifest."""

    recording_id: UUID
    measured_fps: float
    repeated: int
    size_bytes: int
    sha256: str
    note: str


class DeletedEpisode(EpisodeFacts):
    """``episode_index`` is the one that it had."""

    deleted_at: AwareDatetime


class VideoOf(Shape):
    """Seconds in the video at `path`, which GET …/video/{path} sends."""

    start: float
    end: float
    path: str


class Marked(Shape):
    """Numbers of rows."""

    dropped: list[int]
    stale: list[int]


class EpisodeInFull(EpisodeFacts):
    """``actions`` and ``states`` are rows of values, in the order of ``action_keys``; row k is of k / fps seconds.
    ``videos`` are by feature (`observation.images.<camera>`), ``marked`` by the camera's key, and `robot`."""

    action_keys: list[str]
    actions: list[list[float]]
    states: list[list[float]]
    videos: dict[str, VideoOf]
    marked: dict[str, Marked]


class ModelNamed(Shape):
    id: UUID
    name: str


class DatasetVersion(Shape):
    """``episodes`` is unknown where its files are damaged; ``used_by`` are the models that were trained on it."""

    version: int
    episodes: int | None
    created_at: AwareDatetime
    used_by: list[ModelNamed]


class Bin(Shape):
    """``start`` is in it, ``end`` is not."""

    start: int
    end: int
    episodes: int


class Lengths(Shape):
    """Of the episodes, in rows; the bins are of one width."""

    min: int
    max: int
    mean: float
    histogram: list[Bin]


class Spread(Shape):
    min: float
    max: float
    mean: float
    std: float


class Brightness(Shape):
    """Mean of the three colours, and the least and the greatest value of any of them; 0 is black, 1 is full."""

    min: float
    max: float
    mean: float


class DatasetStatistics(Shape):
    """``frames``, ``dropped`` and ``stale`` count rows. ``features`` are `action` and `observation.state`, by the name
    of each value; ``cameras`` are by key, of the keyframes that were looked at when an episode was saved (100 at most).
    """

    episodes: int
    frames: int
    duration_s: float
    lengths: Lengths | None
    features: dict[str, dict[str, Spread]]
    cameras: dict[str, Brightness]
    dropped: int
    stale: int


class OpenEpisode(Shape):
    """The episode that is being recorded or saved; the live numbers come from the session's owner."""

    episode_id: UUID
    episode_index: int
    task: str
    row: int | None
    measured_fps: float | None
    dropped: int | None
    stale: int | None


class InterruptedEpisode(Shape):
    """``rows`` are whole on disk: keep them or discard them."""

    episode_id: UUID
    number: int
    task: str
    rows: int
    reason: str
    started_at: AwareDatetime


class Recording(Shape):
    """``episodes``: so many are recorded by themselves, ``reset_time_s`` apart. The limits are shares of rows."""

    id: UUID
    project_id: UUID
    environment_id: UUID
    dataset_id: UUID | None
    fps: int
    task: str
    state: RecordingState
    reason: str | None
    source: Literal["teleoperation", "none"]
    episode: OpenEpisode | None
    interrupted: list[InterruptedEpisode]
    episodes_saved: int
    episode_time_s: float | None
    reset_time_s: float | None
    episodes: int | None
    max_dropped: float
    max_stale: float
    strict: bool
    codec: Codec
    crf: int | None
    gop_s: float
    created_at: AwareDatetime


class Job(Shape):
    """``progress`` in percent; ``model_id`` once there is a model."""

    id: UUID
    project_id: UUID
    type: Literal["training", "evaluation"]
    status: JobStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    message: str
    reason: str | None
    attempt: int
    extra_info: dict[str, float | None]
    payload: dict[str, Any]
    created_at: AwareDatetime
    start_time: AwareDatetime | None
    end_time: AwareDatetime | None
    model_id: UUID | None
    parent_job_id: UUID | None


class Operation(Shape):
    """``progress`` in percent; ``message`` says what it is at, or why it failed; ``result`` what came of it."""

    id: UUID
    project_id: UUID
    kind: OperationKind
    dataset_ids: list[UUID]
    status: OperationStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    message: str
    result: dict[str, Any] | None
    created_at: AwareDatetime
    ended_at: AwareDatetime | None


class Evaluation(Shape):
    """Rollouts by who acted: ``policy``, and the baselines on the same seeds."""

    job_id: UUID
    environment: str
    rollouts: dict[str, Rollouts]
    created_at: AwareDatetime


class Model(Shape):
    id: UUID
    project_id: UUID
    name: str
    policy: str
    version: int
    parent_model_id: UUID | None
    dataset_id: UUID
    dataset_version: int
    snapshot_id: UUID | None
    train_job_id: UUID
    metrics: dict[str, float | None]
    exports: list[ExportFacts]
    evaluations: list[Evaluation]
    created_at: AwareDatetime
