"""Live updates on real databases, over HTTP on loopback: every change once and in order, whatever becomes of the
connection; nothing held for who does not read."""

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import insert, text, update

from actors.live import messages
from actors.live import stream as module
from actors.live.stream import Live
from actors.live.topics import CAMERA_FPS, RECORDING_ROWS
from actors.live.window import Telling, Window
from actors.log import Log
from actors.routes import live, problems
from domain.errors import Unavailable
from domain.project import UpdateProject
from projections import schema, tables
from tests.integration.log_kit import AT, new_camera, new_project
from tests.integration.test_media_kit import until
from tests.sse import Message, Reader, watching

pytestmark = pytest.mark.slow
WRITERS, APPENDS = 4, 40


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[Log]:
    schema.upgrade(database_url)
    log = Log(database_url)
    yield log
    log.close()


@pytest.fixture
async def streams(log: Log) -> Live:
    return Live(log)


@pytest.fixture
async def http(log: Log, streams: Live) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.include_router(live.router)
    app.state.live, app.state.gateway = streams, SimpleNamespace(log=log)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started, 10)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=address) as client:
        yield client
    streams.stop()
    server.should_exit = True
    await serving


def ids(messages: list[Message]) -> list[int]:
    """The positions of the changes among them."""
    return [message.data["position"] for message in messages if message.event == "message"]


def positions(log: Log) -> list[int]:
    return [position for position, _ in log.read()]


async def take(reader: Reader, count: int) -> list[Message]:
    """So many changes, and what came between."""
    taken: list[Message] = []
    while len(ids(taken)) < count:
        taken.append(await reader.next())
    return taken


async def many(log: Log, count: int, size: int = 20) -> None:
    """So many events, in one append."""
    project = new_project()
    for number in range(count - 1):
        project.update(UpdateProject(name=f"{number} ".ljust(size, "x")), AT)
    await log.append(project)


async def test_it_starts_with_the_present(log: Log, http: httpx.AsyncClient) -> None:
    await log.append(new_project("before"))
    async with watching(http) as reader:
        hello = await reader.next()
        assert hello == Message("hello", "1", {"position": 1, "newest": 1})
        assert reader.response.headers["content-type"].startswith("text/event-stream")
        assert reader.response.headers["cache-control"] == "no-store"
        assert reader.response.headers["x-accel-buffering"] == "no"
        assert reader.response.headers["x-log-position"] == "1"
        made = new_project("after")
        ack = await log.append(made)
        message = await reader.next()
    assert (message.id, message.data["position"]) == (str(ack.position), ack.position)
    assert (message.data["type"], message.data["aggregate_id"]) == ("project.created", str(made.id))
    assert message.data["data"] == {"name": "after"}


async def test_events_of_one_append_are_told_each(log: Log, http: httpx.AsyncClient) -> None:
    async with watching(http) as reader:
        await reader.next()
        project = new_project()
        await log.append(project, new_camera(project), new_camera(project, "wrist"))
        taken = await take(reader, 3)
    assert ids(taken) == positions(log)
    assert [message.id for message in taken] == [str(position) for position in positions(log)]


@pytest.mark.parametrize("depth", [2000, 5], ids=["roomy", "tight"])
async def test_every_change_comes_once_whatever_becomes_of_the_connection(
    log: Log, http: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    """Four writers, and readers that are cut off at random moments and resume. With little room most catch up from the
    log, or are told that they are slow."""
    monkeypatch.setattr(module, "Window", partial(Window, depth=depth))
    logs = [Log(database_url) for _ in range(WRITERS)]
    draw = random.Random(1)
    async with watching(http) as reader:
        start = int((await reader.next()).data["position"])
    writing = asyncio.gather(*(write(each) for each in logs))
    readers = [asyncio.create_task(read_all(http, start, start + WRITERS * APPENDS, draw)) for _ in range(3)]
    await writing
    for found in await asyncio.wait_for(asyncio.gather(*readers), 60):
        assert found == positions(log)
    for each in logs:
        each.close()


async def write(log: Log) -> None:
    """Single events and pairs, ``APPENDS`` of them in all."""
    for _ in range(APPENDS // 4):
        project = new_project()
        await log.append(project)
        project.update(UpdateProject(name="changed"), AT)
        await log.append(project, new_project())
        await log.append(new_project())


async def read_all(http: httpx.AsyncClient, after: int, until_count: int, draw: random.Random) -> list[int]:
    """Positions as they come, over as many connections as that takes."""
    found: list[int] = []
    while len(found) < until_count:
        async with watching(http, found[-1] if found else after) as reader:
            for _ in range(draw.randrange(1, 20)):
                message = await reader.next()
                if message.event == "end":
                    break
                if message.event == "message":
                    found.append(message.data["position"])
                if len(found) == until_count:
                    break
    return found


async def test_a_long_way_back_is_caught_up_over_several_connections(log: Log, http: httpx.AsyncClient) -> None:
    """And what comes meanwhile is told too."""
    await many(log, 4000, size=150)
    found: list[int] = []
    ends: list[str] = []
    while len(found) < 4001:
        async with watching(http, found[-1] if found else 0) as reader:
            assert (await reader.next()).data == {"position": found[-1] if found else 0, "newest": log.position()}
            if not found:
                await log.append(new_project("meanwhile"))
            while len(found) < 4001:
                message = await reader.next()
                if message.event == "end":
                    ends.append(message.data["reason"])
                    assert message.id == str(found[-1])
                    with pytest.raises(StopAsyncIteration):
                        await reader.next()
                    break
                found.append(message.data["position"])
        assert reader.received < module.MAX_BYTES + 100_000
    assert found == positions(log)
    assert ends == ["full"] * len(ends)
    assert len(ends) >= 1


async def test_only_the_topics_that_are_asked_for(log: Log, http: httpx.AsyncClient) -> None:
    project = new_project()
    await log.append(project, new_camera(project))
    project.update(UpdateProject(name="renamed"), AT)
    async with watching(http, topics="camera,project.renamed") as now, watching(http, 0, topics="camera") as old:
        assert (await now.next()).event == "hello"
        assert [message.data["type"] for message in await take(old, 1) if message.event == "message"] == [
            "camera.created"
        ]
        await log.append(project, new_camera(project, "wrist"))
        taken = [*await take(now, 2), *await take(old, 1)]
    assert [message.data["type"] for message in taken] == ["project.renamed", "camera.created", "camera.created"]


async def test_a_page_of_the_log_is_of_the_topics_that_are_named(log: Log) -> None:
    project = new_project()
    await log.append(project, new_camera(project), new_camera(project, "wrist"), new_project())
    assert [at for at, _ in log.page(0, 10, {"camera.created"})] == [2, 3]
    assert [at for at, _ in log.page(2, 10, {"camera.created", "project.created"})] == [3, 4]
    assert [at for at, _ in log.page(1, 2)] == [2, 3]


async def test_whom_nothing_concerns_hears_how_far_the_log_is(
    log: Log, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it does not read all that again when it comes back."""
    monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.05)
    async with watching(http, topics="model") as reader:
        assert (await reader.next()).id == "0"
        await log.append(new_project())
        while (message := await reader.next()).id == "0":
            assert message.event == ""
    assert message == Message("", "1", None)


FOREIGN = ("2", "9" * 18)
MALFORMED = ("x", "-1", "1.0", "", "1 2", "1e3", "0x1", "¹", "١", "9" * 19)


async def test_an_id_that_is_not_of_this_log_is_refused(log: Log, http: httpx.AsyncClient) -> None:
    await log.append(new_project())
    for those, code in ((FOREIGN, "unknown_position"), (MALFORMED, "invalid_event_id")):
        for id in those:
            by_header = await http.get("/api/live", headers={b"Last-Event-ID": id.encode()})
            by_parameter = await http.get("/api/live", params={"last_event_id": id})
            for refused in (by_header, by_parameter):
                assert (refused.status_code, refused.json()["error_code"]) == (422, code), id
                assert refused.headers["content-type"] == "application/problem+json"
                assert "Last-Event-ID" in refused.json()["detail"]


async def test_an_unknown_topic_is_refused(http: httpx.AsyncClient) -> None:
    refused = await http.get("/api/live", params={"topics": "project,cam"})
    assert refused.status_code == 422
    assert "'cam'" in refused.json()["detail"]


async def test_the_header_goes_before_the_parameter(log: Log, http: httpx.AsyncClient) -> None:
    """A browser that resumes asks with the address it had and the id it has."""
    await many(log, 3)
    async with watching(http, last_event_id="1") as reader:
        assert ids(await take(reader, 2)) == [2, 3]
    async with http.stream(
        "GET", "/api/live", params={"last_event_id": "1"}, headers={"Last-Event-ID": "2"}
    ) as response:
        assert ids(await take(Reader(response), 1)) == [3]


async def test_who_does_not_read_is_dropped_and_costs_nothing(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the server's transport sees the client's pace, so nothing is asked of the stream until it reads again."""
    monkeypatch.setattr(module, "Window", partial(Window, depth=10))
    streams = Live(log)
    slow, other = (streams.stream(0, 0, ()) for _ in range(2))
    for each in (slow, other):
        assert b"event: hello" in await anext(each)
    await log.append(new_project())
    told = await anext(other)
    assert await anext(slow) == told
    for _ in range(29):
        await log.append(new_project())
        told += await anext(other)
    assert told.count(b"\ndata: ") == 30
    window = streams._window
    assert window is not None
    assert len(window._changes) == 10
    (last,) = [text async for text in slow]
    assert b"event: end\n" in last
    assert b'"reason":"slow"' in last
    await other.aclose()


async def test_what_moves_is_told_to_whoever_listens_and_is_nothing_to_resume_at(
    log: Log, http: httpx.AsyncClient, streams: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    id, looks = uuid4(), count()

    async def look() -> list[Telling]:
        if (number := next(looks)) == 2:
            raise Unavailable("nobody answers")
        told = (RECORDING_ROWS, {"row": number}), (CAMERA_FPS, {"fps_measured": 30.0})
        return [Telling(topic, messages.telemetry(topic, id, AT, data)) for topic, data in told]

    streams._look = look
    await log.append(new_project())
    async with watching(http) as everything, watching(http, topics="camera,project") as cameras:
        said = [await everything.next() for _ in range(7)]
        assert (await cameras.next()).event == "hello"
        assert {(await cameras.next()).data["type"] for _ in range(3)} == {CAMERA_FPS}
        ack = await log.append(new_project())
        while (change := await cameras.next()).event == "telemetry":
            pass
    assert (change.event, change.id) == ("message", str(ack.position))
    assert [message.event for message in said] == ["hello", *["telemetry"] * 6]
    assert {message.id for message in said} == {"1"}
    rows = [message.data for message in said if message.event == "telemetry" and message.data["type"] == RECORDING_ROWS]
    assert [each["data"]["row"] for each in rows] == sorted({each["data"]["row"] for each in rows})
    assert rows[0] | {"at": "", "data": {}} == {
        "type": RECORDING_ROWS,
        "aggregate": "recording",
        "aggregate_id": str(id),
        "at": "",
        "data": {},
    }


async def test_the_log_is_read_only_while_somebody_watches(log: Log, streams: Live, http: httpx.AsyncClient) -> None:
    async with watching(http) as reader, watching(http):
        await reader.next()
        assert streams._tasks
    await until(lambda: not streams._tasks, 5)
    assert streams._streams == 0
    async with watching(http) as reader:
        await reader.next()
        await log.append(new_project())
        assert (await reader.next()).event == "message"


async def test_when_the_server_stops_every_stream_is_told(log: Log, streams: Live, http: httpx.AsyncClient) -> None:
    await log.append(new_project())
    async with watching(http) as present, watching(http, 0) as past:
        await present.next()
        await take(past, 1)
        streams.stop()
        for reader in (present, past):
            (last,) = await reader.rest()
            assert (last.event, last.id, last.data["reason"]) == ("end", "1", "stopping")
    refused = await http.get("/api/live")
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)


async def test_there_is_room_for_so_many(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STREAMS", 1)
    async with watching(http) as reader:
        await reader.next()
        refused = await http.get("/api/live")
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    await until_open(http)


async def until_open(http: httpx.AsyncClient) -> None:
    """A stream that was left makes room."""
    async with asyncio.timeout(5):
        while True:
            async with http.stream("GET", "/api/live") as response:
                if response.is_success:
                    return


async def test_an_event_that_cannot_be_read_ends_the_streams_and_says_so(log: Log, http: httpx.AsyncClient) -> None:
    project = new_project()
    async with watching(http) as reader:
        await reader.next()
        with log.engine.begin() as connection:
            row = {"originator_id": project.id, "originator_version": 1, "topic": "project.sold", "state": b"{}"}
            connection.execute(tables.events.insert(), row)
        await log.append(new_project())  # which PostgreSQL announces
        (last,) = await reader.rest()
        assert (last.event, last.data["reason"]) == ("end", "failed")
    async with watching(http, 0) as reader:
        assert [message.event for message in await reader.rest()] == ["hello", "end"]


async def test_the_last_message_names_the_event_that_cannot_be_read(log: Log, http: httpx.AsyncClient) -> None:
    """To who comes back from before it, and to who is watching when it comes."""
    await log.append(new_project("before"))
    with log.engine.begin() as connection:
        connection.execute(update(tables.events).values(state=b"{}"))
    async with watching(http, 0) as reader:
        last = (await reader.rest())[-1]
    assert (last.event, last.data["reason"]) == ("end", "failed")
    assert last.data["detail"].startswith("The event 'project.created' at position 1 is not what was written")
    assert list(log.unread.still()) == [1]
    async with watching(http) as reader:
        await reader.next()
        project = new_project()
        with log.engine.begin() as connection:
            row = {"originator_id": project.id, "originator_version": 1, "topic": "project.created", "state": b"{}"}
            connection.execute(insert(tables.events).values(row))
        await log.append(new_project())
        last = (await reader.rest())[-1]
    assert last.data["detail"].startswith("The event 'project.created' at position 2 is not what was written")
    assert list(log.unread.still()) == [1, 2]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_reader_tries_again_while_the_log_cannot_be_read(
    log: Log, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module.wakeup, "RETRY_S", 0.05)
    async with watching(http) as reader:
        await reader.next()
        await log.append(new_project())
        await take(reader, 1)
        with log.engine.begin() as connection:
            connection.execute(text("ALTER TABLE geti_events RENAME TO elsewhere"))
        await until(lambda: "The log cannot be read" in caplog.text, 10)
        with log.engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO geti_events"))
        await log.append(new_project())
        assert ids(await take(reader, 1)) == positions(log)[1:]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_nothing_is_lost_when_the_database_hangs_up(
    log: Log, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.wakeup, "RETRY_S", 0.05)
    async with watching(http) as reader:
        await reader.next()
        await log.append(new_project())
        await take(reader, 1)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
        with log.engine.connect() as connection:
            connection.execute(text(cut + "current_database()"))
        await log.append(new_project())
        assert ids(await take(reader, 1)) == positions(log)[1:]
