"""What an episode says of itself: ``take.json`` when it begins, ``episode.json`` once it is sealed."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from actors.capture.report import TakeReport
from actors.capture.rows import PART
from actors.capture.stats import Stats
from domain.episode import Codec, EpisodeFacts, Limits, Quality
from domain.errors import Conflict, Invalid, NotFound

TAKE_FILE = "take.json"
EPISODE_FILE = "episode.json"
IMAGES = "observation.images."


def _not_the_robot(key: str) -> str:
    if key == PART:
        raise ValueError(f"'{PART}' is the robot's own part of an episode; give the camera another key")
    return key


CameraKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$"), AfterValidator(_not_the_robot)]


class EpisodeMeta(BaseModel):
    """What is known of an episode when it starts (and, from ``success`` on, when it is saved). ``cameras`` are keys as
    in ``observation.images.<key>``; ``t0_ns`` is row 0 on the node's monotonic clock and ``started_at`` the same in
    UTC; ``control_hz`` the rate at which the robot's state and action really change."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    episode_id: UUID
    recording_id: UUID
    dataset_id: UUID
    task: str
    fps: int = Field(ge=1, le=120)
    started_at: datetime
    t0_ns: int
    robot_type: str
    joint_names: tuple[str, ...] = Field(min_length=1)
    control_hz: float = Field(gt=0)
    cameras: tuple[CameraKey, ...]
    limits: Limits | None = None
    quality: Quality = Quality()
    success: bool | None = None
    tags: tuple[str, ...] = ()
    note: str = ""


class CameraFacts(BaseModel):
    """One camera's video: its size in pixels (even; the camera's own may be one less), its keyframe distance in rows
    and its codec."""

    model_config = ConfigDict(frozen=True)
    width: int
    height: int
    gop: int
    codec: Codec = Codec.H264


class EpisodeManifest(BaseModel):
    """``episode.json``. ``files`` are sha256 by path inside the episode's folder; ``parts`` what each camera and the
    robot delivered; ``interrupted`` if it was salvaged; ``stats`` as LeRobot's, by feature; ``repaired`` says why it is
    only what was whole of another episode."""

    model_config = ConfigDict(frozen=True)
    format: int = 1
    meta: EpisodeMeta
    rows: int
    duration_s: float
    measured_fps: float
    dropped: int
    stale: int
    repeated: int
    interrupted: bool
    cameras: dict[str, CameraFacts]
    parts: list[TakeReport]
    stats: dict[str, Stats]
    files: dict[str, str]
    size_bytes: int
    repaired: str | None = None

    @property
    def suspect(self) -> str | None:
        """Why it is better not learned from; None when it kept its session's limits, or had none."""
        if self.repaired is not None:
            return self.repaired
        limits = self.meta.limits
        return None if limits is None else limits.broken_by(self.rows, self.dropped, self.stale)


def feature_keys(names: Iterable[str]) -> list[str]:
    """A camera key for each name, in order: ASCII, unique, the same for the same names ("Top view" is ``top_view``)."""
    keys = [PART]
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        stem = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:56] or "camera"
        candidates = (stem, *(f"{stem}_{count}" for count in range(2, len(keys) + 2)))
        keys.append(next(key for key in candidates if key not in keys))
    return keys[1:]


def refuse_misfit(manifest: EpisodeManifest, sizes: Mapping[str, tuple[int, int]], joint_names: Sequence[str]) -> None:
    """Raise Conflict, naming the difference, if rows of cameras with these ``sizes`` (width, height by key) and these
    joints cannot stand beside the episode's: a dataset has one shape."""
    there = {key: f"{camera.width}x{camera.height}" for key, camera in sorted(manifest.cameras.items())}
    here = {key: f"{width + width % 2}x{height + height % 2}" for key, (width, height) in sorted(sizes.items())}
    if there != here:
        raise Conflict(f"The dataset was recorded with cameras {there}, these are {here}. Use a new dataset for them.")
    if tuple(joint_names) != manifest.meta.joint_names:
        joints = f"{', '.join(manifest.meta.joint_names)}, this robot's are {', '.join(joint_names)}"
        raise Conflict(f"The dataset's joints are {joints}. Use a new dataset for it.")


@lru_cache(maxsize=4096)
def read_manifest(episode_folder: Path) -> EpisodeManifest:
    """An episode's manifest; kept in memory, since an episode never changes. Raises NotFound, or Invalid when it is
    damaged."""
    try:
        return EpisodeManifest.model_validate_json((episode_folder / EPISODE_FILE).read_bytes())
    except FileNotFoundError:
        raise NotFound(
            f"The files of episode {episode_folder.name} are not in the storage folder. Bring them back from a backup; "
            "`geti-action check-log --files` lists all that are missing.",
            code="episode_not_found",
        ) from None
    except ValidationError:
        raise unreadable(episode_folder, EPISODE_FILE) from None


@contextmanager
def as_saved(episode_folder: Path, name: str) -> Iterator[None]:
    """Whoever reads this file of an episode is told when it is damaged, or missing where the others are. Raises
    Invalid; FileNotFoundError when the whole episode is away."""
    try:
        yield
    except FileNotFoundError:
        if not episode_folder.exists():
            raise
        raise unreadable(episode_folder, name) from None
    except Invalid as error:
        raise unreadable(episode_folder, name) from error


def unreadable(episode_folder: Path, name: str) -> Invalid:
    """What to say where a file of an episode is not what it should be."""
    return Invalid(
        f"The {name} of episode {episode_folder.name} cannot be read. Repair the dataset.", code="episode_damaged"
    )


def read_facts(episode_folder: Path) -> EpisodeFacts:
    """The facts of a sealed episode, as its ``EpisodeSaved`` event wants them. Raises NotFound."""
    manifest = read_manifest(episode_folder)
    meta = manifest.meta
    return EpisodeFacts(
        episode_id=meta.episode_id,
        recording_id=meta.recording_id,
        task=meta.task,
        rows=manifest.rows,
        fps=meta.fps,
        measured_fps=manifest.measured_fps,
        duration_s=manifest.duration_s,
        dropped=manifest.dropped,
        stale=manifest.stale,
        repeated=manifest.repeated,
        size_bytes=manifest.size_bytes,
        sha256=sha256(episode_folder / EPISODE_FILE),
        success=meta.success,
        tags=meta.tags,
        note=meta.note,
        suspect=manifest.suspect,
    )


def wrong_files(manifest: EpisodeManifest, episode_folder: Path) -> Iterator[tuple[str, str]]:
    """Each file of an episode that is not as its manifest says, and what is wrong with it, as the rest of a sentence.
    Reads all of them."""
    for name, wanted in manifest.files.items():
        file = episode_folder / name
        try:
            if not file.resolve().is_relative_to(episode_folder.resolve()):
                yield name, "is not inside its folder"
            elif not file.is_file():
                yield name, "is missing"
            elif sha256(file) != wanted:
                yield name, "is not what was saved"
        except OSError as error:
            yield name, f"cannot be read: {error.strerror}"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def video_of(camera: str) -> str:
    """How a camera's video is named in an episode's folder."""
    return f"videos/{camera}.mp4"


def videos_of(manifest: EpisodeManifest) -> dict[str, str]:
    """The cameras' videos by key, as they are named in the episode's folder."""
    return {key: video_of(key) for key in manifest.meta.cameras}


def times_of(manifest: EpisodeManifest) -> dict[str, str]:
    """The tables with the cameras' capture times, by key; a repair has left out those that were damaged."""
    named = {key: f"times/{key}.parquet" for key in manifest.meta.cameras}
    return {key: name for key, name in named.items() if name in manifest.files}
