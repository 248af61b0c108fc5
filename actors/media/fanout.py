"""One encoder's packets to any number of viewers, each behind a bounded queue of its own."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from av.packet import Packet

from actors.devices.base import Frame, StreamProfile
from actors.devices.ring import Ring
from actors.media.encoder import LiveEncoder
from domain.errors import Unavailable

DEPTH = 30
LINGER_S = 3.0


class PacketQueue:
    """Bounded and thread-safe. It starts at a keyframe, and when full it empties itself and waits for the next one:
    a packet after a missing one cannot be decoded, so anything else would show broken pictures."""

    def __init__(self, depth: int = DEPTH) -> None:
        self._depth = depth
        self._packets: deque[Packet] = deque()
        self._lock = threading.Lock()
        self._waiting = True
        self._begun = False
        self.dropped = 0

    def put(self, packet: Packet) -> bool:
        """Take or drop one packet. True if the queue was empty before and has something now."""
        with self._lock:
            if len(self._packets) >= self._depth:
                self.dropped += len(self._packets)
                self._packets.clear()
                self._waiting = True
            if self._waiting and not packet.is_keyframe:
                self.dropped += self._begun  # what came before a viewer's first picture is no loss
                return False
            self._waiting, self._begun = False, True
            self._packets.append(packet)
            return len(self._packets) == 1

    def take(self) -> Packet | None:
        with self._lock:
            return self._packets.popleft() if self._packets else None

    @property
    def waiting(self) -> bool:
        """Whether nothing is taken before the next keyframe."""
        return self._waiting


class Subscription:
    """One viewer's packets, from a keyframe on. Used on the loop that subscribed."""

    def __init__(self, fanout: "Fanout") -> None:
        self._fanout = fanout
        self._queue = PacketQueue()
        self._ready = asyncio.Event()
        self._error: Unavailable | None = None

    @property
    def dropped(self) -> int:
        """Packets this viewer was too slow for."""
        return self._queue.dropped

    async def get(self) -> Packet:
        """The next packet. Raises Unavailable once the stream has ended, saying why."""
        while (packet := self._queue.take()) is None:
            if self._error is not None:
                raise self._error
            self._ready.clear()
            await self._ready.wait()
        return packet

    def close(self) -> None:
        """Leave; repeatable. A ``get`` that waits raises Unavailable."""
        self._fanout.unsubscribe(self)
        self.end(Unavailable("This viewer left the stream."))

    def put(self, packet: Packet) -> None:
        self._queue.put(packet)
        if self._queue.waiting:
            self._fanout.request_keyframe()
        self._ready.set()

    def end(self, error: Unavailable) -> None:
        self._error = self._error or error
        self._ready.set()


class Fanout:
    """A camera's live stream: the first subscriber starts the encoder, ``linger_s`` after the last one left it stops.

    Used on one asyncio loop; only the encoder's two callbacks come from its thread.
    """

    def __init__(self, ring: Ring[Frame], profile: StreamProfile, linger_s: float = LINGER_S) -> None:
        self._encoder = LiveEncoder(ring, profile, self._arrived, self._failed)
        self._linger_s = linger_s
        self._intake = PacketQueue()
        self._subscriptions: set[Subscription] = set()
        self._dropped_before = 0
        self._rest: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def encoding(self) -> bool:
        return self._encoder.running

    @property
    def encoded(self) -> int:
        """Frames encoded since the beginning."""
        return self._encoder.encoded

    @property
    def dropped(self) -> int:
        """Packets dropped for slow viewers or a stalled loop since the beginning."""
        return self._dropped_before + self._intake.dropped + sum(viewer.dropped for viewer in self._subscriptions)

    def subscribe(self) -> Subscription:
        """Join; the first picture is a keyframe, asked for now."""
        self._loop = asyncio.get_running_loop()
        self._stay()
        subscription = Subscription(self)
        self._subscriptions.add(subscription)
        self._encoder.start()
        self._encoder.request_keyframe()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions:
            return
        self._forget(subscription)
        if not self._subscriptions:
            self._stay()
            self._rest = asyncio.get_running_loop().call_later(self._linger_s, self._encoder.stop)

    def request_keyframe(self) -> None:
        self._encoder.request_keyframe()

    async def close(self) -> None:
        """End every subscription and the encoder; returns when its thread is gone."""
        self._end(Unavailable("The camera was closed. Connect again to see it."))
        self._stay()
        self._encoder.stop()
        await asyncio.to_thread(self._encoder.join, 2.0)

    def _stay(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        self._dropped_before += subscription.dropped

    def _arrived(self, packet: Packet) -> None:
        # One wake-up for all that waits, so that a loop that stalls does not pile up callbacks either.
        if self._intake.put(packet):
            self._call(self._distribute)
        elif self._intake.waiting:
            self._encoder.request_keyframe()

    def _failed(self, error: Exception) -> None:
        self._call(self._end, Unavailable(f"The live video of this camera failed ({error}). Connect again to retry."))

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _distribute(self) -> None:
        while (packet := self._intake.take()) is not None:
            for subscription in tuple(self._subscriptions):
                subscription.put(packet)

    def _end(self, error: Unavailable) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.end(error)
            self._forget(subscription)
