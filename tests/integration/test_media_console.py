"""The operator's page in a real headless Chromium, against real peers and a stand-in for the rest of the server."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from playwright.async_api import Page

from actors.devices.base import StreamProfile
from actors.media.fanout import Fanout
from actors.media.snapshot import jpeg
from actors.media.webrtc import Peers
from domain.errors import GetiActionError
from tests.browser import browsing, needs_chromium, opened
from tests.integration.test_media_kit import MovingPictures, until

CONSOLE = Path(__file__).parents[2] / "console"
COLLECTIONS = ("projects", "cameras", "robots", "environments", "datasets", "recordings")

pytestmark = [pytest.mark.slow, needs_chromium]


class Cell:
    """Just enough of the server's contract for the page: resources kept in dicts, and real video behind WHEP."""

    def __init__(self, videos: dict[str, Peers], cameras: dict[str, MovingPictures]) -> None:
        self.videos = videos
        self.cameras = cameras
        self.sessions: dict[str, Peers] = {}
        self.kept: dict[str, dict[str, dict[str, Any]]] = {}
        self.created: list[str] = []
        self.jobs: list[dict[str, Any]] = []
        self.refuse: str | None = None
        self.changes: asyncio.Queue[bytes] | None = None
        self.asked = 0
        self._numbers = itertools.count(1)

    def collection(self, path: str) -> list[dict[str, Any]]:
        return list(self.kept.get(path, {}).values())

    def one(self, path: str) -> dict[str, Any]:
        parent, _, key = path.rpartition("/")
        if key not in self.kept.get(parent, {}):
            raise HTTPException(404)
        return self.kept[parent][key]

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        made = {"id": f"made-{next(self._numbers)}"} | body
        if path == "dataset":
            path = f"projects/{body['project_id']}/datasets"
        if path.endswith("recordings"):
            made |= {"state": "ready", "episode": None, "episodes_saved": 0, "interrupted": []}
        self.kept.setdefault(path, {})[made["id"]] = made
        self.created.append(path.rpartition("/")[2])
        return made

    def command(self, path: str) -> dict[str, Any]:
        """What a session is told: start or discard an episode, close."""
        session, _, command = path.partition(":")
        changes = {
            "start_episode": {"state": "recording", "episode": {"episode_id": f"episode-{next(self._numbers)}"}},
            "discard_episode": {"state": "ready", "episode": None},
            "close": {"state": "closed", "episode": None},
        }
        self.one(session).update(changes[command])
        return {}

    @property
    def session(self) -> dict[str, Any]:
        (session,) = self.collection(next(path for path in self.kept if path.endswith("recordings")))
        return session

    async def live(self) -> Response:
        """Server-sent events until one says nothing."""
        if (changes := self.changes) is None:
            raise HTTPException(503)

        async def told() -> AsyncIterator[bytes]:
            yield b"event: hello\nid: 1\ndata: {}\n\n"
            while change := await changes.get():
                yield change

        return StreamingResponse(told(), media_type="text/event-stream")

    async def watch(self, camera: dict[str, Any], offer: str) -> Response:
        peers = self.videos[camera["name"]]
        session, answer = await peers.answer(offer)
        self.sessions[session] = peers
        return Response(answer, 201, {"Location": f"/api/whep/{session}"}, "application/sdp")


def problem(_: Request, error: GetiActionError) -> JSONResponse:
    return JSONResponse({"detail": error.detail}, error.status, media_type="application/problem+json")


def application(cell: Cell) -> FastAPI:
    app = FastAPI()
    app.mount("/console", StaticFiles(directory=CONSOLE))
    app.add_exception_handler(GetiActionError, problem)
    app.add_api_route("/api/live", cell.live)

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(CONSOLE / "index.html")

    @app.get("/api/jobs")
    async def jobs() -> list[dict[str, Any]]:
        return cell.jobs

    @app.get("/api/{path:path}/snapshot")
    async def snapshot(path: str, width: int) -> Response:
        frame = cell.cameras[cell.one(path)["name"]].ring.latest()
        assert frame is not None
        return Response(jpeg(frame, width), media_type="image/jpeg")

    @app.get("/api/{path:path}")
    async def read(path: str) -> Any:
        cell.asked += 1
        return cell.collection(path) if path.rpartition("/")[2] in COLLECTIONS else cell.one(path)

    @app.delete("/api/whep/{session}")
    async def leave(session: str) -> dict[str, Any]:
        await cell.sessions.pop(session).close(session)
        return {}

    @app.post("/api/{path:path}")
    async def write(path: str, request: Request) -> Any:
        if cell.refuse:
            return JSONResponse({"detail": cell.refuse}, 423, media_type="application/problem+json")
        if path.endswith("/whep"):
            return await cell.watch(cell.one(path.removesuffix("/whep")), (await request.body()).decode())
        if ":" in path:
            return cell.command(path)
        return JSONResponse(cell.create(path, await request.json()), 201)

    return app


@pytest.fixture
async def cell() -> AsyncIterator[Cell]:
    with (
        MovingPictures(StreamProfile(480, 480, 30.0)) as top,
        MovingPictures(StreamProfile(640, 480, 30.0)) as testcard,
    ):
        fanouts = {"top": Fanout(top.ring, top.profile), "testcard": Fanout(testcard.ring, testcard.profile)}
        videos = {name: Peers(fanout) for name, fanout in fanouts.items()}
        cell = Cell(videos, {"top": top, "testcard": testcard})
        yield cell
        for name, fanout in fanouts.items():
            await cell.videos[name].close_all()
            await fanout.close()


@pytest.fixture
async def address(cell: Cell) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(application(cell), port=0, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started, 10)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture
async def page(address: str) -> AsyncIterator[Page]:
    async with browsing() as browser:
        yield await opened(browser, address)


PLAYING = "[...document.querySelectorAll('video')].filter((v) => v.dataset.state === 'playing').length === {}"


async def start_cell(page: Page) -> None:
    await page.click("#start-sample")
    await page.wait_for_function(PLAYING.format(2), timeout=20_000)


async def frames(page: Page) -> dict[str, int]:
    script = "[...document.querySelectorAll('video')].map((v) => [v.dataset.camera, Number(v.dataset.frames)])"
    return dict(await page.evaluate(script))


MADE = ["cameras", "cameras", "datasets", "environments", "projects", "recordings", "robots"]


async def test_button_makes_the_cell_and_its_pictures_move(page: Page, cell: Cell) -> None:
    await start_cell(page)
    assert sorted(cell.created) == MADE
    widths = "[...document.querySelectorAll('video')].map((v) => [v.dataset.camera, v.videoWidth, v.videoHeight])"
    assert sorted(await page.evaluate(widths)) == [["testcard", 640, 480], ["top", 480, 480]]
    before = await frames(page)
    await asyncio.sleep(2)
    after = await frames(page)
    print("frames in 2 s:", {name: after[name] - before[name] for name in after})
    assert all(after[name] - before[name] >= 10 for name in ("top", "testcard"))


async def test_second_press_begins_another_round_and_stop_closes(page: Page, cell: Cell) -> None:
    await start_cell(page)
    await page.wait_for_selector("#start-sample >> text=Another round")
    first = cell.session["episode"]
    await page.click("#start-sample")
    await until(lambda: cell.session["episode"] not in (first, None), 5)
    assert sorted(cell.created) == MADE
    await page.click("#stop-sample")
    await page.wait_for_selector(".session >> text=none open")
    assert cell.session["state"] == "closed"


async def test_practice_says_how_the_robot_fares(page: Page, cell: Cell) -> None:
    await start_cell(page)
    await page.wait_for_selector(".session >> text=practice, nothing is written")
    for robot, words in [
        ({"success": False, "last_error": None}, "pushing the block"),
        ({"success": True, "last_error": None}, "done: the block is on its target"),
        ({"success": False, "last_error": "its source failed"}, "its source failed"),
    ]:
        cell.session["episode"]["robot"] = robot
        await page.wait_for_selector(f".session >> text={words}")


async def test_session_jobs_and_errors_are_shown(page: Page, cell: Cell) -> None:
    running = {"status": "running", "progress": 41.6, "message": "step 83 of 200"}
    running |= {"extra_info": {"train/loss_step": 0.25}}
    failed = {"status": "failed", "progress": 10, "message": "loading", "reason": "Record more episodes."}
    cell.jobs = [{"id": str(n), "type": "training", "payload": {}, **job} for n, job in enumerate((failed, running))]
    await start_cell(page)
    episode = {"row": 7, "measured_fps": 29.97, "dropped": 2, "stale": 0, "task": "Push it"}
    cell.session.update(dataset_id="made-0", state="recording", episode=episode, episodes_saved=3)
    await page.wait_for_selector(".session >> text=Episodes saved")
    entries = await page.locator(".session div").all_inner_texts()
    assert [entry.splitlines() for entry in entries] == [
        ["Session", "recording"],
        ["Task", "Push it"],
        ["Row", "7"],
        ["Measured fps", "30.0"],
        ["Dropped", "2"],
        ["Stale", "0"],
        ["Episodes saved", "3"],
    ]
    assert await page.locator("#jobs .message").all_inner_texts() == ["step 83 of 200 · loss 0.250", failed["reason"]]
    assert await page.evaluate("document.querySelector('#jobs progress').value") == pytest.approx(41.6)
    cell.refuse = "Camera top is held by another session."
    await page.click("#stop-sample")
    await page.wait_for_selector("#problem >> text=Camera top is held by another session.")


async def test_player_reconnects_and_says_why_it_waits(page: Page, cell: Cell) -> None:
    await start_cell(page)
    cell.refuse = "Camera top was unplugged."
    await cell.videos["top"].close_all()
    await page.wait_for_selector("figure >> text=Camera top was unplugged.", timeout=30_000)
    cell.refuse = None
    await page.wait_for_function(PLAYING.format(2), timeout=30_000)


async def test_closed_page_says_goodbye(page: Page, cell: Cell) -> None:
    await start_cell(page)
    await page.close(run_before_unload=True)
    waited = await until(lambda: not cell.sessions, 8)  # one that vanished would be missed after ten
    print("sessions ended", round(waited, 2), "s after the page was closed")
    assert all(peers.stats().viewers == 0 for peers in cell.videos.values())


async def test_browser_without_a_way_for_video_shows_stills(address: str) -> None:
    async with browsing("--webrtc-ip-handling-policy=disable_non_proxied_udp") as browser:
        page = await opened(browser, address)
        await page.click("#start-sample")
        for camera in ("top", "testcard"):
            image = f"document.querySelector('img[alt=\"Still pictures of camera {camera}\"]')"
            await page.wait_for_function(f"{image}?.dataset.frames > 10 && {image}.naturalWidth >= 480", timeout=30_000)
        assert await page.locator("figure img").first.is_visible()


async def test_page_asks_for_nothing_from_elsewhere(address: str) -> None:
    async with browsing() as browser:
        page, asked = await browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(address)
        await page.wait_for_function("document.body.dataset.ready === 'true'")
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


async def test_calm_page_asks_when_it_hears_of_a_change(address: str, cell: Cell) -> None:
    cell.changes = asyncio.Queue()
    async with browsing() as browser:
        page = await opened(browser, address)
        await page.wait_for_selector("#connection >> text=/^Connected$/")
        await asyncio.sleep(1)  # till it has looked once more, being connected
        before = cell.asked
        await asyncio.sleep(3)
        assert cell.asked == before
        cell.create("projects", {"name": "made by somebody"})
        await cell.changes.put(b"id: 2\ndata: {}\n\n")
        await page.wait_for_selector("summary >> text=made by somebody", timeout=10_000)
        told, cell.changes = cell.changes, None
        await told.put(b"")
        await page.wait_for_selector("#connection >> text=without live updates", timeout=10_000)
        cell.create("projects", {"name": "found by asking"})
        await page.wait_for_selector("summary >> text=found by asking", timeout=10_000)
        cell.changes = asyncio.Queue()
        await page.wait_for_selector("#connection >> text=/^Connected$/", timeout=20_000)


async def test_a_change_asks_for_what_it_changed_alone(address: str, cell: Cell) -> None:
    """However many projects there are."""
    cell.changes = asyncio.Queue()
    projects = [cell.create("projects", {"name": f"project {number}"})["id"] for number in range(5)]
    async with browsing() as browser:
        page = await opened(browser, address)
        await page.wait_for_selector("#connection >> text=/^Connected$/")
        await page.evaluate("document.querySelectorAll('.project').forEach((card) => (card.open = false))")
        await asyncio.sleep(1)  # till it has looked once more, being connected
        for aggregate, data, requests in (
            ("job", {}, 1),
            ("recording", {"project_id": projects[3]}, 3),
            ("camera", {}, 11),
        ):
            before = cell.asked
            change = {"aggregate": aggregate, "aggregate_id": "unknown", "data": data}
            await cell.changes.put(b"data: %s\n\n" % orjson.dumps(change))
            await asyncio.sleep(0.7)
            assert cell.asked - before == requests, aggregate


async def test_an_unfolded_project_is_shown_at_once_in_a_calm_page(address: str, cell: Cell) -> None:
    cell.changes = asyncio.Queue()
    for name in ("first", "second"):
        project = cell.create("projects", {"name": name})
        cell.create(f"projects/{project['id']}/cameras", {"name": "top"})
    async with browsing() as browser:
        page = await opened(browser, address)
        await page.wait_for_selector("#connection >> text=/^Connected$/")
        await asyncio.sleep(1)  # till it has looked once more, being connected
        second = page.locator(".project", has=page.locator("summary >> text=second"))
        for shown in (1, 0, 1):
            await second.locator("summary").click()
            await second.locator("video").nth(0).wait_for(state="attached" if shown else "detached", timeout=2_000)
        await cell.changes.put(b"")
