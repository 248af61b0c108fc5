"""An episode as the log knows it: what was measured of it, what people say of it, and what it may lack."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from domain.aggregate import Command, Flag, Int, Number

Tags = Annotated[
    tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)], ...],
    Field(max_length=32),
]
Note = Annotated[str, StringConstraints(max_length=2000)]
Task = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]

Share = Annotated[Number, Field(ge=0, le=1)]


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
