"""Live updates: one reader of the log a replica, any number of streams. Whoever comes back from far behind reads pages
of the log by itself until the window keeps what it needs."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager

from sqlalchemy.exc import OperationalError

from actors import wakeup
from actors.codec import Unreadable
from actors.live import messages
from actors.live.messages import End
from actors.live.window import Change, Telling, Window, chunk
from actors.log import Log
from domain.errors import GetiActionError, Unavailable

KEEP_ALIVE_S = 15.0
MAX_STREAMS = 500
MAX_BYTES = 1024 * 1024
PAGE = 200
# Telling a change costs Serve about this much a stream: many streams are told less often, and more at a time.
PACE_S = 0.001
LOOK_S = 1.0
Look = Callable[[], Awaitable[Sequence[Telling]]]

logger = logging.getLogger(__name__)


class Live:
    """The streams of one replica. Used on one asyncio loop; reads the log only while somebody watches."""

    def __init__(self, log: Log, look: Look | None = None) -> None:
        """``look`` says what moves without being a change."""
        self._log = log
        self._look = look
        self._streams = 0
        self._window: Window | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def check_open(self) -> None:
        """Raises Unavailable when there is no room for another stream, or never will be."""
        if self._stopping:
            raise Unavailable("The server is stopping; connect again when it is back.")
        if self._streams >= MAX_STREAMS:
            raise Unavailable(f"{MAX_STREAMS} streams are open, which is all there may be; close one, then try again.")

    def stop(self) -> None:
        """End every stream, and let none begin."""
        self._stopping = True
        if self._window is not None:
            self._window.end(End.STOPPING)

    async def stream(self, position: int, newest: int, topics: Collection[str]) -> AsyncGenerator[bytes, None]:
        """Every change of these topics (all, if none is named) behind ``position``, once and in order, as server-sent
        events; ``newest`` is where the log ends. Ends by itself only with a message that says why."""
        with self._watching() as window:
            yield messages.hello(position, newest)
            try:
                async with aclosing(bounded(self._changes(window, position, topics))) as texts:
                    async for text in texts:
                        yield text
            except Exception as error:
                logger.exception("The log cannot be read; a stream of live updates ends.")
                yield messages.end(End.FAILED, self._told(error))

    async def _changes(self, window: Window, position: int, topics: Collection[str]) -> AsyncGenerator[bytes, None]:
        while not window.keeps(position) and not window.ending:
            position, text = await asyncio.to_thread(self._older, position, window.position, topics)
            if text:
                yield text
        moment = window.moment
        while window.keeps(position):
            position, text = window.after(position, topics)
            text += window.since(moment, topics)
            moment = window.moment
            if text:
                yield text
            elif window.ending:
                break
            elif not await window.grown(position, moment, KEEP_ALIVE_S):
                yield messages.still_here(position)
        yield messages.end(window.ending or End.SLOW, window.detail)

    def _older(self, position: int, until: int, topics: Collection[str]) -> tuple[int, bytes]:
        """A chunk from the log. Where it has no more of these topics, that leads at least to ``until``, which is not
        behind its end."""
        page = self._page(position, topics)
        reached, text = chunk(page, topics)
        whole = len(page) < PAGE and (not page or reached == page[-1].position)
        return max(reached, until) if whole else reached, text

    def _page(self, position: int, topics: Collection[str] = ()) -> list[Change]:
        page = self._log.page(position, PAGE, topics)
        return [Change(at, event.TOPIC, messages.change(at, event)) for at, event in page]

    @contextmanager
    def _watching(self) -> Iterator[Window]:
        self._streams += 1
        try:
            yield self._followed()
        finally:
            self._streams -= 1
            if not self._streams:
                self._leave_off()

    def _followed(self) -> Window:
        if self._window is None or self._window.ending:
            self._leave_off()
            self._window = Window(self._log.position())
            self._tasks = [asyncio.create_task(work(self._window)) for work in (self._follow, self._sample)]
        return self._window

    def _leave_off(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks, self._window = [], None

    async def _sample(self, window: Window) -> None:
        """Look at what moves."""
        while self._look is not None and not window.ending:
            try:
                window.tell(await self._look())
            except (GetiActionError, OperationalError) as error:
                logger.warning("Live numbers are left out for now: %s", error)
            await asyncio.sleep(LOOK_S)

    async def _follow(self, window: Window) -> None:
        try:
            async with aclosing(wakeup.growth(self._log.engine, self._log.pulse)) as moments:
                async for _ in moments:
                    await self._read_on(window)
                    await asyncio.sleep(PACE_S * self._streams)
        except Exception as error:
            logger.exception("The log cannot be read on; streams of live updates end.")
            window.end(End.FAILED, self._told(error))

    def _told(self, error: Exception) -> str | None:
        """What a reader may know of it: an event that cannot be read is named, and remembered."""
        if not isinstance(error, Unreadable):
            return None
        self._log.unread.note(error)
        return error.detail

    async def _read_on(self, window: Window) -> None:
        while True:
            try:
                page = await asyncio.to_thread(self._page, window.position)
            except OperationalError as error:
                logger.warning("The log cannot be read (%s); trying again.", error.orig)
                await asyncio.sleep(wakeup.RETRY_S)
                continue
            window.add(page)
            if len(page) < PAGE:
                return


async def bounded(stream: AsyncGenerator[bytes, None], most_bytes: int = MAX_BYTES) -> AsyncGenerator[bytes, None]:
    """The stream, until it has said so much. Serve takes whatever it is given at once, so nobody here sees a client
    that does not read; what it was sent waits in the proxy, and this is all that it can cost."""
    said = 0
    async with aclosing(stream):
        async for text in stream:
            yield text
            said += len(text)
            if said >= most_bytes:
                yield messages.end(End.FULL)
                return
