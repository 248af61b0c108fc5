"""The operator's page in a headless Chromium against a real server: cameras move, sessions are told, and the button
works whatever became of the sample cell."""

import asyncio
import time

import pytest
from playwright.async_api import Page

from actors.sample import sample_id
from tests.browser import browsing, needs_chromium, opened

from .conftest import Server
from .kit import command
from .page import FULL_RATE, START_MS, VIDEOS, best_rate, both_play, start_cell, stop_cell, told, until_told

pytestmark = [pytest.mark.slow, needs_chromium]
PIXELS = """
(video) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 96, height: 96 });
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 96, 96);
  return [...context.getImageData(0, 0, 96, 96).data];
}
"""
COUNT_CHANGES = """
() => new Promise((ready) => {
  window.changes = 0;
  const source = new EventSource("/api/live");
  source.addEventListener("hello", ready);
  source.onmessage = () => (window.changes += 1);
})
"""
ROWS = """
[...document.querySelectorAll('.project[data-id="{}"] .session div')].some((entry) =>
  entry.firstChild.textContent === "Row" && Number(entry.lastChild.textContent) > 10)
"""


async def until_it_changes(page: Page, project: str) -> None:
    """The robot is seen to move: a picture of the camera that looks at it differs from an earlier one."""
    top = page.locator(f'.project[data-id="{project}"] video[data-camera="top"]')
    first, deadline = await top.evaluate(PIXELS), time.monotonic() + 30
    while True:
        pixels = zip(first, await top.evaluate(PIXELS), strict=True)
        if sum(abs(before - after) > 40 for before, after in pixels) > 60:  # of 36,864 values
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.5)


async def test_the_button_shows_the_cell_moving_and_stop_closes_its_session(page: Page, server: Server) -> None:
    async with browsing() as elsewhere:  # two people press at once
        other = await opened(elsewhere, server.url)
        pressed = time.monotonic()
        project, theirs = await asyncio.gather(*(start_cell(each, server.api) for each in (page, other)))
        print("both cameras play in two browsers", round(time.monotonic() - pressed, 1), "s after the button")
    assert project == theirs == str(sample_id("project"))
    sizes = f"{VIDEOS.format(project)}.map((v) => [v.dataset.camera, v.videoWidth, v.videoHeight])"
    assert sorted(await page.evaluate(sizes)) == [["testcard", 640, 480], ["top", 480, 480]]
    assert (await told(page, project))["Session"] == "practice, nothing is written"
    await until_told(page, project, Robot="pushing the block")
    await until_it_changes(page, project)
    assert await best_rate(page, project) >= FULL_RATE
    await page.click("#start-sample")
    await until_it_changes(page, project)
    await stop_cell(page, project)
    assert [session["state"] for session in server.api.get(f"/projects/{project}/recordings")] == ["closed"]
    assert not server.api.get(f"/dataset/{sample_id('dataset')}")["episodes"]


async def test_what_the_page_made_is_what_seeding_would_make(server: Server) -> None:
    before = server.api.get("/projects")
    seeded = await asyncio.to_thread(server.run, "seed")
    assert seeded.returncode == 0, seeded.stderr
    assert server.api.get("/projects") == before


async def test_watching_goes_on_while_an_episode_is_recorded(page: Page, server: Server) -> None:
    project = str(sample_id("project"))
    sessions = f"/projects/{project}/recordings"
    body = {"environment_id": str(sample_id("environment")), "dataset_id": str(sample_id("dataset")), "fps": 30}
    session = f"{sessions}/{(await command(server.api, sessions, body))['id']}"
    await both_play(page, project)
    episode = (await command(server.api, f"{session}:start_episode"))["episode_id"]
    await until_told(page, project, Session="recording")
    before, asked = await _row(page, project), list[str]()
    await page.evaluate(COUNT_CHANGES)
    page.on("request", lambda request: asked.append(request.url))
    assert await best_rate(page, project) >= FULL_RATE
    assert await _row(page, project) > before
    await asyncio.sleep(4)
    asked_of_it = [url for url in asked if url.endswith(f"{project}/recordings")]
    changes = int(await page.evaluate("window.changes"))  # a camera of an earlier test goes to rest, say
    print("asked", len(asked_of_it), "times, changes", changes)
    assert len(asked_of_it) <= changes + 1, "the row is told, not asked for every second"
    saved = await command(server.api, f"{session}:save_episode", {"episode_id": episode})
    assert saved["rows"] > before
    await until_told(page, project, **{"Episodes saved": "1"})
    assert await best_rate(page, project) >= FULL_RATE
    await stop_cell(page, project)


async def test_take_keys_record_and_are_heard(page: Page, server: Server) -> None:
    """→ starts and saves, ← takes once more, Esc closes; each says by a sound that it happened."""
    project = await start_cell(page, server.api)
    await stop_cell(page, project)
    sessions = f"/projects/{project}/recordings"
    body = {"environment_id": str(sample_id("environment")), "dataset_id": str(sample_id("dataset")), "fps": 30}
    session = f"{sessions}/{(await command(server.api, sessions, body))['id']}"
    await page.wait_for_selector("#keys:visible", timeout=START_MS)
    await until_told(page, project, Session="ready")
    heard = "document.body.dataset.heard === '{}'"
    taken = []
    for key, sound in (("ArrowLeft", "stopped"), ("ArrowRight", "saved")):
        await page.keyboard.press("ArrowRight")
        await until_told(page, project, Session="recording")
        await page.wait_for_function(heard.format("started"), timeout=START_MS)
        await page.wait_for_function(ROWS.format(project), timeout=START_MS)
        taken.append(server.api.get(session)["episode"]["episode_id"])
        await page.keyboard.press(key)
        await page.wait_for_function(heard.format(sound), timeout=START_MS)
        await until_told(page, project, Session="ready")
    assert server.api.get(session)["episodes_saved"] == 1
    assert server.api.get(f"/dataset/{sample_id('dataset')}/episodes")[-1]["id"] == taken[1]
    await page.keyboard.press("Escape")
    await until_told(page, project, Session="none open")
    assert await page.locator("#keys").is_hidden()
    assert server.api.get(session)["state"] == "closed"


async def _row(page: Page, project: str) -> int:
    text = (await told(page, project))["Row"]
    return int(text) if text.isdecimal() else 0


async def test_a_deleted_sample_cell_is_made_anew(page: Page, server: Server) -> None:
    await asyncio.to_thread(server.api.delete, f"/projects/{sample_id('project')}")
    project = await start_cell(page, server.api)
    assert project != str(sample_id("project"))
    (dataset,) = server.api.get(f"/projects/{project}/datasets")
    assert dataset["name"] == "pushes"
    await stop_cell(page, project)
