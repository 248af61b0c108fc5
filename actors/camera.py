"""The owner of a camera: the one process that has the device, its live encoder and viewers, and its part of an episode.

It connects when somebody needs it and rests ``CAMERA_REST_S`` after the last one. What only this process needs (OpenCV,
PyAV, aiortc) is imported when it starts, so that a replica can name this class without loading any of it.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from actors.log import now
from actors.part import PartOwner
from domain.camera import Camera
from domain.episode import Quality
from domain.errors import DeviceError, NotFound
from settings import settings

if TYPE_CHECKING:
    from actors.devices.base import CameraDriver, Frame, StreamProfile
    from actors.devices.feed import CameraFeed
    from actors.media.fanout import Fanout
    from actors.media.webrtc import IceServer, Peers

FIRST_FRAME_S = 10.0


class CameraActor(PartOwner[Camera]):
    """Holders (a session, ``:connect``) keep the device open by name; viewers and takes do so by being there.

    ``_settled`` is set once a connection has shown a picture or failed, ``_streaming`` while pictures come."""

    aggregate_type: ClassVar = Camera

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._feed: CameraFeed | None = None
        self._profile: StreamProfile | None = None
        self._streaming = asyncio.Event()
        self._settled = asyncio.Event()
        self._holders: set[str] = set()
        self._needed_at = time.monotonic()
        self._fanout: Fanout | None = None
        self._peers: Peers | None = None
        self._opening = asyncio.Lock()
        self._rest: asyncio.Task[None] | None = None

    async def hold(self, holder: str) -> dict[str, Any]:
        """Keep the device open for ``holder``; answers the stream's profile once a real frame came."""
        self._holders.add(holder)
        return asdict(await self._stream())

    async def release(self, holder: str) -> None:
        self._holders.discard(holder)
        self._needed_at = time.monotonic()

    async def answer(self, offer: str) -> tuple[str, str]:
        """Take a WHEP viewer: its session id and the SDP answer."""
        await self._stream()
        assert self._peers is not None
        return await self._peers.answer(offer)

    async def hang_up(self, session: str) -> bool:
        """End a viewer's session. Raises NotFound."""
        if self._peers is None:
            raise NotFound("This viewer's session has ended already.", code="whep_session_not_found")
        await self._peers.close(session)
        return True

    async def snapshot(self, width: int | None = None) -> bytes:
        """The present picture as JPEG."""
        from actors.media.snapshot import jpeg

        await self._stream()
        frame = self._newest()
        return await asyncio.to_thread(jpeg, frame, width)

    async def stats(self) -> dict[str, Any]:
        """Live numbers: measured fps, frames, viewers, what the live encoder did."""
        viewers = asdict(self._peers.stats()) if self._peers else {"viewers": 0}
        fps = round(self._feed.fps(), 2) if self._feed else 0.0
        return {"fps_measured": fps, "frames": self._feed.frames if self._feed else 0, "node": self.node, **viewers}

    async def begin_take(
        self, folder: str, key: str, quality: Quality, t0_ns: int, fps: int, rows_planned: int | None
    ) -> None:
        """Record this camera's part of an episode: rows at t0 + k / fps into ``folder``, ``rows_planned`` at most."""
        from actors.capture.clock import SessionClock
        from actors.capture.take import CameraTake

        await self.abort_take()
        profile = await self._stream()
        assert self._feed is not None
        clock = SessionClock(t0_ns, fps)
        ring, at = self._feed.ring, Path(folder)
        await self._begin_take(CameraTake(ring, clock, at, key, profile.fps, quality, rows_planned=rows_planned))

    async def refresh(self) -> None:
        """The configuration changed or the camera was deleted: let the device go, and open it anew when needed."""
        before = (self.aggregate.driver, self.aggregate.payload)
        await super().refresh()
        if self.aggregate.deleted:
            self.leave()
        elif before != (self.aggregate.driver, self.aggregate.payload):
            await self._disconnect("its configuration changed")

    async def disconnect(self) -> None:
        """Let the device go now; viewers' sessions end."""
        self._holders.clear()
        await self._disconnect("disconnected on request")

    async def let_go(self) -> None:
        await self.abort_take()
        await self._disconnect("nobody needs it")
        if self._rest is not None and not self.needed:  # who stays after all goes on looking when to rest
            self._rest.cancel()

    async def _stream(self) -> "StreamProfile":
        """Open the device if it is not; return once a real frame came. Raises DeviceError with the reason."""
        self._needed_at = time.monotonic()
        async with self._opening:
            if self._feed is None:
                await self._connect()
        try:
            await asyncio.wait_for(self._settled.wait(), FIRST_FRAME_S)
        except TimeoutError:
            raise self._unobtainable(f"no picture came within {FIRST_FRAME_S:.0f} s; is it plugged in?") from None
        if not self._streaming.is_set() or self._profile is None:
            raise self._unobtainable(self.aggregate.reason or "its device went away")
        return self._profile

    def _unobtainable(self, reason: str) -> DeviceError:
        return DeviceError(f"{self._called} is not obtainable: {reason}")

    async def _connect(self) -> None:
        from actors.devices.feed import CameraFeed

        await self.decide(lambda camera: camera.connect(self.run, self.node, now()))
        self._feed = CameraFeed(
            self._driver,
            lambda profile: self.from_thread(self._on_streaming(profile)),
            lambda reason: self.from_thread(self._on_lost(reason)),
        )
        self._feed.start()
        self._rest = self._rest or asyncio.create_task(self._rest_when_unneeded())

    def _driver(self) -> "CameraDriver":
        from actors.devices import camera_driver

        camera = self.aggregate
        cell_id = f"{camera.project_id}-{camera.payload.get('seed', 0)}"
        return camera_driver(camera.driver, camera.payload, cell_id=cell_id, media_roots=settings().media_roots)

    async def _on_streaming(self, profile: "StreamProfile") -> None:
        from actors.media.fanout import Fanout
        from actors.media.webrtc import Peers

        if self._feed is None:
            return
        self._profile = profile
        await self.decide(lambda camera: camera.stream(profile.width, profile.height, profile.fps, self.node, now()))
        self._fanout = self._fanout or Fanout(self._feed.ring, profile)
        self._peers = self._peers or Peers(
            self._fanout, cast("Sequence[IceServer]", settings().ice_servers), settings().max_viewers
        )
        self._streaming.set()
        self._settled.set()

    async def _on_lost(self, reason: str) -> None:
        self._streaming.clear()
        await self.decide(lambda camera: camera.lose(reason, now()))
        self._settled.set()

    async def _disconnect(self, reason: str) -> None:
        async with self._opening:
            feed, self._feed = self._feed, None
            peers, self._peers = self._peers, None
            fanout, self._fanout = self._fanout, None
            self._streaming.clear()
            self._settled.clear()
            if peers is not None:
                await peers.close_all()
            if fanout is not None:
                await fanout.close()
            if feed is not None:
                await asyncio.to_thread(feed.stop)
            if not self.aggregate.deleted:
                await self.decide(lambda camera: camera.disconnect(reason, now()))

    async def _rest_when_unneeded(self) -> None:
        while True:
            await asyncio.sleep(1)
            if not self.needed:
                self.leave()

    @property
    def needed(self) -> bool:
        viewers = self._peers.stats().viewers if self._peers else 0
        if self._holders or self._take or viewers:
            self._needed_at = time.monotonic()
        return not self.aggregate.deleted and time.monotonic() - self._needed_at < settings().camera_rest_s

    def _lost(self) -> str | None:
        return None if self._streaming.is_set() else self.aggregate.reason or "its device went away"

    def _newest(self) -> "Frame":
        frame = self._feed.ring.latest() if self._feed else None
        if frame is None:
            raise DeviceError(f"{self._called} shows nothing at the moment; try again.")
        return frame
