"""The operator's page as its tests read it: what it shows of a project, and its two buttons."""

import asyncio
import time

from playwright.async_api import Page

from client.api import Api

START_MS = 90_000
FULL_RATE = 28
VIDEOS = "[...document.querySelectorAll('.project[data-id=\"{}\"] video')]"


async def start_cell(page: Page, api: Api) -> str:
    """Press the button; the id of the project whose two cameras play then."""
    await page.click("#start-sample")
    await page.wait_for_selector("#start-sample >> text=Another round", timeout=START_MS)
    assert await page.locator("#problem").is_hidden()
    (found,) = (str(project["id"]) for project in api.get("/projects") if project["name"] == "Sample cell")
    await both_play(page, found)
    return found


async def both_play(page: Page, project: str) -> None:
    playing = f"{VIDEOS.format(project)}.filter((v) => v.dataset.state === 'playing').length === 2"
    await page.wait_for_function(playing, timeout=START_MS)


async def frames(page: Page, project: str) -> dict[str, int]:
    """How many pictures each camera has shown."""
    pairs = await page.evaluate(f"{VIDEOS.format(project)}.map((v) => [v.dataset.camera, Number(v.dataset.frames)])")
    return dict(pairs)


async def rate(page: Page, project: str, seconds: float) -> float:
    """Pictures a second of the slower camera."""
    before, began = await frames(page, project), time.perf_counter()
    await asyncio.sleep(seconds)
    after, took = await frames(page, project), time.perf_counter() - began
    return min(after[name] - before[name] for name in ("top", "testcard")) / took


async def best_rate(page: Page, project: str, windows: int = 10) -> float:
    """A busy machine is given more windows, never a lower bar."""
    best = 0.0
    for _ in range(windows):
        best = max(best, await rate(page, project, 2))
        if best >= FULL_RATE:
            break
    print("pictures a second:", round(best, 1))
    return best


async def told(page: Page, project: str) -> dict[str, str]:
    """What the page says of the project's session."""
    texts = await page.locator(f'.project[data-id="{project}"] .session div').all_inner_texts()
    return dict(text.split("\n", 1) for text in texts)


async def until_told(page: Page, project: str, **wanted: str) -> None:
    for label, words in wanted.items():
        entry = f'.project[data-id="{project}"] .session div:has(dt:text-is("{label}")) dd:has-text("{words}")'
        await page.wait_for_selector(entry, timeout=START_MS)


async def stop_cell(page: Page, project: str) -> None:
    await page.click("#stop-sample")
    await until_told(page, project, Session="none open")
