"""What the media tests share: a camera stand-in, a real WebRTC viewer, and a wait; the stand-in is tested first."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from actors.devices.base import Frame, StreamProfile
from actors.devices.ring import Ring
from actors.media.webrtc import Peers, mend_ice

VGA = StreamProfile(640, 480, 30.0)


class MovingPictures:
    """A camera stand-in: a thread that puts a bar wandering over a gradient into a ring, on an even clock."""

    def __init__(self, profile: StreamProfile = VGA) -> None:
        self.ring: Ring[Frame] = Ring()
        self.profile = profile
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="moving-pictures", daemon=True)
        ramp = np.linspace(20, 220, profile.width, dtype=np.uint8)
        self._still = np.broadcast_to(ramp[None, :, None], (profile.height, profile.width, 3))

    def __enter__(self) -> "MovingPictures":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(2)

    def _run(self) -> None:
        began, sequence = time.monotonic(), 0
        while not self._stopping.wait(max(0.0, began + sequence / self.profile.fps - time.monotonic())):
            image = self._still.copy()
            left = sequence * 5 % (self.profile.width - 40)
            image[:, left : left + 40] = 250
            self.ring.put(Frame(image, "rgb24", sequence, time.monotonic_ns()))
            sequence += 1


class Viewer:
    """A WebRTC client that counts what it decodes."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pc.addTransceiver("video", direction="recvonly")
        self.pc.on("track", lambda track: self._start(track))
        self.frames = 0
        self.size: tuple[int, int] | None = None
        self.first = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _start(self, track: object) -> None:
        self._task = asyncio.create_task(self._watch(track))

    async def _watch(self, track: object) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                picture = await track.recv()
                self.frames += 1
                self.size = (picture.width, picture.height)
                self.first.set()

    async def offer(self) -> str:
        mend_ice(self.pc)
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return self.pc.localDescription.sdp

    async def join(self, peers: Peers) -> str:
        session_id, answer = await peers.answer(await self.offer())
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        return session_id

    async def close(self) -> None:
        await self.pc.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


async def until(condition: Callable[[], bool], timeout_s: float) -> float:
    """Seconds until ``condition()`` holds, looked at fifty times a second."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < timeout_s, f"not within {timeout_s} s"
        await asyncio.sleep(0.02)
    return time.perf_counter() - began


def test_stand_in_delivers_different_pictures() -> None:
    with MovingPictures() as camera:
        first = camera.ring.wait_newer(-1, 2)
        second = camera.ring.wait_newer(first.sequence, 2)
    assert second.captured_ns > first.captured_ns
    assert (first.image != second.image).any()
