"""What a dataset's files show over HTTP, in process: only its newest version, and each answer of one version."""

import asyncio
import gc
import io
import json
import threading
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import av
import cv2
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI

from actors.as_of import Past
from actors.capture import thumbnail
from actors.capture.archive import CHUNK_BYTES
from actors.gateway import Gateway
from actors.log import Log
from actors.publishing import publish_newest
from actors.routes import datasets, problems
from actors.routes.as_of import AsOf
from domain.dataset import Dataset, UpdateDataset
from projections import routes as reading
from projections import shapes
from settings import Settings
from tests.integration.care_kit import DATASET, SIZES, opened
from tests.integration.log_kit import AT
from tests.integration.test_capture_kit import JOINTS, number_of, picture, psnr, record

HERE = f"/api/dataset/{DATASET}"
FIRST = "videos/observation.images.top/chunk-000/file-000.mp4"


@pytest.fixture
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    """On SQLite, but for tests that are marked ``on_both``."""
    with opened(request.getfixturevalue(getattr(request, "param", "sqlite_url"))) as made:
        yield made


@pytest.fixture
def app(log: Log, ids: list[UUID]) -> FastAPI:
    made = FastAPI()
    made.state.engine, made.state.gateway, made.state.past = log.engine, Gateway(log), Past(log)
    problems.install(made)
    made.add_middleware(AsOf)
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
    content = (home / FIRST).read_bytes()
    assert await sent_while(app, f"{HERE}/video/{FIRST}", partial(without, log, storage, *ids)) == content
    assert (await raw(app, f"{HERE}/video/{FIRST}"))[0] == 404


async def sent_while(app: FastAPI, path: str, meanwhile: Callable[[], Awaitable[object]]) -> bytes:
    """The body of an answer that has begun when ``meanwhile`` happens."""
    sent = bytearray()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            await meanwhile()
        sent.extend(message.get("body", b""))

    await app(scope(path), never, send)
    return bytes(sent)


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


# Thumbnails.


def shown(reply: httpx.Response) -> Any:
    """The picture of an answer, (height, width, 3) RGB."""
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/jpeg"), reply.text
    return cv2.imdecode(np.frombuffer(reply.content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


async def test_a_thumbnail_is_the_first_picture_of_a_camera(http: httpx.AsyncClient, ids: list[UUID]) -> None:
    for number, id in enumerate(ids):
        for which in (number, id):
            first = shown(await http.get(f"{HERE}/episodes/{which}/thumbnail"))
            assert number_of(first) == 100 * number
            assert psnr(first, picture(100 * number, 96, 64)) > 25
    for name in ("wrist", "observation.images.wrist"):
        assert shown(await http.get(f"{HERE}/episodes/1/thumbnail?camera={name}")).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        ("", (64, 96)),  # as it is: 320 would enlarge it
        ("width=48", (32, 48)),
        ("height=32", (32, 48)),
        ("width=1920&height=1920", (64, 96)),
        ("width=60&height=20", (20, 30)),
        ("width=16&height=1920", (11, 16)),
    ],
)
async def test_a_thumbnail_fits_into_what_was_asked_for(
    http: httpx.AsyncClient, asked: str, shape: tuple[int, int]
) -> None:
    assert shown(await http.get(f"{HERE}/episodes/0/thumbnail?{asked}")).shape[:2] == shape


async def test_a_thumbnail_of_a_large_picture_is_small(log: Log, storage: Path, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    id = (await asyncio.to_thread(record, folder, 2, {"top": (641, 481)})).episode_id
    picture = thumbnail.thumbnail(folder, id, thumbnail.chosen_camera(folder, id, None), datasets.THUMBNAIL_WIDTH, None)
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)


async def test_who_has_a_thumbnail_is_told_so_and_nothing_is_decoded(
    http: httpx.AsyncClient, log: Log, storage: Path, ids: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{HERE}/episodes/0/thumbnail"
    etags = [
        (await http.get(f"{path}{query}")).headers["etag"] for query in ("", "?width=48", "?height=48", "?camera=wrist")
    ]
    assert len({*etags}) == 4
    monkeypatch.setattr(thumbnail, "thumbnail", None)
    again = await http.get(path, headers={"If-None-Match": etags[0]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etags[0])
    monkeypatch.undo()
    monkeypatch.setattr(datasets, "settings", lambda: Settings(storage_dir=storage))
    await without(log, storage, ids[0])  # and index 0 is another episode
    assert (await http.get(path, headers={"If-None-Match": etags[0]})).status_code == 200
    refused(await http.get(f"{HERE}/episodes/{ids[0]}/thumbnail"), 404, "episode_not_found")


async def test_a_thumbnail_that_cannot_be_is_told(http: httpx.AsyncClient, storage: Path, ids: list[UUID]) -> None:
    path = f"{HERE}/episodes/{ids[0]}"
    for name in ("left", "", "../top", "robot", "top.mp4"):
        reply = await http.get(f"{path}/thumbnail", params={"camera": name})
        assert "it has top, wrist" in refused(reply, 404, "camera_not_found")
    for wrong in ("width=15", "height=1921", "width=x", "width=1e3"):
        refused(await http.get(f"{path}/thumbnail?{wrong}"), 422, "validation_error")
    for n in ("3", "-1", "nonsense", uuid4()):
        refused(await http.get(f"{HERE}/episodes/{n}/thumbnail"), 404, "episode_not_found")
    refused(await http.get(f"/api/dataset/{uuid4()}/episodes/0/thumbnail"), 404, "episode_not_found")
    video = storage / "datasets" / str(DATASET) / "episodes" / str(ids[0]) / "videos" / "top.mp4"
    video.write_bytes(video.read_bytes()[:100])
    assert "Repair the dataset" in refused(await http.get(f"{path}/thumbnail"), 422, "episode_damaged")


async def test_a_few_are_made_at_a_time_and_the_rest_of_the_server_goes_on(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, most, lock = 0, 0, threading.Lock()
    begun, hold = threading.Semaphore(0), threading.Event()

    def slow(*asked: Any) -> bytes:
        nonlocal going, most
        with lock:
            going += 1
            most = max(most, going)
        begun.release()
        hold.wait(30)
        with lock:
            going -= 1
        return b"picture"

    monkeypatch.setattr(thumbnail, "thumbnail", slow)
    asked = [asyncio.create_task(http.get(f"{HERE}/episodes/0/thumbnail?width={100 + n}")) for n in range(8)]
    for _ in range(thumbnail.AT_ONCE):
        assert await asyncio.to_thread(begun.acquire, timeout=30)
    assert (await http.get(HERE)).status_code == 200
    assert (await http.get(f"{HERE}/video/{FIRST}")).status_code == 200
    hold.set()
    assert [reply.content for reply in await asyncio.gather(*asked)] == [b"picture"] * 8
    assert most == thumbnail.AT_ONCE


# Downloads.


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        return {info.filename: archive.read(info) for info in archive.infolist()}


def places(folder: Path) -> list[int]:
    """How far this process has read each file that it has open in a folder."""
    held = [link for link in Path("/proc/self/fd").iterdir() if _names(link).startswith(str(folder))]
    return [int((Path("/proc/self/fdinfo") / link.name).read_text().split()[1]) for link in held]


def _names(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


async def test_a_download_is_the_newest_version_whole(http: httpx.AsyncClient, home: Path) -> None:
    reply = await http.get(f"{HERE}/download")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/zip")
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert unzipped(reply.content) == files(home)
    assert {"meta/info.json", "data/chunk-000/file-002.parquet", FIRST} <= {*files(home)}
    assert (await http.get(f"{HERE}/download")).content == reply.content


async def test_a_download_has_the_datasets_name(http: httpx.AsyncClient, log: Log) -> None:
    dataset = log.load(Dataset, DATASET)
    dataset.update(UpdateDataset(name='T "schieben" / größer', default_task="push"), AT)
    await log.append(dataset)
    named = (await http.get(f"{HERE}/download")).headers["content-disposition"]
    assert named.startswith('attachment; filename="T_schieben_gr_er-v3.zip"; ')
    assert unquote(named.partition("UTF-8''")[2]) == 'T "schieben" / größer-v3.zip'


async def test_who_has_the_version_is_told_so_until_there_is_another(
    http: httpx.AsyncClient, log: Log, storage: Path, ids: list[UUID]
) -> None:
    etag = (await http.get(f"{HERE}/download")).headers["etag"]
    again = await http.get(f"{HERE}/download", headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    await without(log, storage, ids[1])
    reply = await http.get(f"{HERE}/download", headers={"If-None-Match": etag})
    assert unzipped(reply.content) == files(storage / "datasets" / str(DATASET) / "versions" / "4")


async def test_a_version_that_is_replaced_while_it_is_sent_is_sent_whole(
    app: FastAPI, log: Log, storage: Path, home: Path, ids: list[UUID]
) -> None:
    before = files(home)
    assert unzipped(await sent_while(app, f"{HERE}/download", partial(without, log, storage, *ids))) == before
    assert not [name for name in unzipped((await raw(app, f"{HERE}/download"))[1]) if name.startswith("videos")]


async def test_nothing_is_read_that_the_client_has_not_taken(app: FastAPI, home: Path) -> None:
    """It takes two pieces, and no more until it leaves."""
    with (home / "data/large.parquet").open("wb") as large:
        large.truncate(64 * CHUNK_BYTES)
    pieces, stuck, leave = 0, asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        nonlocal pieces
        if message["type"] == "http.response.body":
            pieces += 1
            assert len(message["body"]) < 2 * CHUNK_BYTES
        if pieces > 2:
            stuck.set()
            await asyncio.Event().wait()

    async def receive() -> Any:
        await leave.wait()
        return {"type": "http.disconnect"}

    download = asyncio.create_task(app(scope(f"{HERE}/download"), receive, send))
    await stuck.wait()
    await asyncio.sleep(0.2)
    assert 0 < sum(places(home)) <= 4 * CHUNK_BYTES
    leave.set()
    await download
    gc.collect()
    assert places(home) == []


async def test_what_cannot_be_downloaded(http: httpx.AsyncClient, storage: Path, home: Path, tmp_path: Path) -> None:
    refused(await http.get(f"/api/dataset/{uuid4()}/download"), 404, "dataset_not_found")
    (tmp_path / "secret").write_bytes(b"secret")
    (home / "meta/link").symlink_to(tmp_path / "secret")
    (home / "away").symlink_to(tmp_path)
    whole = {name: content for name, content in files(home).items() if name != "meta/link"}
    assert unzipped((await http.get(f"{HERE}/download")).content) == whole
    (storage / "datasets" / str(DATASET) / "current").unlink()
    assert "save an episode" in refused(await http.get(f"{HERE}/download"), 404, "version_not_found")


# Statistics.


SPREAD = ("min", "max", "mean", "std")
on_both = pytest.mark.parametrize("log", ["sqlite_url", "postgresql_url"], indirect=True)


async def told(http: httpx.AsyncClient, **asked: int) -> Any:
    reply = await http.get(f"{HERE}/statistics", params=asked)
    assert reply.status_code == 200, reply.text
    shapes.DatasetStatistics.model_validate_json(reply.content)
    return reply.json()


def fed(*lengths: int) -> dict[str, Any]:
    """The values of `x` that episodes of these lengths were fed: every third row another."""
    x = np.concatenate([np.arange(length) // 3 * 3 for length in lengths]).astype(float)
    by_name = {"x": x, "y": -x}
    features = {"observation.state": by_name, "action": {name: 10 * values for name, values in by_name.items()}}
    return {
        feature: {
            name: {each: pytest.approx(getattr(rows, each)()) for each in SPREAD} for name, rows in values.items()
        }
        for feature, values in features.items()
    }


@on_both
async def test_statistics_are_those_of_what_was_recorded(http: httpx.AsyncClient, ids: list[UUID]) -> None:
    about = await told(http)
    assert (about["episodes"], about["frames"], about["duration_s"]) == (3, 18, pytest.approx(18 / 30))
    listed = (await http.get(f"{HERE}/episodes")).json()
    assert [about[name] for name in ("dropped", "stale")] == [
        sum(episode[name] for episode in listed) for name in ("dropped", "stale")
    ]
    bins = [{"start": length, "end": length + 1, "episodes": 1} for length in (5, 6, 7)]
    assert about["lengths"] == {"min": 5, "max": 7, "mean": 6, "histogram": bins}
    assert about["features"] == fed(5, 6, 7)
    shown = [picture(100 * number, *SIZES["top"]) / 255 for number in range(3)]  # each is a keyframe
    assert [*about["cameras"]] == ["top", "wrist"]
    top = about["cameras"]["top"]
    assert top["mean"] == pytest.approx(np.mean(shown), abs=0.01)
    assert (top["min"], top["max"]) == (pytest.approx(np.min(shown), abs=0.1), pytest.approx(np.max(shown), abs=0.1))
    reply, dataset = await http.get(f"{HERE}/statistics"), await http.get(HERE)
    assert reply.headers["etag"] == dataset.headers["etag"]


@on_both
async def test_deleted_episodes_do_not_count_whether_the_files_show_it_or_not(
    http: httpx.AsyncClient, log: Log, storage: Path, ids: list[UUID]
) -> None:
    position, before, dataset = log.position(), await told(http), log.load(Dataset, DATASET)
    dataset.delete_episodes([ids[1]], AT)
    await log.append(dataset)
    behind = await told(http)
    assert (behind["episodes"], behind["frames"], behind["features"]) == (2, 12, fed(5, 7))
    await asyncio.to_thread(publish_newest, storage / "datasets", dataset)
    assert await told(http) == behind
    then = await told(http, at=position)
    assert (then["episodes"], then["features"], then["cameras"].keys()) == (3, fed(5, 6, 7), before["cameras"].keys())
    said = storage / "datasets" / str(DATASET) / "versions/4/meta/stats.json"
    said.write_text(json.dumps(json.loads(said.read_text()) | {"action": {each: [1.5, 2.5] for each in SPREAD}}))
    told_now = (await told(http))["features"]["action"]  # what the files say, nothing counts their rows again
    assert told_now == {"x": dict.fromkeys(SPREAD, 1.5), "y": dict.fromkeys(SPREAD, 2.5)}


async def test_statistics_of_a_dataset_without_episodes(
    http: httpx.AsyncClient, log: Log, storage: Path, ids: list[UUID]
) -> None:
    await without(log, storage, *ids)
    assert await told(http) == {
        **dict.fromkeys(("episodes", "frames", "duration_s", "dropped", "stale"), 0),
        "lengths": None,
        "features": {},
        "cameras": {},
    }
    refused(await http.get(f"/api/dataset/{uuid4()}/statistics"), 404, "dataset_not_found")


# Playing an episode.


async def test_an_episode_comes_with_its_rows_and_its_videos(
    http: httpx.AsyncClient, storage: Path, ids: list[UUID]
) -> None:
    told = (await http.get(f"{HERE}/episodes/{ids[1]}")).json()
    shapes.EpisodeInFull.model_validate(told)
    assert (await http.get(f"{HERE}/episodes/1")).json() == told
    rows = pq.read_table(storage / "datasets" / str(DATASET) / "episodes" / str(ids[1]) / "rows.parquet")
    for values, column in (("actions", "action"), ("states", "observation.state")):
        assert np.array_equal(np.array(told[values], np.float32), np.array(rows[column].to_pylist(), np.float32))
        assert len(told[values]) == told["length"] == 6
    assert told["action_keys"] == list(JOINTS)
    assert told["marked"] == {part: _marked(storage, ids[1], part) for part in ("robot", "top", "wrist")}
    assert {*told["videos"]} == {"observation.images.top", "observation.images.wrist"}
    for video in told["videos"].values():
        assert (video["start"], video["end"]) == (0, told["duration_s"])


def _marked(storage: Path, id: UUID, part: str) -> dict[str, list[int]]:
    """Which rows of a part its own file marks."""
    folder = storage / "datasets" / str(DATASET) / "episodes" / str(id)
    log = pq.read_table(folder / "rows.parquet" if part == "robot" else folder / f"times/{part}.parquet")
    return {mark: [row for row, is_so in enumerate(log[mark].to_pylist()) if is_so] for mark in ("dropped", "stale")}


async def test_rows_that_dropped_and_rows_that_are_stale_are_marked_apart(
    http: httpx.AsyncClient, storage: Path, ids: list[UUID]
) -> None:
    path = storage / "datasets" / str(DATASET) / "episodes" / str(ids[1]) / "times/top.parquet"
    log = pq.read_table(path)
    for mark, marked in (("dropped", 2), ("stale", 3)):
        is_so = pa.array([row == marked for row in range(log.num_rows)])
        log = log.set_column(log.column_names.index(mark), mark, is_so)
    pq.write_table(log, path)
    told = (await http.get(f"{HERE}/episodes/{ids[1]}")).json()
    assert told["marked"]["top"] == {"dropped": [2], "stale": [3]}


async def test_an_episodes_video_stays_its_own_when_others_go(
    http: httpx.AsyncClient, log: Log, storage: Path, ids: list[UUID]
) -> None:
    told = (await http.get(f"{HERE}/episodes/{ids[1]}")).json()
    path = f"{HERE}/video/{told['videos']['observation.images.top']['path']}"
    before = await http.get(path, headers={"Range": "bytes=0-99"})
    assert (before.status_code, len(before.content)) == (206, 100)
    whole = (await http.get(path)).content
    await without(log, storage, ids[0])  # and the others move up
    again = await http.get(path, headers={"Range": "bytes=0-99", "If-Range": before.headers["etag"]})
    assert (again.status_code, again.content) == (206, whole[:100])
    assert number_of(decoded_first(whole)) == 100


def decoded_first(video: bytes) -> Any:
    with av.open(io.BytesIO(video)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


async def test_only_videos_of_episodes_are_named_so(app: FastAPI, storage: Path, ids: list[UUID]) -> None:
    home = storage / "datasets" / str(DATASET) / "episodes" / str(ids[0])
    (home / "videos" / "away.mp4").symlink_to(home / "episode.json")
    for path in ("episode.json", "videos/away.mp4", "videos/left.mp4", "videos/../rows.parquet", "rows.parquet"):
        status, body = await raw(app, f"{HERE}/video/episodes/{ids[0]}/{path}")
        assert (status, b"video_not_found" in body) == (404, True), path
    assert (await raw(app, f"{HERE}/video/episodes/{uuid4()}/videos/top.mp4"))[0] == 404
    assert (await raw(app, f"{HERE}/video/episodes/../episodes/{ids[0]}/videos/top.mp4"))[0] == 404


async def test_an_episode_whose_files_are_gone_is_told(http: httpx.AsyncClient, storage: Path, ids: list[UUID]) -> None:
    for n in ("3", "-1", "nonsense", uuid4()):
        refused(await http.get(f"{HERE}/episodes/{n}"), 404, "episode_not_found")
    home = storage / "datasets" / str(DATASET) / "episodes" / str(ids[0])
    assert (await http.get(f"{HERE}/episodes/0")).status_code == 200
    elsewhere = home.rename(storage / "elsewhere")
    for path in ("episodes/0", "episodes/0/thumbnail"):
        assert str(storage) not in refused(await http.get(f"{HERE}/{path}"), 503, "unavailable")
    elsewhere.rename(home)
    for path, name in (("episodes/0", "rows.parquet"), ("episodes/0/thumbnail", "videos/top.mp4")):
        (home / name).unlink()
        assert f"The {name} of episode" in refused(await http.get(f"{HERE}/{path}"), 422, "episode_damaged")


@pytest.mark.parametrize("name", ["rows.parquet", "times/top.parquet"])
async def test_an_episode_whose_files_are_damaged_is_told(
    http: httpx.AsyncClient, storage: Path, ids: list[UUID], name: str
) -> None:
    path = storage / "datasets" / str(DATASET) / "episodes" / str(ids[0]) / name
    content = path.read_bytes()
    others = io.BytesIO()
    pq.write_table(pa.table({"row": [1]}), others)
    for damaged in (b"not it", content[:-9], b"", content[: len(content) // 2], others.getvalue()):
        path.write_bytes(damaged)
        assert "Repair the dataset" in refused(await http.get(f"{HERE}/episodes/0"), 422, "episode_damaged")
