"""Several processes write to one SQLite file, as the replica and the owners do."""

import asyncio
import subprocess
import sys

import pytest

from actors.log import Log
from domain.project import Project
from projections import schema
from settings import PROJECT
from tests.integration.log_kit import contents, new_project

pytestmark = pytest.mark.slow
PROCESSES, APPENDS = 4, 25
WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from uuid import UUID, uuid4
from actors.log import Log, VersionConflict
from domain.project import CreateProject, Project, UpdateProject

async def write(url: str, shared: UUID, me: str) -> None:
    log = Log(url)
    for number in range({appends}):
        while True:
            name, at = f"{{me}} {{number}}", datetime.now(UTC)
            project = log.load(Project, shared)
            project.update(UpdateProject(name=name), at)
            try:
                await log.append(project, Project.create(uuid4(), CreateProject(name=name), at))
                break
            except VersionConflict:
                pass
    log.close()

asyncio.run(write(sys.argv[1], UUID(sys.argv[2]), sys.argv[3]))
"""


def test_versions_and_positions_have_no_gaps(sqlite_url: str) -> None:
    """All change one project, and make one of their own with each change."""
    schema.upgrade(sqlite_url)
    log = Log(sqlite_url)
    shared = new_project("shared")
    asyncio.run(log.append(shared))
    command = [sys.executable, "-c", WRITER.format(appends=APPENDS), sqlite_url, str(shared.id)]
    writers = [
        subprocess.Popen([*command, str(me)], cwd=PROJECT, stderr=subprocess.PIPE, text=True) for me in range(PROCESSES)
    ]
    said = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES, said
    written = PROCESSES * APPENDS
    assert [event.originator_version for event in log.stream(shared.id)] == list(range(1, written + 2))
    assert [position for position, _ in log.read()] == list(range(1, 2 * written + 2))
    names = [event.name for event in log.stream(shared.id)[1:] if isinstance(event, Project.Renamed)]
    for me in range(PROCESSES):
        assert [name for name in names if name.startswith(f"{me} ")] == [f"{me} {n}" for n in range(APPENDS)]
    assert len(contents(log)["projects"]) == written + 1
    log.close()
