"""A disk that is full while the server serves: what frees space is done, what needs some is refused, reads go on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.disk import NEEDS_ROOT, fill, mounted

from .conftest import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    NEEDS_ROOT,
]
DISK_BYTES = 32 * 1024 * 1024
ROOM = 512 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


@pytest.fixture
def server(disk: Path, tmp_path: Path) -> Iterator[Server]:
    """One whose database and storage are on that disk."""
    small = Server(disk)
    small.log = tmp_path / "server.log"
    yield small.start()
    small.api.close()
    if small.process is not None:
        small.kill_everything()


def made_until_refused(http: httpx.Client) -> tuple[list[dict[str, Any]], httpx.Response]:
    """The projects that were acknowledged, and the first refusal."""
    made = list[dict[str, Any]]()
    while (reply := http.post("/api/projects", json={"name": f"{len(made)} " + "x" * 150})).status_code == 201:
        made.append(reply.json())
        assert len(made) < 5000
    return made, reply


def test_writes_are_refused_deletes_are_done_and_space_brings_all_back(server: Server, disk: Path) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        ballast = fill(disk, but_bytes=ROOM)
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
