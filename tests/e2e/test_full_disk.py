"""A disk that is full while the server serves: what frees space is done, what needs some is refused, reads go on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted, which only root may do"),
]
DISK_BYTES = 32 * 1024 * 1024
ROOM = 512 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def server(disk: Path, tmp_path: Path) -> Iterator[Server]:
    """One whose database and storage are on that disk."""
    small = Server(disk)
    small.log = tmp_path / "server.log"
    yield small.start()
    small.api.close()
    if small.process is not None:
        small.kill_everything()


def fill(disk: Path) -> Path:
    """To the last few pages."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
        except OSError:
            file.truncate(file.tell() - ROOM)
    return ballast


def made_until_refused(http: httpx.Client) -> tuple[list[dict[str, Any]], httpx.Response]:
    """The projects that were acknowledged, and the first refusal."""
    made = list[dict[str, Any]]()
    while (reply := http.post("/api/projects", json={"name": f"{len(made)} " + "x" * 150})).status_code == 201:
        made.append(reply.json())
        assert len(made) < 5000
    return made, reply


def test_writes_are_refused_deletes_are_done_and_space_brings_all_back(server: Server, disk: Path) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        ballast = fill(disk)
        made, refused = made_until_refused(http)
        assert made
        assert (refused.status_code, refused.headers["content-type"]) == (507, "application/problem+json")
        assert "free some space" in refused.json()["detail"]
        assert http.get("/api/projects").json() == made
        doomed, *kept = made
        assert http.delete(f"/api/projects/{doomed['id']}").status_code == 204
        assert http.get("/api/projects").json() == kept
        ballast.unlink()
        after = http.post("/api/projects", json={"name": "after"})
        assert after.status_code == 201
        server.kill_everything()
        server.start()
        assert http.get("/api/projects").json() == [*kept, after.json()]
    checked = server.run("check-log")
    assert (checked.returncode, "Nothing to mend" in checked.stderr) == (0, True), checked
    server.stop()
