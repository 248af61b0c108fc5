"""The newest changes of the log, kept once for all who watch. Pure but for the waiting."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from actors.live.messages import End

DEPTH = 2000
DEPTH_BYTES = 4 * 1024 * 1024
# Ray keeps what is below 100 kB out of its object store.
CHUNK_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Change:
    """An event as everybody is told it: its position in the log, its topic, the finished message."""

    position: int
    topic: str
    message: bytes


@dataclass(frozen=True, slots=True)
class Telling:
    """Something to be told once, to whoever listens now: its topic, the finished message."""

    topic: str
    message: bytes


def chunk(changes: Iterable[Change], topics: Collection[str]) -> tuple[int, bytes]:
    """The messages of these topics (all, if none is named), as many as are sent at a time; and the position of the last
    change that is dealt with, 0 where there is none."""
    reached, text = 0, bytearray()
    for change in changes:
        if len(text) >= CHUNK_BYTES:
            break
        if not topics or change.topic in topics:
            text += change.message
        reached = change.position
    return reached, bytes(text)


class Window:
    """Bounded in number and bytes. A reader keeps only how far it has come, so one that stops reading costs nothing
    more; when the window has moved past it, it has fallen behind. Used on one asyncio loop."""

    def __init__(self, position: int, depth: int = DEPTH, depth_bytes: int = DEPTH_BYTES) -> None:
        self.position = position
        self.ending: End | None = None
        self.detail: str | None = None
        self.moment = 0
        self._tellings: Sequence[Telling] = ()
        self._start = position
        self._depth, self._depth_bytes = depth, depth_bytes
        self._bytes = 0
        self._changes: deque[Change] = deque()
        self._news = asyncio.Event()

    def keeps(self, position: int) -> bool:
        """Whether everything behind ``position`` is still here, or yet to come."""
        return position >= self._start

    def add(self, changes: Iterable[Change]) -> None:
        """Newer changes, in the log's order."""
        for change in changes:
            self._changes.append(change)
            self._bytes += len(change.message)
            self.position = change.position
        while len(self._changes) > self._depth or self._bytes > self._depth_bytes:
            gone = self._changes.popleft()
            self._bytes -= len(gone.message)
            self._start = gone.position
        self._wake()

    def end(self, reason: End, detail: str | None = None) -> None:
        """Nothing more comes; ``detail`` says more than the reason, where somebody knows more."""
        if self.ending is None:
            self.ending, self.detail = reason, detail
        self._wake()

    def after(self, position: int, topics: Collection[str]) -> tuple[int, bytes]:
        """What comes behind ``position``: how far that leads, and the messages (b"" when there are none)."""
        newer = [*takewhile(lambda change: change.position > position, reversed(self._changes))]
        reached, text = chunk(reversed(newer), topics)
        return max(position, reached), text

    def tell(self, tellings: Sequence[Telling]) -> None:
        """What is worth telling at this moment, in place of what was."""
        if tellings:
            self.moment += 1
            self._tellings = tellings
            self._wake()

    def since(self, moment: int, topics: Collection[str]) -> bytes:
        """What is told of these topics, if it is newer than ``moment``."""
        if moment == self.moment:
            return b""
        return b"".join(each.message for each in self._tellings if not topics or each.topic in topics)

    async def grown(self, position: int, moment: int, within_s: float) -> bool:
        """Wait for what is behind ``position`` or newer than ``moment``, or for the end. False when nothing came within
        the time."""
        if self.position > position or self.moment != moment or self.ending:
            return True
        try:
            async with asyncio.timeout(within_s):
                return await self._news.wait()
        except TimeoutError:
            return False

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
