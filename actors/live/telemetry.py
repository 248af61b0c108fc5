"""Numbers that move all the time and are no changes: how far an episode is, what a camera delivers, what a training
logs. They ride along with the changes, once a second, and are never said again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from actors.entity import owners_awake
from actors.gateway import Gateway
from actors.learning.job import read_rows
from actors.live import messages
from actors.live.topics import CAMERA_FPS, JOB_METRICS, RECORDING_ROWS
from actors.live.window import Telling
from domain.aggregate import Aggregate
from domain.camera import Camera
from domain.recording import Recording
from domain.training import Job

MOST_BYTES = 64 * 1024
"""What a training may say at a time."""


class Telemetry:
    """That of everything which goes on, as its owners say it; who does not answer in time is left out."""

    def __init__(self, gateway: Gateway, jobs: Path) -> None:
        self._gateway = gateway
        self._jobs = jobs
        self._read: dict[UUID, int] = {}

    async def look(self) -> list[Telling]:
        """What there is to tell now; of a training's numbers those since the last look."""
        awake = await owners_awake()
        jobs = [id for kind, id in awake if kind == Job.kind]
        told = await asyncio.gather(
            *(self._said(Recording, id, "live", RECORDING_ROWS) for kind, id in awake if kind == Recording.kind),
            *(self._said(Camera, id, "stats", CAMERA_FPS) for kind, id in awake if kind == Camera.kind),
        )
        self._read = {id: self._read.get(id, self._size(id)) for id in jobs}
        return [each for each in told if each is not None] + [each async for each in self._of_jobs()]

    async def _said(self, kind: type[Aggregate], id: UUID, method: str, topic: str) -> Telling | None:
        said = await self._gateway.ask_if_awake(kind, id, method)
        return None if said is None else _telling(topic, id, said)

    async def _of_jobs(self) -> AsyncIterator[Telling]:
        for id in self._read:
            if rows := await asyncio.to_thread(self._new_rows, id):
                yield _telling(JOB_METRICS, id, {"rows": rows})

    def _new_rows(self, id: UUID) -> list[dict[str, Any]]:
        """The whole lines of its curve since the last look."""
        if self._size(id) <= self._read[id]:
            return []
        with self._curve(id).open("rb") as file:
            file.seek(self._read[id])
            text = file.read(MOST_BYTES)
        whole = text[: text.rfind(b"\n") + 1]
        self._read[id] += len(whole)
        return read_rows(whole)

    def _size(self, id: UUID) -> int:
        curve = self._curve(id)
        return curve.stat().st_size if curve.exists() else 0

    def _curve(self, id: UUID) -> Path:
        return self._jobs / str(id) / "metrics.jsonl"


def _telling(topic: str, id: UUID, data: dict[str, Any]) -> Telling:
    return Telling(topic, messages.telemetry(topic, id, datetime.now(UTC), data))
