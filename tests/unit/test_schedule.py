"""When rows, ends and next episodes of a session are due, by a clock that the test turns."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from actors import schedule
from actors.schedule import LEAD_NS, Schedule
from domain.environment import CreateEnvironment, Environment
from domain.recording import OpenRecording, Recording, SaveEpisode, StartEpisode

AT = datetime(2026, 1, 1, tzinfo=UTC)
SECOND_NS = 10**9


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.ns = 5 * SECOND_NS

    def monotonic_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return self.ns / 1e9

    def turn(self, seconds: float) -> None:
        self.ns += round(seconds * SECOND_NS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(schedule, "time", clock)
    return clock


def opened(**plan: Any) -> Recording:
    """A session of 10 rows a second that is ready."""
    used = [{"robot_id": UUID(int=1), "tele_operator": {"type": "scripted"}}]
    environment = Environment.create(
        UUID(int=2), UUID(int=3), CreateEnvironment(name="cell", robots=used, camera_ids=[UUID(int=8)]), AT
    )
    command = OpenRecording(environment_id=UUID(int=2), dataset_id=UUID(int=4), fps=10, idle_timeout_s=60, **plan)
    session = Recording.open(UUID(int=5), UUID(int=3), command, environment, "Push.", AT)
    session.ready(UUID(int=6), "node", AT)
    return session


def begin(session: Recording, due: Schedule, number: int = 7) -> UUID:
    episode = UUID(int=number)
    session.start(episode, StartEpisode(), AT)
    due.started()
    due.set_rows()
    return episode


def test_a_planned_episode_ends_with_its_last_row_and_has_no_more(clock: Clock) -> None:
    session = opened(episode_time_s=2)
    due = Schedule(lambda: session)
    assert due.episode_end_s() is None
    begin(session, due)
    assert due.running_s() == pytest.approx(-LEAD_NS / 1e9)
    clock.turn(LEAD_NS / 1e9 + 1.05)
    assert (due.rows_by_now(), due.episode_end_s()) == (11, pytest.approx(0.85))
    clock.turn(0.85)
    assert (due.rows_by_now(), due.episode_end_s()) == (20, 0)
    clock.turn(9)
    assert due.rows_by_now() == 20


def test_the_next_episode_is_due_after_the_pause_unless_it_is_on_hold(clock: Clock) -> None:
    session = opened(reset_time_s=3, episodes=2)
    due = Schedule(lambda: session)
    due.go_on()
    clock.turn(2)
    assert due.next_in_s() == 1
    clock.turn(1)
    assert due.next_in_s() == 0
    due.hold()
    due.go_on()
    assert due.next_in_s() is None
    begin(session, due)
    due.go_on()
    assert due.next_in_s() == 3


def test_none_follows_when_enough_are_saved_or_about_to_be(clock: Clock) -> None:
    session = opened(reset_time_s=3, episodes=1)
    due = Schedule(lambda: session)
    session.end(SaveEpisode(episode_id=begin(session, due)), 5, AT)
    due.go_on()
    assert due.next_in_s() is None


def test_a_session_is_idle_when_nobody_uses_it_and_nothing_goes_on_by_itself(clock: Clock) -> None:
    session = opened(episode_time_s=90, reset_time_s=90)
    due = Schedule(lambda: session)
    clock.turn(61)
    assert due.is_idle()
    due.go_on()
    assert not due.is_idle()
    begin(session, due)
    clock.turn(61)
    assert not due.is_idle()
    assert due.until_next_step() == schedule.BEAT_S
    due.hold()
    session.interrupt(UUID(int=7), 3, "bumped", AT)
    assert due.is_idle()
    due.use()
    assert not due.is_idle()
