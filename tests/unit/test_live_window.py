"""What all who watch share: bounded, in order, and nobody's pace is anybody else's."""

import asyncio

from actors.live.messages import End
from actors.live.window import CHUNK_BYTES, Change, Telling, Window, chunk


def change(position: int, topic: str = "camera.lost", size: int = 10) -> Change:
    return Change(position, topic, f"{position} ".ljust(size).encode())


def told(window: Window, position: int, *topics: str) -> list[int]:
    """The positions that a reader is told who has come this far."""
    found: list[int] = []
    while True:
        position, text = window.after(position, topics)
        if not text:
            return found
        found += map(int, text.split())


def test_a_reader_gets_what_is_behind_its_position_in_order() -> None:
    window = Window(3)
    window.add([change(5), change(6), change(9)])
    assert [told(window, position) for position in (3, 5, 8, 9)] == [[5, 6, 9], [6, 9], [9], []]
    assert window.position == 9


def test_a_reader_of_few_topics_comes_as_far_as_the_others() -> None:
    window = Window(0)
    window.add([change(1, "job.started"), change(2), change(3, "job.failed"), change(4)])
    assert window.after(0, {"job.started", "job.failed"}) == (4, change(1).message + change(3).message)
    assert window.after(0, {"model.created"}) == (4, b"")


def test_a_reader_that_is_ahead_waits_where_it_is() -> None:
    """It connected when the log had grown and the window had not yet."""
    window = Window(3)
    window.add([change(4)])
    assert window.after(6, ()) == (6, b"")
    assert window.keeps(6)


def test_it_is_bounded_in_number() -> None:
    window = Window(0, depth=3)
    window.add(change(position) for position in range(1, 6))
    assert [window.keeps(position) for position in (0, 1, 2, 5)] == [False, False, True, True]
    assert told(window, 2) == [3, 4, 5]


def test_it_is_bounded_in_bytes() -> None:
    window = Window(0, depth_bytes=100)
    for position in range(1, 100):
        window.add([change(position, size=30)])
    assert told(window, 0) == [97, 98, 99]
    assert not window.keeps(95)
    window.add([change(100, size=101)])
    assert told(window, 0) == []
    assert not window.keeps(99)
    assert window.keeps(100)


def test_much_is_told_in_chunks() -> None:
    size = CHUNK_BYTES // 2 - 1
    changes = [change(position, size=size) for position in range(1, 6)]
    assert chunk(changes, ()) == (3, b"".join(each.message for each in changes[:3]))
    assert chunk([], ()) == (0, b"")
    window = Window(0)
    window.add(changes)
    assert window.after(0, ())[0] == 3
    assert told(window, 0) == [1, 2, 3, 4, 5]


async def test_waiting_ends_with_news() -> None:
    window = Window(0)
    waiting = [asyncio.create_task(window.grown(0, 0, 60)) for _ in range(3)]
    await asyncio.sleep(0)
    window.add([change(1)])
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await window.grown(0, 0, 60)
    assert not await window.grown(1, 0, 0.001)


async def test_waiting_ends_with_the_end() -> None:
    window = Window(0)
    waiting = asyncio.create_task(window.grown(0, 0, 60))
    await asyncio.sleep(0)
    window.end(End.STOPPING)
    window.end(End.FAILED)
    assert await waiting
    assert window.ending is End.STOPPING


async def test_what_is_told_wakes_and_is_told_once() -> None:
    window = Window(0)
    waiting = asyncio.create_task(window.grown(0, 0, 60))
    await asyncio.sleep(0)
    window.tell([Telling("camera.fps", b"30;"), Telling("job.metrics", b"loss;")])
    assert await waiting
    assert (window.since(0, ()), window.since(0, {"job.metrics"}), window.since(window.moment, ())) == (
        b"30;loss;",
        b"loss;",
        b"",
    )
    window.tell([])
    assert not await window.grown(0, window.moment, 0.001)
    window.tell([Telling("camera.fps", b"29;")])
    assert window.since(0, ()) == b"29;"
