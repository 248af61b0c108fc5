"""A PostgreSQL that cannot be reached for a while: whoever reads is told so, and reads on when it is back."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import make_url

from actors.gateway import Gateway
from actors.log import Log
from actors.routes import problems
from projections import routes as reading
from projections import schema
from tests.integration.log_kit import new_project


@pytest.fixture
async def http(postgresql_url: str) -> AsyncIterator[AsyncClient]:
    schema.upgrade(postgresql_url)
    with closing(Log(postgresql_url)) as log:
        await log.append(new_project("lab"))
        app = FastAPI()
        app.state.engine, app.state.gateway = log.engine, Gateway(log)
        problems.install(app)
        for router in reading.routers:
            app.include_router(router)
        async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost/api") as client:
            yield client


@contextmanager
def away(url: str) -> Iterator[None]:
    name = make_url(url).database
    maintenance = make_url(url).set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_a_reader_is_told_and_reads_on_when_it_is_back(http: AsyncClient, postgresql_url: str) -> None:
    before = await http.get("/projects")
    assert [project["name"] for project in before.json()] == ["lab"]
    with away(postgresql_url):
        told = await http.get("/projects")
        assert (told.status_code, told.json()["error_code"]) == (503, "unavailable")
        assert "does not answer; try again" in told.json()["detail"]
        assert told.headers["Retry-After"]
    after = await http.get("/projects")
    assert (after.status_code, after.json()) == (200, before.json())
