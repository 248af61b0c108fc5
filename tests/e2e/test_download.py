"""A dataset is loaded down from a real server, through Serve's proxy, by somebody slow."""

import io
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from client.demo import Cell

from .conftest import Server

pytestmark = pytest.mark.slow

MB = 1 << 20
LARGE_MB, AHEAD_MB = 256, 48  # what is on its way: ours, and the sockets'


@pytest.fixture
def large(server: Server, recorded: Cell) -> Iterator[Path]:
    """A file in the dataset's newest version that takes no room."""
    path = server.storage / "datasets" / recorded.dataset / "current" / "data" / "chunk-000" / "large.parquet"
    with path.open("wb") as file:
        file.truncate(LARGE_MB * MB)
    yield path
    path.unlink()


def read_mb(server: Server, name: str) -> int:
    """How far the server's processes have read files of that name which they have open, all together."""
    total = 0
    for process in server.processes("ray::ServeReplica"):
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if link.readlink().name == name:
                    total += int((link.parents[1] / "fdinfo" / link.name).read_text().split()[1])
    return total // MB


def test_nothing_is_read_far_ahead_of_a_slow_client(server: Server, recorded: Cell, large: Path) -> None:
    with httpx.stream("GET", f"{server.url}/api/dataset/{recorded.dataset}/download", timeout=60) as reply:
        chunks = reply.iter_bytes(MB)
        begun = next(chunks)
        time.sleep(3)
        ahead = read_mb(server, large.name)
        assert 0 < ahead < AHEAD_MB
        time.sleep(1)
        assert read_mb(server, large.name) == ahead
        content = begun + b"".join(chunks)
    assert len(content) == int(reply.headers["content-length"])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.getinfo("data/chunk-000/large.parquet").file_size == LARGE_MB * MB
