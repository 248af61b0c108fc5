"""A plain FastAPI application with SQLAlchemy on uvicorn, as its documentation shows it: ``python -m
benchmarks.bare_fastapi PORT DATABASE``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import Connection, create_engine, event, select
from sqlalchemy.pool import ConnectionPoolEntry

from benchmarks.bare import DATASET, PRAGMAS, new_row
from projections.tables import datasets, projects


class NewProject(BaseModel):
    name: str


class Dataset(BaseModel):
    id: str
    project_id: str
    environment_id: str
    name: str
    default_task: str
    episodes: int
    frames: int
    fps: int | None
    size_bytes: int


class Project(BaseModel):
    id: str
    name: str
    created_at: str
    updated_at: str
    datasets: list[Dataset] = []


def build(database: Path) -> FastAPI:
    engine = create_engine(f"sqlite:///{database}", pool_size=32)
    app = FastAPI()

    @event.listens_for(engine, "connect")
    def pragmas(connection: Any, _record: ConnectionPoolEntry) -> None:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    def connected() -> Iterator[Connection]:
        with engine.begin() as connection:
            yield connection

    @app.get("/", response_model=list[Project])
    def list_projects(connection: Annotated[Connection, Depends(connected)]) -> list[dict[str, Any]]:
        found = connection.execute(select(*(datasets.c[name] for name in DATASET))).mappings().all()
        rows = connection.execute(select(projects).order_by(projects.c.created_at)).mappings().all()
        return [dict(row) | {"datasets": [each for each in found if each["project_id"] == row["id"]]} for row in rows]

    @app.post("/", response_model=Project, status_code=201)
    def create_project(command: NewProject, connection: Annotated[Connection, Depends(connected)]) -> dict[str, Any]:
        row = new_row(command.name)
        connection.execute(projects.insert(), row | {"version": 1, "position": 0})
        return row

    return app


if __name__ == "__main__":
    uvicorn.run(
        build(Path(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False
    )
