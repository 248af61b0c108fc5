"""What a training logs is told as it is logged. (That owners are asked is seen with a real server: tests/e2e.)"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from actors.live import telemetry
from actors.live.telemetry import Telemetry

pytestmark = pytest.mark.slow


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> UUID:
    """One that goes on."""
    id = uuid4()

    async def awake() -> list[tuple[str, UUID]]:
        return [("job", id), ("robot", uuid4())]

    monkeypatch.setattr(telemetry, "owners_awake", awake)
    return id


async def rows(numbers: Telemetry) -> list[dict[str, Any]]:
    """Those that a look finds, of all jobs."""
    told = [json.loads(each.message.split(b"data: ")[1]) for each in await numbers.look()]
    assert {(each["type"], each["aggregate"]) for each in told} <= {("job.metrics", "job")}
    return [row for each in told for row in each["data"]["rows"]]


async def test_the_rows_of_a_curve_are_told_once_and_whole(tmp_path: Path, job: UUID) -> None:
    curve = tmp_path / str(job) / "metrics.jsonl"
    numbers = Telemetry(cast("Any", SimpleNamespace()), tmp_path)
    assert await rows(numbers) == []
    curve.parent.mkdir()
    with curve.open("a") as file:
        print('{"step": 1}\n{"step": 2}\n{"st', end="", file=file, flush=True)
        assert await rows(numbers) == [{"step": 1}, {"step": 2}]
        assert await rows(numbers) == []
        print('ep": 3}', file=file, flush=True)
        assert await rows(numbers) == [{"step": 3}]
    late = Telemetry(cast("Any", SimpleNamespace()), tmp_path)
    assert await rows(late) == []  # what was there before is in the curve
