"""The parts of a session, as one: the worst of them counts, and what ended an episode is not forgotten."""

from typing import Any
from uuid import uuid4

import pytest

from actors import parts
from actors.capture.pacing import TakeProgress, TakeState
from actors.entity import OwnerLost
from actors.parts import Parts
from domain.errors import DeviceError

LOST = DeviceError("Camera 'top' was lost: unplugged")


class Owners:
    """Two cameras and a robot: ``says`` is what each next one answers, or raises."""

    def __init__(self, *says: Any) -> None:
        self.says, self.asked = list(says), 0

    async def call(self, owner: Any, method: str, *args: Any, timeout_s: float = 30) -> Any:
        if method != "renew_take":
            return None
        self.asked += 1
        said = self.says.pop(0) if self.says else going(1)
        if isinstance(said, Exception):
            raise said
        return said


def going(rows: int, dropped: int = 0, stale: int = 0, error: Any = None) -> TakeProgress:
    return TakeProgress(TakeState.RECORDING, rows, dropped, 0, stale, error)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setattr(parts, "activate", lambda owner, id: None)
    return Parts(uuid4(), [uuid4(), uuid4()], uuid4())


def owners(monkeypatch: pytest.MonkeyPatch, *says: Any) -> Owners:
    made = Owners(*says)
    monkeypatch.setattr(parts, "call", made.call)
    return made


async def test_the_worst_of_all_parts_counts(session: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    owners(monkeypatch, going(30, 1, 0), going(28, 0, 4), going(31))
    assert session.numbers(1.0) == {"row": 0, "measured_fps": 0.0, "dropped": 0, "stale": 0}
    assert await session.watch() is None
    assert session.numbers(0.7) == {"row": 28, "measured_fps": 40.0, "dropped": 1, "stale": 4}
    assert session.numbers(-0.1)["measured_fps"] == 0.0  # before row 0
    await session.stop()
    assert session.numbers(1.0)["row"] == 0


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ([going(9), LOST, going(9)], LOST.detail),
        ([going(9), going(9, error=LOST), going(9)], LOST.detail),
        ([going(9), OwnerLost("Its process was lost"), going(9)], "Its process was lost"),
    ],
)
async def test_what_ended_an_episode_stays_the_reason_until_the_next_one(
    session: Parts, monkeypatch: pytest.MonkeyPatch, says: list[Any], why: str
) -> None:
    """Whoever cannot note it at once, for the disk is full, notes it later."""
    made = owners(monkeypatch, *says)
    assert await session.watch() == why
    asked = made.asked
    await session.stop()
    assert await session.watch() == why
    assert made.asked == asked
    await session.reset(0, 30, 1)
    assert await session.watch() is None
