"""The queue between the encoder and each viewer, without encoder, network or clock."""

import asyncio

import pytest
from av.packet import Packet

from actors.devices.base import Frame, StreamProfile
from actors.devices.ring import Ring
from actors.media.fanout import Fanout, PacketQueue, Subscription
from domain.errors import Unavailable


def packet(keyframe: bool = False) -> Packet:
    made = Packet(8)
    made.is_keyframe = keyframe
    return made


@pytest.fixture
def fanout() -> Fanout:
    return Fanout(Ring[Frame](), StreamProfile(64, 48, 30.0), linger_s=0.0)


def drain(queue: PacketQueue) -> list[Packet]:
    return list(iter(queue.take, None))


def test_queue_starts_at_a_keyframe_and_does_not_call_the_wait_a_loss() -> None:
    queue = PacketQueue()
    key, delta = packet(keyframe=True), packet()
    assert [queue.put(packet()), queue.put(key), queue.put(delta)] == [False, True, False]
    assert drain(queue) == [key, delta]
    assert queue.dropped == 0


def test_full_queue_drops_to_the_next_keyframe_and_counts() -> None:
    queue = PacketQueue(depth=3)
    for item in (packet(keyframe=True), packet(), packet(), packet(), packet()):
        queue.put(item)
    assert queue.waiting
    assert queue.dropped == 5
    assert drain(queue) == []
    key, delta = packet(keyframe=True), packet()
    queue.put(key)
    queue.put(delta)
    assert drain(queue) == [key, delta]
    assert not queue.waiting


def test_full_queue_goes_on_with_a_keyframe_at_once() -> None:
    queue = PacketQueue(depth=2)
    newest = packet(keyframe=True)
    for item in (packet(keyframe=True), packet(), newest):
        queue.put(item)
    assert drain(queue) == [newest]
    assert queue.dropped == 2


def test_queue_tells_when_a_reader_must_be_woken() -> None:
    queue = PacketQueue()
    assert queue.put(packet(keyframe=True))
    assert not queue.put(packet())
    drain(queue)
    assert queue.put(packet())


async def test_slow_viewer_loses_packets_and_the_quick_one_none(fanout: Fanout) -> None:
    slow, quick = fanout.subscribe(), fanout.subscribe()
    sent = [packet(keyframe=i % 10 == 0) for i in range(100)]
    received = []
    for item in sent:
        slow.put(item)
        quick.put(item)
        received.append(await quick.get())
    assert received == sent
    assert (quick.dropped, slow.dropped) == (0, 90)
    assert (await slow.get()).is_keyframe
    assert fanout.dropped == 90
    await fanout.close()
    assert fanout.dropped == 90


async def test_closed_subscription_ends_a_waiting_get(fanout: Fanout) -> None:
    subscription = fanout.subscribe()
    waiting = asyncio.create_task(subscription.get())
    await asyncio.sleep(0)
    subscription.close()
    subscription.close()
    with pytest.raises(Unavailable, match="left"):
        await waiting
    await fanout.close()


async def test_closing_the_fanout_tells_every_viewer(fanout: Fanout) -> None:
    viewers: list[Subscription] = [fanout.subscribe() for _ in range(3)]
    await fanout.close()
    assert not fanout.encoding
    for viewer in viewers:
        with pytest.raises(Unavailable, match="Connect again"):
            await viewer.get()


async def test_encoder_runs_from_the_first_viewer_to_the_last(fanout: Fanout) -> None:
    assert not fanout.encoding
    first, second = fanout.subscribe(), fanout.subscribe()
    assert fanout.encoding
    first.close()
    await asyncio.sleep(0.01)
    assert fanout.encoding
    second.close()
    await asyncio.sleep(0.01)
    assert not fanout.encoding
    await fanout.close()


async def test_viewer_that_comes_within_the_linger_keeps_the_encoder() -> None:
    fanout = Fanout(Ring[Frame](), StreamProfile(64, 48, 30.0), linger_s=0.02)
    fanout.subscribe().close()
    back = fanout.subscribe()
    await asyncio.sleep(0.05)
    assert fanout.encoding
    back.close()
    await fanout.close()
