"""Recording at the bench: a planned session from a terminal, with take keys and a bell, through the public HTTP API."""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from client.api import Api, Refused
from client.bars import Bars, Line

LOOK_S = 0.25
KEYS = "Keys: → save (or start the next now) · ← once more · space pause · Esc end"


class Key(Enum):
    """What a terminal sends for a take key."""

    SAVE = "\x1b[C"
    AGAIN = "\x1b[D"
    PAUSE = " "
    END = "\x1b"


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """``dataset`` is a name or an id; with None there must be just one. Times are in seconds."""

    dataset: str | None
    task: str | None
    fps: int
    episodes: int
    episode_time_s: float
    reset_time_s: float
    codec: str
    crf: int | None


def record_at_the_bench(url: str, options: RecordingOptions, bars: Bars, bell: Callable[[], object]) -> None:
    """Until the episodes are saved, or somebody ends it; the session is closed in any case. Raises Refused."""
    api = Api(url)
    dataset = _dataset(api, options.dataset)
    sessions = f"/projects/{dataset['project_id']}/recordings"
    for number in (signal.SIGHUP, signal.SIGTERM):  # a terminal that is closed closes the session, too
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with bars.line("recording", "opens the session", options.episodes) as line, _take_keys() as keys:
        session = f"{sessions}/{api.post(sessions, _body(dataset, options))['id']}"
        if sys.stdin.isatty():
            bars.say(KEYS)
        try:
            api.post(f"{session}:start_episode")
            saved = _Session(api, session, options, bars, line, bell).run(keys)
        finally:
            _tell_left(api.post(f"{session}:close")["interrupted"], f"{url}/api{session}", bars)
        words = f"saved {saved} episodes in '{dataset['name']}': {url}/api/dataset/{dataset['id']}/episodes"
        (line.end(words) if saved >= options.episodes else line.tell(words, saved))


def _tell_left(interrupted: list[dict[str, Any]], session: str, bars: Bars) -> None:
    for take in interrupted:
        bars.say(f"Take {take['number']} is left as interrupted, with {take['rows']} rows. Keep or discard it by")
        bars.say(f"POST {session}:keep or :discard_episode {{'episode_id': '{take['episode_id']}'}}".replace("'", '"'))


def _dataset(api: Api, wanted: str | None) -> dict[str, Any]:
    known = [dataset for project in api.get("/projects") for dataset in project["datasets"]]
    found = [each for each in known if wanted in (None, each["id"], each["name"])]
    if len(found) != 1:
        there = ", ".join(f"'{each['name']}' ({each['id']})" for each in known) or "none yet; make one, or try `demo`"
        raise Refused(f"Name one dataset by --dataset NAME or ID. There are: {there}.")
    dataset: dict[str, Any] = api.get(f"/dataset/{found[0]['id']}")
    return dataset


def _body(dataset: dict[str, Any], options: RecordingOptions) -> dict[str, Any]:
    return {
        "environment_id": dataset["environment_id"],
        "dataset_id": dataset["id"],
        "fps": options.fps,
        "task": options.task,
        "episodes": options.episodes,
        "episode_time_s": options.episode_time_s,
        "reset_time_s": options.reset_time_s,
        "codec": options.codec,
        "crf": options.crf,
    }


class _Session:
    """Follows one session: says what it does, and does what keys say."""

    def __init__(
        self, api: Api, session: str, options: RecordingOptions, bars: Bars, line: Line, bell: Callable[[], object]
    ) -> None:
        self._api, self._session, self._options = api, session, options
        self._bars, self._line, self._bell = bars, line, bell
        self._before: tuple[str, int] | None = None
        self._interrupted = 0

    def run(self, keys: Iterator[Key | None]) -> int:
        """How many episodes were saved."""
        while True:
            found = self._api.get(self._session)
            self._tell(found)
            if found["state"] in ("closed", "failed"):
                raise Refused(f"The session is {found['state']}: {found['reason']}")
            saved = int(found["episodes_saved"])
            if saved >= self._options.episodes or (key := next(keys)) is Key.END:
                return saved
            if key is not None:
                self._press(key, found)

    def _tell(self, found: dict[str, Any]) -> None:
        saved, now = found["episodes_saved"], (found["state"], found["episodes_saved"])
        if now != self._before:  # somebody beside a robot listens more than he reads
            self._bell()
        self._before = now
        self._line.tell(_words(found, self._options), saved)
        lost = found["interrupted"][self._interrupted :]
        self._interrupted += len(lost)
        for take in lost:
            self._bars.say(f"Episode {take['number']} was interrupted after {take['rows']} rows: {take['reason']}")
        if lost and not sys.stdin.isatty():
            raise Refused("An episode was interrupted, and nobody is here to say how to go on.")

    def _press(self, key: Key, found: dict[str, Any]) -> None:
        episode = {"episode_id": found["episode"]["episode_id"]} if found["state"] == "recording" else None
        try:
            match key:
                case Key.SAVE if episode:
                    self._api.post(f"{self._session}:save_episode", episode)
                case Key.AGAIN if episode:
                    self._api.post(f"{self._session}:discard_episode", episode)
                case Key.PAUSE if episode or found["next_episode_in_s"] is not None:
                    self._api.post(f"{self._session}:pause")
                case Key.SAVE | Key.PAUSE:
                    self._api.post(f"{self._session}:start_episode")
        except Refused as refused:  # the episode ended by itself just then
            self._bars.say(str(refused))


def _words(found: dict[str, Any], options: RecordingOptions) -> str:
    episode, next_s = found["episode"], found["next_episode_in_s"]
    if found["state"] == "recording" and episode and episode["row"] is not None:
        planned = round(options.episode_time_s * options.fps)
        return f"row {episode['row']} of {planned} · {episode['dropped'] or 0} dropped · {episode['stale'] or 0} stale"
    if next_s is not None:
        return f"put things back: next in {next_s:.0f} s"
    return "paused: space or → starts the next" if found["state"] == "ready" else str(found["state"])


@contextmanager
def _take_keys() -> Iterator[Iterator[Key | None]]:
    """The key that was pressed within LOOK_S, again and again. Where no terminal is, nobody presses any."""
    if not sys.stdin.isatty():
        yield _pressed(None)
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)  # Ctrl-C still ends
    try:
        yield _pressed(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _pressed(terminal: int | None) -> Iterator[Key | None]:
    while True:
        ready, _, _ = select.select([] if terminal is None else [terminal], [], [], LOOK_S)
        sent = os.read(terminal, 16).decode(errors="ignore") if terminal is not None and ready else ""
        yield next((key for key in Key if sent == key.value), None)
