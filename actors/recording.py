"""The owner of a recording session: coordinates the parts of each episode, checks, seals, publishes.

The parts write their own files in their own processes; this one says when row 0 is, which row is the last, and makes
the episode of what they wrote. After a crash it takes up what the log says was going on: an episode that was being
recorded is interrupted with the rows that are whole, one that was being saved is saved.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid4

from actors import disk
from actors.entity import Entity
from actors.log import now
from actors.parts import FINISH_S, OPEN_S, Parts
from actors.publishing import publish_newest
from actors.saving import Saving
from actors.schedule import Schedule
from actors.takes import Takes, warm_up
from domain.camera import Camera
from domain.dataset import Dataset
from domain.errors import Conflict, GetiActionError, RecordingFailed, StorageFull, Unavailable
from domain.recording import KeepEpisode, Recording, RecordingState, SaveEpisode, StartEpisode
from domain.robot import Robot
from domain.takes import Take
from settings import settings

if TYPE_CHECKING:
    from actors.capture.manifest import EpisodeMeta

LINGER_S = 5.0
AGAIN_S = 2.0

logger = logging.getLogger(__name__)


class RecordingActor(Entity[Recording]):
    """Commands run one at a time; between them a heartbeat renews the parts' leases and watches the devices."""

    aggregate_type: ClassVar = Recording

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._commands = asyncio.Lock()
        self._settled, self._opened = asyncio.Event(), asyncio.Event()
        self._parts = Parts(self.id, self.aggregate.camera_ids, self.aggregate.robot_id)
        self._keys: list[str] = []
        self._stopping = False
        self._schedule = Schedule(lambda: self.aggregate)
        self._takes = Takes(settings().datasets_dir / str(self.aggregate.dataset_id))
        self._saving = Saving(self, self._takes, self._save_failed)

    async def wake(self) -> None:
        await super().wake()
        async with self._commands:
            await self._patiently(self._settle)
            self._settled.set()
            if not self.aggregate.ended:
                await self._patiently(self._take_up)
            self._opened.set()
        if self.aggregate.ended:
            await asyncio.sleep(LINGER_S)  # who woke it, to keep or discard what was interrupted, asks now
            self.leave()
        else:
            await self._beat_until_closed()

    @property
    def needed(self) -> bool:
        return self._commands.locked() or bool(self._saving)

    async def settled(self) -> None:
        """Returns once the log says how the episode ended that was open when the process before this one was lost."""
        await self._settled.wait()

    async def opened(self) -> None:
        """Returns once every device delivers. Raises RecordingFailed with the reason."""
        await asyncio.wait_for(self._opened.wait(), OPEN_S + FINISH_S)
        if self.aggregate.state is RecordingState.FAILED:
            raise RecordingFailed(f"The session could not open: {self.aggregate.reason}")

    async def start_episode(self, command: StartEpisode, episode_id: str) -> dict[str, Any]:
        """Begin an episode; answers {episode_id}. Row 0 is taken a moment after."""
        async with self._commands:
            self._use()
            self.aggregate.check_open()
            id = command.episode_id or UUID(episode_id)
            await self._start(id, command)
            return {"episode_id": str(id)}

    async def save_episode(self, command: SaveEpisode) -> dict[str, Any]:
        """End the open episode; answers its facts once it is durable and in the dataset. The next one can start before
        that."""
        async with self._commands:
            self._use()
            self.aggregate.check_open()
            self._saving.begin_all()
            if command.episode_id not in self.aggregate.takes.saved.keys() | self.aggregate.takes.saving.keys():
                await self._end_to_save(command)
        await self._saving.done(command.episode_id)
        return await self._saved(command.episode_id)

    async def keep_episode(self, command: KeepEpisode) -> dict[str, Any]:
        """Save what is whole of an interrupted episode."""
        async with self._clearing_up():
            self._saving.begin_all()
            await self._saving.all_done()
            if command.episode_id not in self.aggregate.takes.saved:
                await self.decide(lambda recording: recording.keep(command, now()))
                self._saving.begin(command.episode_id)
                await self._saving.done(command.episode_id)
            return await self._saved(command.episode_id)

    async def discard_episode(self, episode_id: str) -> dict[str, Any]:
        """The open one, or one that was interrupted."""
        async with self._clearing_up():
            if await self._discard(UUID(episode_id)):
                self._schedule.go_on()
            return {"episode_id": episode_id}

    @asynccontextmanager
    async def _clearing_up(self) -> AsyncIterator[None]:
        """The turn of a command that a session takes also when it has ended: it is woken for that, and leaves again."""
        await self._opened.wait()  # what was being done when the process before this one was lost is done by then
        try:
            async with self._commands:
                self._use()
                yield
        finally:
            if self.aggregate.ended:
                self.leave()

    async def pause(self) -> None:
        """No episode starts by itself until the operator starts one; the open one goes on."""
        async with self._commands:
            self._use()
            self.aggregate.check_open()
            self._schedule.hold()

    async def close(self, reason: str) -> None:
        """End the session; an open episode is kept as interrupted."""
        async with self._commands:
            self.must_match()
            if self.aggregate.takes.open is not None:
                await self._interrupt(f"the session ended: {reason}")
            self._saving.begin_all()
            await self._saving.all_done()
            await self._parts.release()
            await self.decide(lambda recording: recording.close(reason, now()))
            self._stopping = True
        self.leave()

    async def live(self) -> dict[str, Any]:
        """{episode, next_episode_in_s}, each None where there is none."""
        return {"episode": await self._live_episode(), "next_episode_in_s": self._schedule.next_in_s()}

    async def _live_episode(self) -> dict[str, Any] | None:
        take = self.aggregate.takes.open
        if take is None:
            return None
        running_s = self._schedule.running_s()
        room: dict[str, Any] = {}
        if self.aggregate.dataset_id is not None:
            room["disk_free_bytes"] = await asyncio.to_thread(disk.free_bytes)
            room["recordable_s"] = disk.recordable_s(await self._takes.size_bytes(take.episode_id), running_s)
        robot = await self._parts.robot_stats()
        return {"episode_id": str(take.episode_id), **self._parts.numbers(running_s), **room, "robot": robot}

    # opening and taking up

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Nobody waits who could try again when the log, or its disk, is in trouble; so this does."""
        while True:
            try:
                return await step()
            except (Unavailable, StorageFull) as error:
                logger.warning("session %s is taken up in a moment: %s", self.id, error.detail)
            await asyncio.sleep(AGAIN_S)

    async def _settle(self) -> None:
        """What was being recorded is interrupted, what was being saved is saved: parts that were lost too have left
        their rows on disk."""
        if self.aggregate.takes.is_busy:
            await self._stop_parts()
        if self.aggregate.takes.open is not None:
            await self._interrupt("the session's process was lost")
        self._saving.begin_all()
        await self._saving.all_done()
        if self.aggregate.takes.saving:  # and not even that could be noted
            raise Unavailable("An episode could not be saved yet.")

    async def _take_up(self) -> None:
        """Bring the world to where the log says the session is."""
        try:
            if self.aggregate.dataset_id is not None:
                await asyncio.to_thread(publish_newest, settings().datasets_dir, self._dataset)
            await asyncio.wait_for(self._hold_devices(), OPEN_S)
        except TimeoutError:
            await self._fail(f"its devices did not answer within {OPEN_S:.0f} s")
        except GetiActionError as error:
            await self._fail(error.detail)
        except Exception:
            logger.exception("session %s could not open", self.id)
            await self._fail("something failed that should not have; the server's log says what")
        else:
            await self.decide(lambda recording: recording.ready(self.run, self.node, now()))

    async def _fail(self, reason: str) -> None:
        await self._parts.release()
        await self.decide(lambda recording: recording.fail(reason, now()))

    async def _hold_devices(self) -> None:
        """Wake and keep every device; refuse those whose rows would not fit the dataset's."""
        await asyncio.gather(self._parts.hold(self.aggregate.tele_operator), asyncio.to_thread(warm_up))
        from actors.capture.manifest import feature_keys

        names = [self.log.load(Camera, id).name for id in self.aggregate.camera_ids]
        self._keys = feature_keys(names)
        if self.aggregate.dataset_id is not None and (episodes := self._dataset.episodes):
            sizes = dict(zip(self._keys, self._parts.sizes, strict=True))
            await self._takes.refuse_misfit(episodes[0].episode_id, sizes, self._parts.joint_names)

    # one episode

    async def _start(self, id: UUID, command: StartEpisode) -> None:
        is_new = self.aggregate.takes.open is None
        if is_new:
            if self.aggregate.dataset_id is not None:
                await asyncio.to_thread(disk.check_recording)
            await self._refuse_used(id)
            await self._hold_devices()
        await self.decide(lambda recording: recording.start(id, command, now()))
        if is_new:
            self._schedule.started()
            await self._begin_or_discard(id)

    async def _refuse_used(self, id: UUID) -> None:
        """Another session's episode or take of this id would be written over, or be in the way of this one's."""
        if self.aggregate.dataset_id is None or self.aggregate.takes.knows(id):  # it says itself how those ended
            return
        if id in self._dataset.order or await self._takes.has(id):
            raise Conflict(f"The dataset has an episode or a take {id} already; choose another id.")

    async def _end_to_save(self, command: SaveEpisode) -> None:
        """Let every part of the open episode write up to the last row; it is saved in the background."""
        rows = self._schedule.rows_by_now()
        self._must_write()
        await self.decide(lambda recording: recording.end(command, rows, now()))
        try:
            reports = await self._parts.finish(rows - 1)
        except GetiActionError as error:
            await self._stop_parts()
            await self._save_failed(command.episode_id, error.detail)
            raise
        self._saving.begin(command.episode_id, reports)
        self._schedule.go_on()

    async def _begin(self) -> None:
        self._schedule.set_rows()
        t0_ns, fps, take = self._schedule.t0_ns, self.aggregate.fps, self._open_take
        await self._parts.reset(t0_ns, fps, take.number)
        if self.aggregate.dataset_id is None:
            return
        folder = await self._takes.open(self._meta(take))
        await self._parts.begin(folder, self._keys, self.aggregate.quality, t0_ns, fps, self.aggregate.rows_planned)

    async def _begin_or_discard(self, episode_id: UUID) -> None:
        """An episode that cannot even begin leaves nothing behind."""
        try:
            await self._begin()
        except GetiActionError:
            await self._discard(episode_id)
            raise

    async def _discard(self, episode_id: UUID) -> bool:
        """Whether it was the open one, whose parts then end; that of another goes on."""
        was_open = self.aggregate.takes.is_open(episode_id)
        await self.decide(lambda recording: recording.discard(episode_id, now()))
        if was_open:
            await self._stop_parts()
        if self.aggregate.dataset_id is not None:
            await self._takes.discard(episode_id)
        return was_open

    async def _saved(self, episode_id: UUID) -> dict[str, Any]:
        facts = await self._takes.facts(episode_id)
        return {**facts.model_dump(mode="json"), "episode_index": self.aggregate.takes.saved[episode_id]}

    async def _interrupt(self, reason: str) -> None:
        """The open episode ends against our will."""
        await self._stop_parts()
        episode_id = self._open_take.episode_id
        if self.aggregate.dataset_id is None:  # practice: nothing was written that could be kept
            await self._discard(episode_id)
            return
        await self._note_interrupted(episode_id, reason)

    async def _save_failed(self, episode_id: UUID, reason: str) -> None:
        """Nothing goes on by itself until somebody has seen to it."""
        self._schedule.hold()
        await self._note_interrupted(episode_id, reason)

    async def _note_interrupted(self, episode_id: UUID, reason: str) -> None:
        rows = await self._takes.whole_rows(episode_id)
        await self.decide(lambda recording: recording.interrupt(episode_id, rows, reason, now()))

    async def _stop_parts(self) -> None:
        if not self.aggregate.ended:  # else they are others' by now
            await self._parts.stop()

    # heartbeat

    async def _beat_until_closed(self) -> None:
        while not self._stopping:
            await asyncio.sleep(self._schedule.until_next_step())
            if not self._commands.locked():
                await self._patiently(self._beat)

    async def _beat(self) -> None:
        if self._schedule.is_idle():
            await self.close(f"no command for {timedelta(seconds=self.aggregate.idle_timeout_s)}")
            return
        async with self._commands:
            if self._stopping:
                return
            try:
                await self._follow_plan()
            except GetiActionError as error:
                logger.warning("session %s does not go on by itself: %s", self.id, error.detail)
                self._schedule.hold()
            if self.aggregate.takes.open is None or self.aggregate.dataset_id is None:
                return
            lost = await self._parts.watch() or await asyncio.to_thread(disk.short_for_recording)
            if lost is not None:
                await self._interrupt(lost)

    async def _follow_plan(self) -> None:
        """Save the episode that has all its rows, or start the next one after the pause."""
        take = self.aggregate.takes.open
        if take is not None and self._schedule.episode_end_s() == 0:
            self._schedule.use()
            await self._end_to_save(SaveEpisode(episode_id=take.episode_id))
        elif take is None and self._schedule.next_in_s() == 0:
            self._schedule.use()
            await self._start(uuid4(), StartEpisode())

    def _use(self) -> None:
        """A command's turn came: the session is not idle. Refuses when it is another than was seen."""
        self._schedule.use()
        self.must_match()

    # small things

    @property
    def _dataset(self) -> Dataset:
        assert self.aggregate.dataset_id is not None
        return self.log.load(Dataset, self.aggregate.dataset_id)

    @property
    def _open_take(self) -> Take:
        assert self.aggregate.takes.open is not None
        return self.aggregate.takes.open

    def _must_write(self) -> None:
        if self.aggregate.dataset_id is None:
            raise Conflict("This is practice: nothing is written. Open a session with a dataset_id to save episodes.")

    def _meta(self, take: Take) -> "EpisodeMeta":
        from actors.capture.manifest import EpisodeMeta

        assert self.aggregate.dataset_id is not None
        return EpisodeMeta(
            episode_id=take.episode_id,
            recording_id=self.id,
            dataset_id=self.aggregate.dataset_id,
            task=take.task,
            fps=self.aggregate.fps,
            started_at=take.started_at,
            t0_ns=self._schedule.t0_ns,
            robot_type=self.log.load(Robot, self.aggregate.robot_id).type,
            joint_names=self._parts.joint_names,
            control_hz=self._parts.control_hz,
            cameras=tuple(self._keys),
            limits=self.aggregate.limits,
            quality=self.aggregate.quality,
        )
