"""Jobs over HTTP with the real training library: they end as they say, and stay so."""

import time
from typing import Any

import httpx
import pytest

from client.api import Api
from client.demo import POLICY_ARGS, Cell, make_cell

from .conftest import Server
from .test_recording import open_session, record, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.train]
CANCEL_S = 10.0


@pytest.fixture(scope="module")
def recorded(server: Server) -> Cell:
    cell = make_cell(server.api, "training")
    session = open_session(server.api, cell)
    for _ in range(2):
        record(server.api, session, 4.0)
    server.api.post(f"{session}:close")
    return cell


def submit(api: Api, cell: Cell, **changes: Any) -> str:
    body = {
        "project_id": cell.project,
        "dataset_id": cell.dataset,
        "policy": "act",
        "model_name": "act",
        "max_steps": 10,
        "checkpoint_every": 5,
        "policy_args": POLICY_ARGS,
    }
    job: dict[str, Any] = api.post("/jobs:train", body | changes)
    assert job["status"] in ("pending", "running")
    return str(job["id"])


def ended(api: Api, job: str, seconds: float = 400) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        found: dict[str, Any] = api.get(f"/jobs/{job}")
        if found["end_time"] is not None:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


@pytest.mark.timeout(900)
def test_a_policy_is_trained_exported_and_evaluated(server: Server, recorded: Cell) -> None:
    job = ended(server.api, submit(server.api, recorded))
    assert (job["status"], job["progress"]) == ("completed", 100), job
    model = server.api.get(f"/models/{job['model_id']}")
    assert {export["backend"]: export["reason"] for export in model["exports"]} == dict.fromkeys(
        ("torch", "onnx", "openvino")
    )
    assert all(export["size_bytes"] > 1_000_000 and export["latency_ms"] > 0 for export in model["exports"])
    curve = server.api.get(f"/jobs/{job['id']}/metrics")
    assert max(row["step"] for row in curve) == 10
    evaluation = server.api.post(f"/models/{model['id']}:evaluate", {"episodes": 1})
    assert ended(server.api, evaluation["id"])["status"] == "completed"
    (rollouts,) = server.api.get(f"/models/{model['id']}")["evaluations"]
    assert set(rollouts["rollouts"]) == {"policy", "expert", "random"}
    assert rollouts["rollouts"]["expert"]["success_rate"] == 1.0


@pytest.mark.timeout(600)
def test_an_interrupted_training_ends_canceled_and_stays_so(server: Server, recorded: Cell) -> None:
    job = submit(server.api, recorded, max_steps=100_000)
    wait_for(server.api, f"/jobs/{job}", status="running")
    _until_it_steps(server.api, job)
    began = time.monotonic()
    server.api.post(f"/jobs/{job}:interrupt")
    assert server.api.get(f"/jobs/{job}")["status"] == "canceled"
    assert time.monotonic() - began < CANCEL_S
    again = httpx.post(f"{server.url}/api/jobs/{job}:interrupt")
    assert (again.status_code, again.json()["error_code"]) == (409, "job_ended")
    time.sleep(5)
    assert server.api.get(f"/jobs/{job}")["status"] == "canceled"
    assert list((server.storage / "jobs" / job / "checkpoints").glob("*"))


def _until_it_steps(api: Api, job: str) -> None:
    deadline = time.monotonic() + 300
    while not any("step" in row for row in api.get(f"/jobs/{job}/metrics")):
        assert time.monotonic() < deadline, api.get(f"/jobs/{job}")
        time.sleep(0.5)


@pytest.mark.timeout(600)
def test_a_failing_training_says_why(server: Server, recorded: Cell) -> None:
    job = ended(server.api, submit(server.api, recorded, resources_per_worker={"GPU": 1}))
    assert job["status"] == "failed"
    assert "GPU" in job["reason"]
    assert "Traceback" not in job["reason"]
    time.sleep(2)
    assert server.api.get(f"/jobs/{job['id']}")["status"] == "failed"
