"""What a dataset's files show over HTTP, in process: only its newest version, and each answer of one version."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from actors.care.adopting import Wish, adopt
from actors.gateway import Gateway
from actors.log import Log
from actors.publishing import publish_newest
from actors.routes import datasets, problems
from domain.dataset import Dataset
from projections import routes as reading
from settings import Settings
from tests.integration.care_kit import DATASET, opened, quiet, record_lost
from tests.integration.log_kit import AT

HERE = f"/api/dataset/{DATASET}"
FIRST = "videos/observation.images.top/chunk-000/file-000.mp4"


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "storage"
    monkeypatch.setattr(datasets, "settings", lambda: Settings(storage_dir=folder))
    return folder


@pytest.fixture
async def log(sqlite_url: str) -> AsyncIterator[Log]:
    with opened(sqlite_url) as made:
        yield made


@pytest.fixture
async def ids(log: Log, storage: Path, tmp_path: Path) -> list[UUID]:
    """Three episodes of 5, 6 and 7 rows, in version 3 of the dataset."""
    recorded = await asyncio.to_thread(record_lost, tmp_path / "lost")
    await asyncio.to_thread(adopt, log, storage, tmp_path / "lost", Wish(), quiet)
    return recorded


@pytest.fixture
def app(log: Log, ids: list[UUID]) -> FastAPI:
    made = FastAPI()
    made.state.engine, made.state.gateway = log.engine, Gateway(log)
    problems.install(made)
    for router in (*reading.routers, datasets.router):
        made.include_router(router)
    return made


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def home(storage: Path, ids: list[UUID]) -> Path:
    """The newest version."""
    return storage / "datasets" / str(DATASET) / "versions" / "3"


async def without(log: Log, storage: Path, *ids: UUID) -> None:
    """Delete episodes, and publish the version that shows it."""
    dataset = log.load(Dataset, DATASET)
    dataset.delete_episodes(ids, AT)
    await log.append(dataset)
    await asyncio.to_thread(publish_newest, storage / "datasets", dataset)


def refused(reply: httpx.Response, status: int, code: str) -> str:
    told = reply.json()
    assert (reply.status_code, told["error_code"]) == (status, code), (reply.url, reply.text)
    assert reply.headers["content-type"] == "application/problem+json"
    return str(told["detail"])


# Videos.


async def test_a_video_comes_whole_and_in_parts(http: httpx.AsyncClient, home: Path) -> None:
    content = (home / FIRST).read_bytes()
    whole = await http.get(f"{HERE}/video/{FIRST}")
    assert (whole.status_code, whole.content) == (200, content)
    assert (whole.headers["content-type"], whole.headers["accept-ranges"]) == ("video/mp4", "bytes")
    for asked, part in {"0-0": content[:1], "100-299": content[100:300], "500-": content[500:]}.items():
        reply = await http.get(f"{HERE}/video/{FIRST}", headers={"Range": f"bytes={asked}"})
        assert (reply.status_code, reply.content) == (206, part)
        assert reply.headers["content-range"].endswith(f"/{len(content)}")
    last = await http.get(f"{HERE}/video/{FIRST}", headers={"Range": "bytes=-7"})
    assert (last.content, last.headers["content-range"][:6]) == (content[-7:], "bytes ")


async def test_a_range_that_is_not_there_is_a_problem(http: httpx.AsyncClient, home: Path) -> None:
    size = (home / FIRST).stat().st_size
    reply = await http.get(f"{HERE}/video/{FIRST}", headers={"Range": f"bytes={size}-"})
    assert str(size) in refused(reply, 416, "range_not_satisfiable")
    assert reply.headers["content-range"] == f"bytes */{size}"
    for nonsense in ("bytes=", "lines=1-2", "bytes=a-b"):
        reply = await http.get(f"{HERE}/video/{FIRST}", headers={"Range": nonsense})
        assert "bytes=0-1023" in refused(reply, 400, "malformed")


async def test_who_has_it_is_told_so_until_it_is_another(
    http: httpx.AsyncClient, log: Log, storage: Path, home: Path, ids: list[UUID]
) -> None:
    path = f"{HERE}/video/{FIRST}"
    etag = (await http.get(path)).headers["etag"]
    for has in (etag, f'"other", W/{etag}', "*"):
        again = await http.get(path, headers={"If-None-Match": has})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    part = {"Range": "bytes=0-9", "If-Range": etag}
    assert (await http.get(path, headers=part)).status_code == 206
    await without(log, storage, ids[0])  # and the next one moves up
    moved = await http.get(path, headers=part | {"If-None-Match": etag})
    assert (moved.status_code, moved.content) == (200, (home / FIRST.replace("file-000", "file-001")).read_bytes())


async def test_a_version_that_is_replaced_meanwhile_is_read_to_its_end(
    app: FastAPI, log: Log, storage: Path, home: Path, ids: list[UUID]
) -> None:
    """The first byte is on its way when the newest version becomes another."""
    content, sent = (home / FIRST).read_bytes(), b""

    async def send(message: Any) -> None:
        nonlocal sent
        if message["type"] == "http.response.start":
            await without(log, storage, *ids)
        sent += message.get("body", b"")

    await app(scope(f"{HERE}/video/{FIRST}"), never, send)
    assert sent == content
    assert (await raw(app, f"{HERE}/video/{FIRST}"))[0] == 404


def scope(path: str) -> dict[str, Any]:
    """Of a GET whose path has come to us as it is: clients tidy theirs."""
    http_scope: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.4"}, "http_version": "1.1"}
    about = {"method": "GET", "scheme": "http", "path": path, "query_string": b""}
    return http_scope | about | {"headers": [(b"host", b"localhost")], "server": ("localhost", 80)}


async def never() -> Any:
    await asyncio.Event().wait()


async def raw(app: FastAPI, path: str) -> tuple[int, bytes]:
    """Status and body."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope(path), never, send)
    return messages[0]["status"], b"".join(each.get("body", b"") for each in messages[1:])


OUTSIDE = [
    "",
    ".",
    "..",
    "videos",
    "videos/",
    "videos/observation.images.top",
    "meta/info.json",
    "data/chunk-000/file-000.parquet",
    "../2/" + FIRST,
    "../../current/" + FIRST,
    "videos/../videos/observation.images.top/chunk-000/file-000.mp4",
    "videos/./observation.images.top/chunk-000/file-000.mp4",
    "videos//observation.images.top/chunk-000/file-000.mp4",
    "videos/observation.images.top/chunk-000/file-009.mp4",
    "videos/observation.images.top/chunk-000/file-000.mp4/",
    "videos/../chunk-000/file-000.mp4",
    "/etc/passwd",
    "/videos/observation.images.top/chunk-000/file-000.mp4",
    "..\\..\\etc\\passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "videos/\0/chunk-000/file-000.mp4",
    "videos/ü/chunk-000/file-000.mp4",
    f"videos/{'x' * 4000}/chunk-000/file-000.mp4",
    "../" * 2000,
]


async def test_nothing_else_is_a_video(app: FastAPI, storage: Path) -> None:
    for path in OUTSIDE:
        status, body = await raw(app, f"{HERE}/video/{path}")
        assert (status, b"video_not_found" in body, str(storage).encode() in body) == (404, True, False), path


async def test_encoded_dots_are_dots(http: httpx.AsyncClient) -> None:
    for path in ("%2e%2e/2/" + FIRST, "..%2f2%2f" + FIRST, "%2e%2e%2f%2e%2e%2fepisodes", "%2Fetc%2Fpasswd"):
        assert "as in LeRobot's folder" in refused(await http.get(f"{HERE}/video/{path}"), 404, "video_not_found")


async def test_a_link_that_leads_out_is_no_video(http: httpx.AsyncClient, home: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    film, folder = home / "videos/out/chunk-000/file-000.mp4", home / "videos/away"
    film.parent.mkdir(parents=True)
    film.symlink_to(tmp_path / "secret.mp4")
    (tmp_path / "elsewhere/chunk-000").mkdir(parents=True)
    (tmp_path / "elsewhere/chunk-000/file-000.mp4").write_bytes(b"secret")
    folder.symlink_to(tmp_path / "elsewhere")
    around = home / "videos/round/chunk-000/file-000.mp4"
    around.parent.mkdir(parents=True)
    around.symlink_to(around)
    for name in ("out", "away", "round"):
        refused(await http.get(f"{HERE}/video/videos/{name}/chunk-000/file-000.mp4"), 404, "video_not_found")


async def test_of_a_dataset_that_is_not_there_or_has_no_files(
    app: FastAPI, http: httpx.AsyncClient, log: Log, storage: Path
) -> None:
    refused(await http.get(f"/api/dataset/{uuid4()}/video/{FIRST}"), 404, "dataset_not_found")
    refused(await http.get(f"/api/dataset/nonsense/video/{FIRST}"), 422, "validation_error")
    (storage / "datasets" / str(DATASET) / "current").unlink()
    assert "save an episode" in refused(await http.get(f"{HERE}/video/{FIRST}"), 404, "version_not_found")
