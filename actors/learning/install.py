"""The training libraries (torch, LeRobot, physicalai-train) are installed when first needed: 5.3 GB that a camera node
never loads.

./run.sh installs them, too. Both leave the same mark while they do, so that what was cut off is found by either, and
take the same lock (``unfinished`` and ``setup`` there)."""

import fcntl
import importlib.util
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from domain.errors import StorageFull, Unavailable

LOCK = Path(__file__).resolve().parents[2] / "requirements-train.lock"
MARK = Path(sys.prefix) / ".unfinished-train"
NEEDED = ("torch", "lightning", "lerobot", "physicalai.policies")
NEEDED_BYTES = 8_000_000_000  # what the libraries take unpacked, and room to unpack them
POLL_S = 0.5
LINES = 1000  # uv says less than one a package
STOPPED = "The installation was stopped; the next one goes on from what was downloaded."

_PIN = re.compile(r"^([a-z0-9-]+)==", re.MULTILINE)
_DOWNLOADING = re.compile(r"^\s*Downloading (\S+) \(([\d.]+)\s*(KiB|MiB|GiB)\)")
_DOWNLOADED = re.compile(r"^\s*Downloaded (\S+)")
_UNIT = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True, slots=True)
class InstallProgress:
    """Bytes of the large downloads seen so far (their total grows while uv finds them), and uv's last words."""

    done_bytes: int
    total_bytes: int
    message: str


def installed() -> bool:
    """Whether training can be imported, found out without importing it. What was cut off may lack any file."""
    return not MARK.exists() and all(_found(name) for name in NEEDED)


def install(
    on_progress: Callable[[InstallProgress], None],
    should_stop: Callable[[], bool] = lambda: False,
    lock: Path = LOCK,
    python: str = sys.executable,
) -> None:
    """Install the ``train`` extra, at the versions and hashes of ``lock``, into the environment of ``python``.

    Takes minutes and a few GB of download; ``on_progress`` is called at each word of uv and ``should_stop`` asked twice
    a second. Raises StorageFull before it starts if it cannot fit, Unavailable if it fails or is stopped; running it
    again goes on from what was downloaded.
    """
    _check_room()
    if not lock.is_file():
        raise Unavailable("requirements-train.lock is missing: run ./run.sh --train from a complete checkout.")
    command = [*_uv(), "pip", "install", "--python", python, "--require-hashes", "--no-deps", "-r", str(lock)]
    last = InstallProgress(0, 0, "")
    with _alone(lock.with_name(".uv"), should_stop) as held:
        if MARK.exists():
            _forget(lock)
        MARK.touch()
        with _running(command, held) as (process, lines):
            for progress in read_progress(_until_end(lines, process, should_stop)):
                last = progress
                on_progress(progress)
        importlib.invalidate_caches()
        if process.returncode != 0:
            raise Unavailable(
                f"The training libraries could not be installed ({last.message}). Check the network, then try again."
            )
        MARK.unlink()


@contextmanager
def _alone(folder: Path, should_stop: Callable[[], bool]) -> Iterator[int]:
    """The lock of all who install into this checkout, as a descriptor. ``folder`` is run.sh's, and git ignores it."""
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    with (folder / "lock").open("a") as file:
        while not _taken(file.fileno()):
            if should_stop():
                raise Unavailable(STOPPED)
            time.sleep(POLL_S)
        yield file.fileno()


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forget(lock: Path) -> None:
    """uv counts as installed what has a dist-info folder; without it a package is linked again, all of it."""
    names = set(_PIN.findall(lock.read_text()))
    for folder in MARK.parent.glob("lib/python*/site-packages/*.dist-info"):
        name, _, _ = folder.name.partition("-")
        if re.sub(r"[._]", "-", name).lower() in names:
            shutil.rmtree(folder)


@contextmanager
def _running(command: list[str], held: int) -> Iterator[tuple[subprocess.Popen[str], "queue.Queue[str | None]"]]:
    """A process and what it says, line by line, None at the end; it does not outlive the block. Where we are killed it
    does, and goes on holding the lock."""
    lines: queue.Queue[str | None] = queue.Queue(LINES)
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=(held,)
    ) as process:
        reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        reader.start()
        try:
            yield process, lines
        finally:
            process.terminate()


def _read(process: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
    assert process.stderr is not None
    for line in process.stderr:
        lines.put(line)
    lines.put(None)


def _until_end(
    lines: "queue.Queue[str | None]", process: subprocess.Popen[str], should_stop: Callable[[], bool]
) -> Iterator[str]:
    while True:
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            line = ""
        if should_stop():
            raise Unavailable(STOPPED)
        if line is None:
            process.wait()
            return
        if line:
            yield line


def read_progress(lines: Iterable[str]) -> Iterator[InstallProgress]:
    """What uv says line by line, as figures."""
    sizes: dict[str, int] = {}
    done = 0
    for line in lines:
        if started := _DOWNLOADING.match(line):
            sizes[started[1]] = int(float(started[2]) * _UNIT[started[3]])
        elif ended := _DOWNLOADED.match(line):
            done += sizes.get(ended[1], 0)
        yield InstallProgress(done, sum(sizes.values()), line.strip())


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package of a dotted name
        return False


def _check_room() -> None:
    free = shutil.disk_usage(sys.prefix).free
    if free < NEEDED_BYTES:
        raise StorageFull(
            f"Training needs {NEEDED_BYTES / 1e9:.0f} GB for its libraries and {free / 1e9:.1f} GB are free: make room."
        )


def _uv() -> list[str]:
    if found := shutil.which("uv"):
        return [found]
    if _found("uv"):
        return [sys.executable, "-m", "uv"]
    raise Unavailable("uv is not installed: run ./run.sh --train, which fetches it, or `pip install uv`.")
