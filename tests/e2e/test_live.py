"""Live updates of a real server: in a browser, to many at once, and to who does not read."""

import asyncio
import json
import socket
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.async_api import Page

from actors.live.stream import MAX_BYTES
from actors.log import Log
from client.demo import make_cell
from domain.project import Project
from tests.browser import needs_chromium
from tests.integration.log_kit import AT, new_project, told
from tests.sse import watching

from .conftest import Server
from .kit import open_session

pytestmark = pytest.mark.slow
CLIENTS, CHANGES = 200, 20
WITHIN_S = 90.0
LISTEN = """
() => new Promise((ready) => {
  window.told = [];
  const source = new EventSource("/api/live?topics=project");
  source.addEventListener("hello", ready);
  source.onmessage = (message) => window.told.push({ id: message.lastEventId, ...JSON.parse(message.data) });
})
"""


@needs_chromium
async def test_a_browser_hears_of_a_new_project(page: Page, server: Server) -> None:
    """And the operator's page, which listens too, shows it."""
    name = f"heard {uuid4()}"
    await page.evaluate(LISTEN)
    made = await asyncio.to_thread(server.api.post, "/projects", {"name": name})
    await page.wait_for_function(f"window.told.some((change) => change.aggregate_id === '{made['id']}')")
    (change,) = [each for each in await page.evaluate("window.told") if each["aggregate_id"] == made["id"]]
    assert (change["type"], change["data"], change["id"]) == (
        "project.created",
        {"name": name},
        str(change["position"]),
    )
    await page.wait_for_selector(f"summary >> text={name}")


async def test_many_watch_at_once_and_nobody_else_waits(server: Server) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
        listening = [asyncio.Event() for _ in range(CLIENTS)]
        watchers = [asyncio.create_task(told_positions(client, each)) for each in listening]
        await asyncio.wait_for(asyncio.gather(*(each.wait() for each in listening)), WITHIN_S)
        began = time.monotonic()
        others = [asyncio.create_task(client.get("/api/projects")) for _ in range(5)]
        made = [await client.post("/api/projects", json={"name": f"watched {n}"}) for n in range(CHANGES)]
        found = await asyncio.wait_for(asyncio.gather(*watchers), WITHIN_S)
        print(f"{CLIENTS} clients had {CHANGES} changes each after", round(time.monotonic() - began, 1), "s")
        assert [reply.status_code for reply in await asyncio.gather(*others)] == [200] * 5
    positions = [int(reply.headers["X-Log-Position"]) for reply in made]
    assert found == [positions] * CLIENTS


async def told_positions(client: httpx.AsyncClient, listening: asyncio.Event) -> list[int]:
    async with watching(client, topics="project.created") as reader:
        await reader.next()
        listening.set()
        changes = [await reader.next() for _ in range(CHANGES)]
    return [change.data["position"] for change in changes]


async def test_what_moves_is_told_as_it_moves(server: Server) -> None:
    """The rows of a session and what its cameras deliver."""
    cell = await asyncio.to_thread(make_cell, server.api, "moving")
    session = await asyncio.to_thread(open_session, server.api, cell)
    cameras = {camera["id"] for camera in server.api.get(f"/projects/{cell.project}/cameras")}
    await asyncio.to_thread(server.api.post, f"{session}:start_episode")
    rows, rates = list[int](), dict[str, float]()
    async with httpx.AsyncClient(base_url=server.url) as client, watching(client) as reader, asyncio.timeout(WITHIN_S):
        while len(rows) < 4 or not rates.keys() >= cameras:
            message = await reader.next()
            if message.event != "telemetry":
                continue
            match message.data:
                case {"type": "recording.rows", "aggregate_id": id, "data": {"episode": {"row": int(row)}}}:
                    assert session.endswith(id)
                    rows.append(row)
                case {"type": "camera.fps", "aggregate_id": id, "data": {"fps_measured": float(fps)}} if fps > 0:
                    rates[id] = fps
    assert rows == sorted(set(rows))
    await asyncio.to_thread(server.api.post, f"{session}:close")


async def test_who_does_not_read_is_sent_so_much_and_no_more(server: Server) -> None:
    """However much there is, and however long it waits; the last message says so, and the next connection goes on."""
    log = Log(server.environment["DATABASE_URL"])
    start = log.position()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(f"GET /api/live HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {start}\r\n\r\n".encode())
        await big_changes(log, MAX_BYTES)
        await big_changes(log, 2 * MAX_BYTES)
        assert log.position() > start
        client.settimeout(30)
        sent = await asyncio.to_thread(until_the_end, client)
    assert MAX_BYTES <= len(sent) < MAX_BYTES * 1.2
    *_, (_, last), (event, end) = messages(sent)
    assert (event, end["reason"]) == ("end", "full")
    async with httpx.AsyncClient(base_url=server.url) as http, watching(http, last["position"]) as reader:
        assert (await reader.next()).event == "hello"
        assert (await reader.next()).data["position"] > last["position"]
    log.close()


async def big_changes(log: Log, size: int) -> None:
    """Events of so many bytes in all, of a project that is gone in the end."""
    project, each = new_project(), 40_000
    await log.append(project)
    version = 2
    for version in range(2, 2 + size // each):
        renamed = Project.Renamed(originator_id=project.id, originator_version=version, timestamp=AT, name="x" * each)
        await log.append(told(renamed))
    gone = log.load(Project, project.id)
    gone.delete(AT)
    await log.append(gone)


def until_the_end(client: socket.socket) -> bytes:
    """All that the server sends."""
    received = bytearray()
    while not received.endswith(b"\r\n0\r\n\r\n"):
        received += client.recv(65536)
    return bytes(received)


def messages(sent: bytes) -> list[tuple[str, Any]]:
    """(event, data) of each message in a chunked answer."""
    text, body = "", sent.partition(b"\r\n\r\n")[2]
    while body:
        size, _, body = body.partition(b"\r\n")
        text += body[: int(size, 16)].decode()
        body = body[int(size, 16) + 2 :]
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.split("\n\n") if block]
    return [(block.get("event", ""), json.loads(block["data"])) for block in blocks if "data" in block]
