"""What the tests of the operations share: their owner without a process, and a dataset to damage."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from actors.gateway import Gateway
from actors.log import Log
from actors.operation import OperationActor
from actors.routes import datasets, episodes, operations, problems
from domain.aggregate import Aggregate
from domain.operation import Operation
from projections import routes as reading
from tests.integration.care_kit import DATASET


class Owner(OperationActor):
    """Without Ray: works in this process."""

    def __init__(self, log: Log, id: UUID) -> None:
        self.id, self.run, self.log = id, uuid4(), log
        self.aggregate = log.load(Operation, id)
        self.node = "here"
        self._deciding = asyncio.Lock()
        self._progress, self._message = 0, ""
        self._leaving = False

    def leave(self) -> None:
        """There is no process to end."""


class Waking(Gateway):
    """Notes which owners are woken; ``work`` lets them do it, one after the other."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.woken = list[UUID]()

    def wake(self, kind: type[Aggregate], id: UUID) -> None:
        self.woken.append(id)

    async def ask_if_awake(self, kind: type[Aggregate], id: UUID, method: str, timeout_s: float = 1) -> Any | None:
        return None

    async def work(self) -> None:
        while self.woken:
            await Owner(self.log, self.woken.pop(0))._work()


def application(log: Log) -> FastAPI:
    app = FastAPI()
    app.state.engine, app.state.gateway = log.engine, Waking(log)
    problems.install(app)
    for router in (*reading.routers, datasets.router, episodes.router, operations.router):
        app.include_router(router)
    return app


class Client:
    """Asks for operations, and waits for what comes of them."""

    def __init__(self, app: FastAPI) -> None:
        self.gateway: Waking = app.state.gateway
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/api")

    async def post(self, verb: str, body: Any = None, dataset: UUID = DATASET, **headers: str) -> httpx.Response:
        return await self.http.post(f"/dataset/{dataset}:{verb}", json=body, headers=headers)

    async def done(self, verb: str, body: Any = None, dataset: UUID = DATASET) -> dict[str, Any]:
        """The operation, ended."""
        reply = await self.post(verb, body, dataset)
        assert (reply.status_code, reply.json().get("status")) == (202, "running"), reply.text
        await self.gateway.work()
        return await self.get(f"/operations/{reply.json()['id']}")

    async def result(self, verb: str, body: Any = None, dataset: UUID = DATASET) -> dict[str, Any]:
        ended = await self.done(verb, body, dataset)
        assert ended["status"] == "completed", ended
        result: dict[str, Any] = ended["result"]
        return result

    async def get(self, path: str) -> Any:
        reply = await self.http.get(path)
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture
async def client(log: Log, ids: list[UUID]) -> AsyncIterator[Client]:
    made = Client(application(log))
    async with made.http:
        yield made


def episode(storage: Path, id: object, dataset: object = DATASET) -> Path:
    """An episode's folder."""
    return storage / "datasets" / str(dataset) / "episodes" / str(id)


def cut(path: Path, share: float) -> None:
    """As a disk that lost the end of a file: in a file of its own, for whoever else has it keeps what he has."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: int(len(content) * share)])


def flip(path: Path, share: float) -> None:
    """As a disk that gives back another byte."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 0xFF
    path.unlink()
    path.write_bytes(bytes(content))


def content(folder: Path) -> dict[str, bytes]:
    """Every file below."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
