"""What was recorded is looked at in the page: a real headless Chromium, a real server, and what it recorded."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import ConsoleMessage, Page

from client.api import Refused
from client.demo import CAMERA, TASK, Cell
from tests.browser import browsing, needs_chromium, opened

from .conftest import Server
from .kit import FPS, ended, open_session, record, submit

pytestmark = [pytest.mark.slow, needs_chromium]
CAMERAS = {
    "top": CAMERA["payload"] | {"width": 192, "height": 192},
    "Test card": {"scene": "testcard", "width": 160, "height": 120, "fps": 30, "seed": 0},
}
WAIT_MS = 30_000
PIXELS = """
(video) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}
"""
ROWS_SHOWN = "[...document.querySelectorAll('dialog video')].map((video) => Math.floor(video.currentTime * {fps}))"
SETTLED = "[...document.querySelectorAll('dialog video')].every((video) => video.readyState >= 2 && !video.seeking)"


@pytest.fixture(scope="module")
def filmed(server: Server) -> Cell:
    """A cell with two cameras and three episodes, of which a camera stood still in the last."""
    cell = _two_cameras(server)
    session = open_session(server.api, cell, max_stale=0, max_dropped=0)
    for seconds in (3.0, 2.0):
        record(server.api, session, seconds)
    episode = server.api.post(f"{session}:start_episode")["episode_id"]
    time.sleep(1)
    _stand_still(server, 0.8)
    time.sleep(1)
    server.api.post(f"{session}:save_episode", {"episode_id": episode, "success": False})
    server.api.post(f"{session}:close")
    return cell


def _two_cameras(server: Server) -> Cell:
    api = server.api
    project = api.post("/projects", {"name": "filmed"})["id"]
    parent = f"/projects/{project}"
    robot = api.post(f"{parent}/robots", {"name": "pusher", "type": "PushT", "payload": {"seed": 0}})["id"]
    bodies = [{"name": name, "driver": "simulated", "payload": payload} for name, payload in CAMERAS.items()]
    cameras = [api.post(f"{parent}/cameras", body)["id"] for body in bodies]
    robots = [{"robot_id": robot, "tele_operator": {"type": "scripted"}}]
    environment = api.post(f"{parent}/environments", {"name": "cell", "robots": robots, "camera_ids": cameras})["id"]
    body = {"name": "pushes", "project_id": project, "environment_id": environment, "default_task": TASK}
    return Cell(project, environment, api.post("/dataset", body)["id"])


def _stand_still(server: Server, seconds: float) -> None:
    cameras = server.processes("ray::CameraActor")
    for camera in cameras:
        os.kill(camera.pid, signal.SIGSTOP)
    time.sleep(seconds)
    for camera in cameras:
        os.kill(camera.pid, signal.SIGCONT)


@pytest.fixture
async def page(server: Server, filmed: Cell) -> AsyncIterator[Page]:
    """The page with this cell's card open alone, after which nothing may have gone wrong in it."""
    said: list[ConsoleMessage] = []
    async with browsing() as browser:
        page = await opened(browser, server.url)
        page.on("console", lambda message: said.append(message))
        await page.evaluate("document.querySelectorAll('.project').forEach((card) => (card.open = false))")
        await page.click(f'.project[data-id="{filmed.project}"] > summary')
        await page.wait_for_selector(_card(filmed, 3), timeout=WAIT_MS)
        yield page
    assert [message.text for message in said if _is_wrong(message)] == []


def _is_wrong(message: ConsoleMessage) -> bool:
    """Not what the browser itself notes of a refusal that a test asked for, or of live video that is tried again."""
    live = ("/whep", "/snapshot")  # an ended session that is left, too
    is_expected = "status of 422" in message.text or any(part in message.location["url"] for part in live)
    return message.type in ("error", "warning") and not is_expected


def _card(cell: Cell, place: int) -> str:
    return f'.dataset[data-id="{cell.dataset}"] .strip > li:nth-child({place})'


async def _play(page: Page, cell: Cell, index: int) -> None:
    await page.click(f"{_card(cell, index + 1)} .play")
    await page.wait_for_selector("dialog .controls", timeout=WAIT_MS)
    await page.wait_for_function(SETTLED, timeout=WAIT_MS)


async def _row(page: Page) -> int:
    return int((await page.inner_text("dialog .at")).split()[1])


def episode(server: Server, cell: Cell, index: int) -> Any:
    return server.api.get(f"/dataset/{cell.dataset}/episodes/{index}")


# Playing.


def _pictures(server: Server, cell: Cell, id: str, camera: str) -> list[NDArray[np.uint8]]:
    path = server.storage / f"datasets/{cell.dataset}/episodes/{id}/videos/{camera}.mp4"
    with av.open(str(path)) as container:
        return [shown.to_ndarray(format="rgb24") for shown in container.decode(video=0)]


async def _shown(page: Page, camera: str) -> NDArray[np.uint8]:
    video = page.locator(f'dialog video[data-camera="{camera}"]')
    height, width = await video.evaluate("(video) => [video.videoHeight, video.videoWidth]")
    return np.array(await video.evaluate(PIXELS), np.uint8).reshape(height, width, 4)[..., :3]


def _nearest(picture: NDArray[np.uint8], pictures: list[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """Rows by how near their pictures are to this one."""
    apart = [np.abs(picture.astype(int) - each.astype(int)).mean() for each in pictures]
    return np.flatnonzero(np.array(apart) <= min(apart) + 0.05)


async def test_every_camera_shows_the_row_that_was_asked_for(page: Page, server: Server, filmed: Cell) -> None:
    facts = episode(server, filmed, 0)
    pictures = {key: _pictures(server, filmed, facts["id"], key) for key in ("top", "test_card")}
    await _play(page, filmed, 0)
    last = facts["length"] - 1
    for keys, row in ((["End"], last), (["ArrowLeft"] * 3, last - 3), (["Shift+ArrowLeft"], last - 13), (["Home"], 0)):
        for key in keys:
            await page.keyboard.press(key)
        assert await _row(page) == row
        await page.wait_for_function(SETTLED, timeout=WAIT_MS)
        for camera, recorded in pictures.items():
            assert row in _nearest(await _shown(page, camera), recorded), (camera, row)
        assert await page.get_attribute("dialog .curves", "data-row") == str(row)


async def test_cameras_play_together_to_the_end(page: Page, server: Server, filmed: Cell) -> None:
    facts = episode(server, filmed, 0)
    await _play(page, filmed, 0)
    await page.keyboard.press("Space")
    await page.wait_for_function("document.querySelector('dialog').dataset.playing === 'true'")
    apart, last, began = [0], facts["length"] - 1, time.monotonic()
    while await _row(page) < last:
        rows = await page.evaluate(ROWS_SHOWN.format(fps=facts["fps"]))
        apart.append(max(rows) - min(rows))
        await asyncio.sleep(0.05)
        assert time.monotonic() - began < 30
    print("rows apart at most:", max(apart), "of", len(apart), "looks;", round(time.monotonic() - began, 1), "s")
    assert max(apart) <= 3
    assert await page.get_attribute("dialog", "data-playing") == "false"
    await page.wait_for_function(SETTLED)
    assert await page.evaluate(ROWS_SHOWN.format(fps=facts["fps"])) == [last, last]
    await page.click('dialog [aria-label="Play"]')  # from the beginning
    await page.wait_for_function(f"Number(document.querySelector('dialog .curves').dataset.row) < {last - 5}")


async def test_a_camera_that_comes_late_is_waited_for(page: Page, server: Server, filmed: Cell) -> None:
    """Its video has stopped coming: the other does not run away from it."""
    await _play(page, filmed, 0)
    await page.evaluate("document.querySelector('dialog video').play = () => Promise.resolve()")
    await page.keyboard.press("Space")
    await asyncio.sleep(1.5)
    rows = await page.evaluate(ROWS_SHOWN.format(fps=10))
    assert max(rows) - min(rows) <= 3
    assert await _row(page) <= 2


async def test_curves_are_the_rows_and_are_pointed_at(page: Page, server: Server, filmed: Cell) -> None:
    facts = episode(server, filmed, 1)
    await _play(page, filmed, 1)
    assert await page.locator("dialog .curves .plot").count() == len(facts["action_keys"]) == 2
    svg = page.locator("dialog .curves .plot svg").first
    box = await svg.bounding_box()
    assert box
    await page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 10)
    middle = await _row(page)
    assert abs(middle - (facts["length"] - 1) / 2) <= 1
    words = await page.locator("dialog .values").first.inner_text()
    action, state = (float(each.split()[1]) for each in words.split(" · "))
    assert (action, state) == pytest.approx((facts["actions"][middle][0], facts["states"][middle][0]), abs=0.6)
    for line, values in (("action", facts["actions"]), ("state", facts["states"])):
        drawn = await svg.locator(f".line.{line}").get_attribute("d")
        heights = [float(point.split()[1]) for point in (drawn or "M")[1:].split("L")]
        expected = [-each[0] for each in values]  # downwards
        assert np.corrcoef(heights, expected)[0, 1] > 0.999


async def test_rows_that_are_not_as_they_should_be_are_marked(page: Page, server: Server, filmed: Cell) -> None:
    facts = episode(server, filmed, 2)
    assert facts["suspect"]
    suspicion = await page.inner_text(f"{_card(filmed, 3)} .suspect")
    assert facts["suspect"] in suspicion
    await _play(page, filmed, 2)
    assert facts["suspect"] in await page.inner_text("dialog .suspect")
    for part in ("top", "test_card"):
        for mark, rows in facts["marked"][part].items():
            path = page.locator(f'dialog .marks li[data-part="{part}"] .mark.{mark}')
            assert (await path.get_attribute("d") or "").count("M") == len(rows)
    assert sum(len(rows) for rows in facts["marked"]["top"].values()) > 0


TOO_WIDE = """(box) => box.scrollWidth <= box.clientWidth ? [] : [...box.querySelectorAll("*")]
    .filter((one) => !one.closest(".strip") && one.getBoundingClientRect().right > box.getBoundingClientRect().right)
    .map((one) => one.outerHTML.slice(0, 200))"""


async def test_it_works_on_a_telephone(page: Page, filmed: Cell) -> None:
    await page.set_viewport_size({"width": 400, "height": 800})
    await _play(page, filmed, 0)
    for thing in (
        "document.documentElement",
        "document.querySelector('dialog')",
        "document.querySelector('dialog .body')",
    ):
        assert await page.evaluate(TOO_WIDE, await page.evaluate_handle(thing)) == []
    scrub = page.locator('dialog input[type="range"]')
    await scrub.focus()
    await page.keyboard.press("ArrowRight")
    assert await _row(page) == 1
    assert (await scrub.get_attribute("aria-valuetext") or "").startswith("row 1 of")
    await page.keyboard.press("Escape")
    await page.wait_for_selector("dialog", state="hidden")
    assert await page.locator("dialog video").count() == 0


# The strip, and what is said.


async def _until_strip(page: Page, cell: Cell, length: int) -> list[str]:
    """The ids in the strip once it has so many."""
    strip = f'.dataset[data-id="{cell.dataset}"] .strip'
    await page.wait_for_function(f"document.querySelector('{strip}').children.length === {length}", timeout=WAIT_MS)
    ids: list[str] = await page.evaluate(f"[...document.querySelector('{strip}').children].map((li) => li.dataset.id)")
    return ids


async def test_the_strip_shows_each_episodes_first_picture(page: Page, server: Server, filmed: Cell) -> None:
    episodes = server.api.get(f"/dataset/{filmed.dataset}/episodes")
    assert await _until_strip(page, filmed, 3) == [each["id"] for each in episodes]
    for number, known in enumerate(episodes):
        card = _card(filmed, number + 1)
        await page.wait_for_function(f"document.querySelector('{card} img').naturalWidth > 0", timeout=WAIT_MS)
        words = await page.inner_text(card)
        assert f"#{number}" in words
        assert f"{known['length']} rows" in words
        assert TASK in words
        assert ("failure" in words) == (known["success"] is False) == (number == 2)
    pixels = np.array(
        await page.locator(f"{_card(filmed, 1)} img").evaluate(PIXELS.replace("video.video", "video.natural"))
    )
    first = _pictures(server, filmed, episodes[0]["id"], "top")[0]
    picture = pixels.reshape(first.shape[0], first.shape[1], 4)[..., :3]
    assert np.abs(picture.astype(int) - first.astype(int)).mean() < 4


async def test_what_is_said_in_the_page_is_said_to_everybody(page: Page, server: Server, filmed: Cell) -> None:
    before = episode(server, filmed, 1)
    await _play(page, filmed, 1)
    await page.fill("dialog form >> text=Task >> input", "Pull the block.")
    await page.select_option("dialog form >> text=Verdict >> select", "true")
    await page.select_option("dialog form >> text=Rating >> select", "4")
    await page.fill("dialog form >> text=Tags >> input", "slow, left hand ,")
    await page.fill("dialog form >> text=Note >> textarea", "The light was on. ← a key that means nothing here")
    await page.click("dialog form >> text=Save")
    await page.wait_for_selector("dialog form output:has-text('Saved')", timeout=WAIT_MS)
    now = episode(server, filmed, 1)
    assert (now["tasks"], now["success"], now["rating"], now["tags"]) == (
        ["Pull the block."],
        True,
        4,
        ["slow", "left hand"],
    )
    assert now["note"].startswith("The light was on.")
    assert now["actions"] == before["actions"]
    await page.wait_for_selector(f"{_card(filmed, 2)} .verdict:has-text('success ★★★★')", timeout=WAIT_MS)
    assert await page.inner_text(f"{_card(filmed, 2)} .tags") == "#slow #left hand"
    await page.fill("dialog form >> text=Tags >> input", "x" * 65)
    await page.click("dialog form >> text=Save")
    await page.wait_for_selector("dialog .problem:visible", timeout=WAIT_MS)
    assert episode(server, filmed, 1)["tags"] == ["slow", "left hand"]


_TO_AND_FRO = ("Next", "Previous") * 4


async def test_a_deleted_episode_comes_back_at_once(page: Page, server: Server, filmed: Cell) -> None:
    ids = await _until_strip(page, filmed, 3)
    await page.click('[aria-label="Delete episode 0"]')
    assert await _until_strip(page, filmed, 2) == ids[1:]
    assert [each["id"] for each in server.api.get(f"/dataset/{filmed.dataset}/episodes")] == ids[1:]
    await page.click("text=Undo")
    assert await _until_strip(page, filmed, 3) == ids
    await _play(page, filmed, 0)
    await page.click('dialog [aria-label="Next episode"]')
    await page.wait_for_selector("dialog h2:has-text('Episode 1')")
    hasty = [f"""document.querySelector('dialog [aria-label="{beside} episode"]').click()""" for beside in _TO_AND_FRO]
    await page.evaluate("; ".join(hasty))  # each before the last one has come
    await page.wait_for_selector("dialog h2:has-text('Episode 1')")
    await page.wait_for_selector("dialog .controls")
    await page.click("dialog form >> text=Delete episode")
    await page.wait_for_selector("dialog", state="hidden", timeout=WAIT_MS)
    assert await _until_strip(page, filmed, 2) == [ids[0], ids[2]]
    await page.click("text=Undo")
    assert await _until_strip(page, filmed, 3) == ids


def _one_more(server: Server, cell: Cell) -> str:
    session = open_session(server.api, cell)
    saved = record(server.api, session, 1.0)
    server.api.post(f"{session}:close")
    return str(saved["episode_id"])


async def test_the_trash_gives_back_and_is_emptied(page: Page, server: Server, filmed: Cell) -> None:
    ids = await _until_strip(page, filmed, 3)
    added = await asyncio.to_thread(_one_more, server, filmed)
    assert await _until_strip(page, filmed, 4) == [*ids, added]
    trash = f'.dataset[data-id="{filmed.dataset}"] .trash'
    for opens in (True, False):
        await page.click('[aria-label="Delete episode 3"]')
        await page.wait_for_selector(f"{trash} > summary:has-text('Trash · 1 episode')", timeout=WAIT_MS)
        if opens:
            await page.click(f"{trash} > summary")
            await page.click(f"{trash} li >> text=Restore")
            assert await _until_strip(page, filmed, 4) == [*ids, added]
    folder = server.storage / "datasets" / filmed.dataset / "episodes" / added
    assert folder.is_dir()
    page.once("dialog", lambda asked: asked.accept())
    await page.click(f"{trash} >> text=Empty the trash")
    await page.wait_for_selector("text=1 episode removed", timeout=WAIT_MS)
    assert await page.locator(trash).is_hidden()
    assert server.api.get(f"/dataset/{filmed.dataset}/trash") == []
    assert not folder.exists()
    assert await _until_strip(page, filmed, 3) == ids


async def test_what_others_change_is_seen(page: Page, server: Server, filmed: Cell) -> None:
    ids = await _until_strip(page, filmed, 3)
    await asyncio.to_thread(server.api._call, "PATCH", f"/dataset/{filmed.dataset}/episodes/{ids[0]}", {"rating": 2})
    await page.wait_for_selector(f"{_card(filmed, 1)} .verdict:text-is('★★')", timeout=WAIT_MS)


async def test_take_keys_are_the_dialogs_while_it_is_open(page: Page, server: Server, filmed: Cell) -> None:
    """→ would start an episode, and Esc close the session of whoever records."""
    session = await asyncio.to_thread(open_session, server.api, filmed)
    await page.wait_for_selector("#keys:visible", timeout=WAIT_MS)
    await _play(page, filmed, 0)
    for key in ("ArrowRight", "Escape"):
        await page.keyboard.press(key)
    await page.wait_for_selector("dialog", state="hidden")
    await asyncio.sleep(1)
    assert server.api.get(session)["state"] == "ready"
    await page.keyboard.press("Escape")
    await page.wait_for_selector("#keys", state="hidden", timeout=WAIT_MS)
    assert server.api.get(session)["state"] == "closed"


# Statistics.


async def test_statistics_are_plotted_with_axes_and_units(page: Page, server: Server, filmed: Cell) -> None:
    known = server.api.get(f"/dataset/{filmed.dataset}/statistics")
    await page.click(f'.dataset[data-id="{filmed.dataset}"] .statistics > summary')
    plots = page.locator(".statistics .plot")
    await plots.nth(3).wait_for(timeout=WAIT_MS)
    lengths, lost, ranges, brightness = [await plot.inner_text() for plot in await plots.all()]
    assert await plots.nth(0).locator(".bar").count() == len(known["lengths"]["histogram"])
    assert "length, s" in lengths
    assert "episodes" in lengths
    assert f"{known['dropped']} dropped, {known['stale']} stale" in lost
    assert "rows" in lost
    for name in ("x action", "x state", "y action", "y state", "as the robot counts"):
        assert name in ranges
    for camera, values in known["cameras"].items():
        bar = plots.nth(3).locator(f'li[title^="{camera}:"] .mean')
        assert await bar.evaluate("(bar) => parseFloat(bar.style.left)") == pytest.approx(100 * values["mean"], abs=0.1)
    assert "0 is black, 1 is full" in brightness


# The curve of a training.


@pytest.mark.train
@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_jobs_curve_grows_while_it_trains(page: Page, server: Server, filmed: Cell) -> None:
    job = await asyncio.to_thread(submit, server.api, filmed, max_steps=60, device={"type": "cpu", "index": 0})
    curve = f'#jobs li[data-id="{job}"] .curve'
    await page.wait_for_selector(f"{curve}[open] svg", timeout=400_000)
    points = f"Number(document.querySelector('{curve}').dataset.points)"
    first = await page.evaluate(points)
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    await page.wait_for_function(f"{points} > {first}", timeout=200_000)
    assert not [url for url in asked if url.endswith("/metrics")], "it is told, not asked for"
    done = await asyncio.to_thread(ended, server.api, job)
    rows = [row for row in server.api.get(f"/jobs/{job}/metrics") if "loss" in row]
    assert done["status"] == "completed"
    await page.wait_for_function(f"{points} === {len(rows)}", timeout=WAIT_MS)
    words = await page.inner_text(f"{curve} .plot")
    assert f"at step {rows[-1]['step']}" in words
    assert "step" in words
    await page.reload()
    await page.click(f"{curve} > summary")
    await page.wait_for_function(
        f"document.querySelector('{curve}')?.dataset.points === '{len(rows)}'", timeout=WAIT_MS
    )


# The last episode over the live picture.


async def test_a_live_camera_is_compared_with_the_last_episode(page: Page, server: Server, filmed: Cell) -> None:
    session = await asyncio.to_thread(open_session, server.api, filmed)
    card = f'.project[data-id="{filmed.project}"]'
    await page.wait_for_selector(f"{card} .overlay:visible", timeout=WAIT_MS)
    assert await page.locator(f"{card} .reference").count() == 0
    await page.keyboard.press("o")
    await page.wait_for_function(f"{_references(card)}.filter((image) => image.naturalWidth > 0).length === 2")
    last = server.api.get(f"/dataset/{filmed.dataset}/episodes")[-1]["id"]
    for name, key in (("top", "top"), ("Test card", "test_card")):
        image = page.locator(f'{card} .cameras figure:has(video[data-camera="{name}"]) .reference')
        first = _pictures(server, filmed, last, key)[0]
        pixels = np.array(await image.evaluate(PIXELS.replace("video.video", "video.natural")))
        assert np.abs(pixels.reshape(*first.shape[:2], 4)[..., :3].astype(int) - first.astype(int)).mean() < 4
        assert await image.evaluate("(image) => getComputedStyle(image).opacity") == "0.5"
    await page.fill(f"{card} .overlay input", "80")
    assert await image.evaluate("(image) => getComputedStyle(image).opacity") == "0.8"
    assert await page.get_attribute(f"{card} .overlay button", "aria-pressed") == "true"
    await page.keyboard.press("o")
    assert await page.locator(f"{card} .reference").count() == 0
    server.api.post(f"{session}:close")
    await page.wait_for_selector(f"{card} .overlay", state="hidden", timeout=WAIT_MS)


def _references(card: str) -> str:
    return f"[...document.querySelectorAll('{card} .reference')]"


def test_what_there_is_nothing_to_compare_with_is_told(server: Server, filmed: Cell) -> None:
    practice = server.api.post(
        f"/projects/{filmed.project}/recordings", {"environment_id": filmed.environment, "fps": FPS}
    )
    cameras = server.api.get(f"/projects/{filmed.project}/cameras")
    for session, camera, why in (
        (practice["id"], cameras[0]["id"], "practice"),
        (practice["id"], uuid4(), "There is no camera|practice"),
        (uuid4(), cameras[0]["id"], "There is no recording"),
    ):
        with pytest.raises(Refused, match=why):
            server.api.get(f"/projects/{filmed.project}/recordings/{session}/reference?camera={camera}")
    server.api.post(f"/projects/{filmed.project}/recordings/{practice['id']}:close")
