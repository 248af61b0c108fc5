"""When the log has grown, on real databases."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from actors import wakeup
from actors.log import Log
from domain.errors import NameTaken
from projections import schema
from tests.integration.log_kit import new_camera, new_project

pytestmark = pytest.mark.slow
QUIET_S = 0.3


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[Log]:
    schema.upgrade(database_url)
    log = Log(database_url)
    yield log
    log.close()


async def soon(moments: AsyncGenerator[None, None]) -> bool:
    """Whether the next moment comes before the time is over in which nothing may come."""
    waiting = asyncio.ensure_future(anext(moments))
    done, _ = await asyncio.wait({waiting}, timeout=QUIET_S)
    if not done:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    return bool(done)


async def test_the_first_moment_is_now_and_the_next_when_something_is_appended(log: Log, database_url: str) -> None:
    other = Log(database_url)
    async with aclosing(wakeup.growth(log.engine, log.pulse)) as moments:
        await anext(moments)
        for writer in (other, log, other):
            next_one = asyncio.ensure_future(anext(moments))
            await writer.append(new_project())
            await asyncio.wait_for(next_one, wakeup.LOOK_S / 2)
    other.close()


async def test_what_this_process_appends_is_told_at_once(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "POLL_S", 60.0)
    async with aclosing(wakeup.growth(log.engine, log.pulse)) as moments:
        await anext(moments)
        for _ in range(3):
            next_one = asyncio.ensure_future(anext(moments))
            await asyncio.sleep(0.05)  # it pauses
            await log.append(new_project())
            await asyncio.wait_for(next_one, wakeup.LOOK_S / 2)


async def test_nothing_is_told_when_nothing_happens(log: Log) -> None:
    async with aclosing(wakeup.growth(log.engine, log.pulse)) as moments:
        await anext(moments)
        log.position()
        assert not await soon(moments)


async def test_what_was_rolled_back_is_not_told(log: Log) -> None:
    project = new_project()
    await log.append(project, new_camera(project))
    twin = new_camera(project)  # of a name that is taken
    async with aclosing(wakeup.growth(log.engine, log.pulse)) as moments:
        await anext(moments)
        with pytest.raises(NameTaken):
            await log.append(twin)
        assert not await soon(moments)
