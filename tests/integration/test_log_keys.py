"""Keys of commands that take long: held by one, waited for by others, free again when their holder is gone."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection

from actors import answers
from actors.answers import HOLD, KEPT, Held, InProgress, Once
from actors.log import Log
from domain.errors import KeyReused
from projections import schema
from tests.integration.log_kit import contents

KEY = ("anonymous POST /api/jobs:train", "key", "body")


class Clock:
    """The wall clock of the answers, which a test moves."""

    def __init__(self) -> None:
        self.now = answers._now()

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, time: timedelta) -> None:
        self.now += time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(answers, "_now", made)
    return made


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    schema.upgrade(database_url)
    made = Log(database_url)
    yield made
    made.close()


def said(connection: Connection, version: int) -> str:
    return "done"


async def test_a_held_key_is_in_progress_for_everybody_else(log: Log, clock: Clock) -> None:
    assert isinstance(await log.hold_key(*KEY), Held)
    with pytest.raises(InProgress):
        log.answered(*KEY)
    with pytest.raises(InProgress):
        await log.hold_key(*KEY)
    with pytest.raises(KeyReused):
        await log.hold_key(*KEY[:2], "another body")


async def test_the_answer_ends_the_hold(log: Log, clock: Clock) -> None:
    await log.hold_key(*KEY)
    answer = await log.remember(Once(*KEY, status=202, render=said), 3)
    assert (answer.status, answer.body, answer.version) == (202, "done", 3)
    assert log.answered(*KEY) == answer
    assert await log.hold_key(*KEY) == answer


async def test_a_refused_command_leaves_nothing(log: Log, clock: Clock) -> None:
    before = contents(log)
    await log.hold_key(*KEY)
    await log.forget_key(*KEY[:2])
    assert contents(log) == before
    assert log.answered(*KEY) is None


async def test_letting_go_does_not_forget_an_answer(log: Log, clock: Clock) -> None:
    answer = await log.remember(Once(*KEY, status=202, render=said), 3)
    await log.forget_key(*KEY[:2])
    assert log.answered(*KEY) == answer


async def test_a_key_whose_holder_is_gone_is_taken_over(log: Log, clock: Clock) -> None:
    held = await log.hold_key(*KEY)
    clock.pass_by(HOLD + timedelta(seconds=1))
    assert log.answered(*KEY) is None
    assert await log.hold_key(*KEY) == held
    with pytest.raises(InProgress):
        log.answered(*KEY)


async def test_a_key_of_a_command_that_may_have_been_carried_out_is_taken_over_at_once(log: Log, clock: Clock) -> None:
    held = await log.hold_key(*KEY)
    await log.leave_key(*KEY[:2])
    assert log.answered(*KEY) is None
    with pytest.raises(KeyReused):
        await log.hold_key(*KEY[:2], "another body")
    assert await log.hold_key(*KEY) == held


async def test_a_key_that_was_refused_or_forgotten_begins_anew(log: Log, clock: Clock) -> None:
    known = [await log.hold_key(*KEY)]
    for forget in (lambda: log.forget_key(*KEY[:2]), log.forget_old_keys):
        clock.pass_by(KEPT + timedelta(seconds=1))
        await forget()
        known.append(await log.hold_key(*KEY))
    assert len({held.since for held in known if isinstance(held, Held)}) == 3


async def test_a_hold_that_is_renewed_lasts(log: Log, clock: Clock) -> None:
    await log.hold_key(*KEY)
    for _ in range(3):
        clock.pass_by(HOLD * 2 / 3)
        await log.renew_key(*KEY[:2])
    with pytest.raises(InProgress):
        log.answered(*KEY)


async def test_answers_are_kept_for_a_day(log: Log, clock: Clock) -> None:
    await log.remember(Once(*KEY, status=202, render=said), 3)
    clock.pass_by(KEPT - timedelta(seconds=1))
    await log.forget_old_keys()
    assert log.answered(*KEY) is not None
    clock.pass_by(timedelta(seconds=2))
    await log.forget_old_keys()
    assert log.answered(*KEY) is None
