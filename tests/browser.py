"""A real headless Chromium for the tests of the page."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_CHROMIUM = next((path for name in _NAMES if (path := shutil.which(name))), None)
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
]

needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason=f"none of {', '.join(_NAMES)} is installed")


@asynccontextmanager
async def browsing(*flags: str) -> AsyncIterator[Browser]:
    """A browser with an empty profile, started with more ``flags``."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_CHROMIUM, args=[*_FLAGS, *flags])
        yield browser
        await browser.close()


async def opened(browser: Browser, address: str) -> Page:
    """The operator's page, once it has shown what the server says. An exception in it fails the test."""
    page = await browser.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page threw: {error}"))
    await page.goto(address)
    await page.wait_for_function("document.body.dataset.ready === 'true'")
    return page
