"""The episodes of a recording session, each where it is on its way: one is open, others are being saved, were
interrupted, are saved or discarded. Values: a change makes another one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.errors import Conflict


class Label(BaseModel):
    """What an operator says of an episode when it is saved."""

    model_config = ConfigDict(frozen=True)
    success: bool | None = None
    tags: tuple[str, ...] = ()
    note: str = ""


class Take(BaseModel):
    """An episode that is not saved yet. ``rows`` is set once it is known where it ends, ``reason`` when it ended
    against our will."""

    model_config = ConfigDict(frozen=True)
    episode_id: UUID
    number: int
    task: str
    started_at: datetime
    rows: int | None = None
    reason: str | None = None
    label: Label = Label()


class Takes(BaseModel):
    """Those of one session, by episode id; of the saved ones it keeps their index in the dataset."""

    model_config = ConfigDict(frozen=True)
    open: Take | None = None
    saving: dict[UUID, Take] = {}
    interrupted: dict[UUID, Take] = {}
    saved: dict[UUID, int] = {}
    discarded: frozenset[UUID] = frozenset()

    @property
    def is_busy(self) -> bool:
        """Whether one is being recorded or saved."""
        return self.open is not None or bool(self.saving)

    def is_open(self, episode_id: UUID) -> bool:
        return self.open is not None and self.open.episode_id == episode_id

    def knows(self, episode_id: UUID) -> bool:
        groups = (self.saving, self.interrupted, self.saved, self.discarded)
        return self.is_open(episode_id) or any(episode_id in group for group in groups)

    def begun(self, take: Take) -> Self:
        return self._with(open=take)

    def ended(self, episode_id: UUID, rows: int, label: Label) -> Self:
        """It shall be saved with so many rows: the open one, or one that was interrupted."""
        take, rest = self._take_out(episode_id)
        ended = take.model_copy(update={"rows": rows, "label": label})
        return rest._with(saving={**rest.saving, episode_id: ended})

    def saved_at(self, episode_id: UUID, index: int) -> Self:
        _, rest = self._take_out(episode_id)
        return rest._with(saved={**rest.saved, episode_id: index})

    def lost(self, episode_id: UUID, rows: int, reason: str) -> Self:
        """It was interrupted with so many whole rows."""
        take, rest = self._take_out(episode_id)
        lost = take.model_copy(update={"rows": rows, "reason": reason})
        return rest._with(interrupted={**rest.interrupted, episode_id: lost})

    def dropped(self, episode_id: UUID) -> Self:
        _, rest = self._take_out(episode_id)
        return rest._with(discarded=rest.discarded | {episode_id})

    def must_be_open(self, episode_id: UUID) -> None:
        """Raises Conflict, which says what has become of it."""
        if self.is_open(episode_id):
            return
        if (lost := self.interrupted.get(episode_id)) is not None:
            kept = f"{lost.rows} rows of it are whole: keep them, or discard it" if lost.rows else "discard it"
            raise Conflict(f"Episode {episode_id} was interrupted ({lost.reason}); {kept}.")
        if episode_id in self.discarded:
            raise Conflict(f"Episode {episode_id} was discarded.")
        if episode_id in self.saving:
            raise Conflict(f"Episode {episode_id} is being saved already.")
        if self.open is None:
            raise Conflict("No episode is open: start one.")
        raise Conflict(f"The open episode is {self.open.episode_id}, not {episode_id}.")

    def _take_out(self, episode_id: UUID) -> tuple[Take, Self]:
        """One that is not saved yet, and all the others."""
        if self.open is not None and self.is_open(episode_id):
            return self.open, self._with(open=None)
        group = "saving" if episode_id in self.saving else "interrupted"
        takes: Mapping[UUID, Take] = getattr(self, group)
        rest = {id: take for id, take in takes.items() if id != episode_id}
        return takes[episode_id], self._with(**{group: rest})

    def _with(self, **changes: Any) -> Self:
        return self.model_copy(update=changes)
