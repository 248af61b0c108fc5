"""An episode as the log knows it: what was measured of it, what people say of it, and what it may lack."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from domain.aggregate import Command, Flag, Int, Number

Tags = Annotated[
    tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)], ...],
    Field(max_length=32),
]
Note = Annotated[str, StringConstraints(max_length=2000)]
Task = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]

Share = Annotated[Number, Field(ge=0, le=1)]
MAX_CRF_H264 = 51


class Limits(BaseModel):
    """What share of an episode's rows may have been dropped, and stale, before it is suspect: saved, but left out of
    training unless that is told otherwise. ``strict``: it is not saved but interrupted, to be kept or discarded."""

    model_config = ConfigDict(frozen=True)
    max_dropped: Share = 0.05
    max_stale: Share = 0.05
    strict: Flag = False

    def broken_by(self, rows: int, dropped: int, stale: int) -> str | None:
        """What is wrong with an episode of so many rows, for a person."""
        found = (("dropped", dropped, self.max_dropped), ("stale", stale, self.max_stale))
        wrong = [
            f"{count} of {rows} rows {what} (limit {most:.0%})" for what, count, most in found if count > most * rows
        ]
        return ", ".join(wrong) or None


class Codec(StrEnum):
    """AV1 takes a sixth to a half less space for what a camera sees, hardly less for what is drawn, and twice the work
    (benchmarks/quality.py)."""

    H264 = "h264"
    AV1 = "av1"


class Quality(BaseModel):
    """How the pictures of a session's episodes are compressed, once and for all.

    ``crf`` is the codec's constant rate factor, smaller is better: 0 to 51 with H.264 (18 can hardly be told from the
    camera's own), 0 to 63 with AV1; none is the codec's usual one. ``gop_s`` seconds lie between two keyframes: so much
    a crash can cost, and so far back a reader of one row has to begin."""

    model_config = ConfigDict(frozen=True)
    codec: Codec = Codec.H264
    crf: Int | None = Field(None, ge=0, le=63)
    gop_s: Number = Field(0.5, gt=0, le=1, allow_inf_nan=False)

    @field_validator("crf")
    @classmethod
    def _is_the_codecs(cls, crf: int | None, info: ValidationInfo) -> int | None:
        if crf is not None and info.data.get("codec") is Codec.H264 and crf > MAX_CRF_H264:
            raise ValueError(f"is at most {MAX_CRF_H264} with {Codec.H264}")
        return crf

    def gop_rows(self, fps: int) -> int:
        """Rows from one keyframe to the next."""
        return max(1, int(self.gop_s * fps))


class EpisodeFacts(BaseModel):
    """What is known of a saved episode. ``rows`` is its length; fps and durations are measured, not wished for;
    ``sha256`` is that of its manifest, which holds those of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    episode_id: UUID
    recording_id: UUID
    task: str
    rows: int = Field(ge=1)
    fps: int = Field(ge=1)
    measured_fps: float = Field(ge=0)
    duration_s: float = Field(ge=0)
    dropped: int = Field(ge=0)
    stale: int = Field(ge=0)
    repeated: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    sha256: str
    success: bool | None = None
    tags: tuple[str, ...] = ()
    note: str = ""
    suspect: str | None = None
    rating: int | None = None


SAID = {"task", "tags", "note", "rating", "success"}
"""What people say of an episode; the rest was measured."""


class UpdateEpisode(Command):
    """Of a saved episode: what is named here changes, the rest stays. ``rating`` is 1 to 5; it and ``success`` are
    taken back by null."""

    task: Task | None = None
    tags: Tags | None = None
    note: Note | None = None
    rating: Int | None = Field(None, ge=1, le=5)
    success: Flag | None = None

    @field_validator("task", "tags", "note", mode="before")
    @classmethod
    def _says_something(cls, value: object) -> object:
        if value is None:
            raise ValueError("leave it out, or say what it shall be")
        return value
