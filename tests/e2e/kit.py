"""What the tests of this folder ask of a server, each over HTTP."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from client.api import Api
from client.demo import POLICY_ARGS, Cell

FPS = 10
STEPS = 20


async def command(api: Api, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """POST without keeping the browser waiting."""
    answer: dict[str, Any] = await asyncio.to_thread(api.post, path, body)
    return answer


def open_session(api: Api, cell: Cell, **body: Any) -> str:
    """The address of a recording session of the cell, ready."""
    sessions = f"/projects/{cell.project}/recordings"
    opened = api.post(sessions, {"environment_id": cell.environment, "dataset_id": cell.dataset, "fps": FPS, **body})
    assert opened["state"] == "ready"
    return f"{sessions}/{opened['id']}"


def close_sessions(api: Api) -> None:
    """Every one that is still open, of whichever project."""
    for project in api.get("/projects"):
        sessions = f"/projects/{project['id']}/recordings"
        for session in api.get(sessions):
            if session["state"] not in ("closed", "failed"):
                api.post(f"{sessions}/{session['id']}:close")


def record(api: Api, session: str, seconds: float) -> dict[str, Any]:
    """An episode, as saving it answered."""
    episode = api.post(f"{session}:start_episode")["episode_id"]
    time.sleep(seconds)
    saved: dict[str, Any] = api.post(f"{session}:save_episode", {"episode_id": episode})
    return saved


def wait_for(api: Api, path: str, **wanted: Any) -> dict[str, Any]:
    """Until GET of ``path`` shows the wanted values."""
    return wait_until(api, path, lambda found: all(found[name] == value for name, value in wanted.items()))


def wait_until(api: Api, path: str, shows: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Until GET of ``path`` shows what is asked for."""
    deadline = time.monotonic() + 120
    while True:
        found: dict[str, Any] = api.get(path)
        if shows(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def submit(api: Api, cell: Cell, **changes: Any) -> str:
    """A small training on the cell's dataset; the job's id."""
    body = {
        "project_id": cell.project,
        "dataset_id": cell.dataset,
        "policy": "act",
        "model_name": "act",
        "max_steps": STEPS,
        "checkpoint_every": STEPS // 2,
        "policy_args": POLICY_ARGS,
    }
    job: dict[str, Any] = api.post("/jobs:train", body | changes)
    assert job["status"] in ("pending", "running")
    return str(job["id"])


def ended(api: Api, job: str, seconds: float = 400) -> dict[str, Any]:
    """The job once it has ended."""
    deadline = time.monotonic() + seconds
    while True:
        found: dict[str, Any] = api.get(f"/jobs/{job}")
        if found["end_time"] is not None:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def operated(api: Api, dataset: str, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The operation, ended."""
    operation = api.post(f"/dataset/{dataset}:{verb}", body)
    return wait_until(api, f"/operations/{operation['id']}", lambda found: found["status"] != "running")


def result(api: Api, dataset: str, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    ended = operated(api, dataset, verb, body)
    assert (ended["status"], ended["progress"]) == ("completed", 100), ended
    found: dict[str, Any] = ended["result"]
    return found
