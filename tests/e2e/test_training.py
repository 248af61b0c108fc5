"""Jobs over HTTP with the real training library: they end as they say, stay so, and the page tells how they fare."""

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from playwright.async_api import Page

from actors.learning.evaluate import evaluate
from actors.learning.export import BACKENDS
from actors.learning.job import JobFolder, checkpoint_step
from client.demo import POLICY_ARGS, Cell
from settings import PROJECT

from .conftest import Server
from .kit import STEPS, ended, submit

pytestmark = [pytest.mark.slow, pytest.mark.train]
CANCEL_S = 10.0
NOISE = (
    "GPU available", "litlogger", "distributed_backend", "weights_only", "DataLoader workers", "[torch.onnx]",
    "INFO     | physicalai", "treespec", "transfer_batch_to_device", "Trying to infer the `batch_size`",
    "Skipping constant folding", "Started training worker group", "Using blocking ray.get", "\x1b[",
)  # fmt: skip


@pytest.mark.timeout(900)
def test_a_policy_is_trained_exported_and_evaluated(server: Server, trained: dict[str, Any]) -> None:
    assert (trained["status"], trained["progress"]) == ("completed", 100), trained
    model = server.api.get(f"/models/{trained['model_id']}")
    assert {export["backend"]: export["reason"] for export in model["exports"]} == dict.fromkeys(
        ("torch", "onnx", "openvino")
    )
    assert all(export["size_bytes"] > 1_000_000 and export["latency_ms"] > 0 for export in model["exports"])
    evaluation = server.api.post(f"/models/{model['id']}:evaluate", {"episodes": 1})
    assert ended(server.api, evaluation["id"])["status"] == "completed"
    (rollouts,) = server.api.get(f"/models/{model['id']}")["evaluations"]
    assert set(rollouts["rollouts"]) == {"policy", "expert", "random"}
    assert rollouts["rollouts"]["expert"]["success_rate"] == 1.0


def test_its_curve_and_its_checkpoints_are_kept(server: Server, trained: dict[str, Any]) -> None:
    curve = server.api.get(f"/jobs/{trained['id']}/metrics")
    losses = [row["loss"] for row in curve if "loss" in row]
    assert [row["step"] for row in curve if "loss" in row] == list(range(1, STEPS + 1))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    job = JobFolder(server.storage / "jobs" / trained["id"])
    assert [job.checkpoint(step).exists() for step in (STEPS // 2, STEPS)] == [True, True]
    assert list((server.storage / "cache").glob("*/observation.images.top.npy"))
    assert not (job.root / "dataset").exists()  # a version keeps it: links here would keep its space when that goes


def test_the_console_is_spared_what_only_libraries_care_about(server: Server, trained: dict[str, Any]) -> None:
    """Warnings and errors are told there; the rest is in the job's log."""
    assert trained["status"] == "completed"
    said = server.log.read_text()
    assert not [noise for noise in NOISE if noise in said]
    kept = (server.storage / "jobs" / trained["id"] / "log.txt").read_text()
    assert "GPU available" in kept
    assert "[torch.onnx]" in kept


def test_all_exports_act_alike(server: Server, trained: dict[str, Any]) -> None:
    command = [sys.executable, "-c", _ACT, str(server.storage / "models" / trained["model_id"] / "exports"), *BACKENDS]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    chunks = np.array(json.loads(done.stdout.splitlines()[-1]))
    assert chunks.shape == (len(BACKENDS), POLICY_ARGS["chunk_size"], 2)
    assert np.ptp(chunks, axis=0).max() < 0.1  # pixels of 512


# A chunk of actions for one picture of noise by each export, in a process of its own: torch stays out of ours.
_ACT = """
import json, sys
from pathlib import Path
import numpy as np
from actors.learning.export import load_model
noise = np.random.default_rng(0).uniform(0, 1, (1, 3, 96, 96)).astype(np.float32)
chunks = []
for backend in sys.argv[2:]:
    model = load_model(Path(sys.argv[1]) / backend)
    state, (picture,) = "state", [each.name for each in model.input_features if each.name != "state"]
    observation = {state: np.array([[200, 300]], np.float32), picture: noise}
    chunks.append(model.predict_action_chunk(observation).tolist())
print(json.dumps(chunks))
"""


def test_an_exported_policy_is_rolled_out_alike(server: Server, trained: dict[str, Any]) -> None:
    exports, told = server.storage / "models" / trained["model_id"] / "exports", list[tuple[int, int]]()
    result = evaluate(exports, 2, 5, lambda *done: told.append(done), lambda: False, max_steps=25)
    assert told == [(1, 2), (2, 2)]
    assert [(each.seed, each.steps) for each in result.episodes] == [(5, 25), (6, 25)]
    again = evaluate(exports / "onnx", 2, 5, lambda *done: None, lambda: False, max_steps=25)
    assert [each.coverage for each in again.episodes] == pytest.approx(
        [each.coverage for each in result.episodes], abs=0.1
    )


def loads(process: psutil.Process, library: str) -> bool:
    return any(library in mapped.path for mapped in process.memory_maps())


@pytest.mark.timeout(600)
async def test_an_interrupted_training_ends_canceled_and_stays_so(server: Server, recorded: Cell, page: Page) -> None:
    job = await asyncio.to_thread(submit, server.api, recorded, max_steps=100_000, model_name="endless")
    shown = f'#jobs li[data-id="{job}"]'
    await page.wait_for_selector(f'{shown}[data-status="running"] .message:has-text("loss")', timeout=300_000)
    assert await page.locator(f"{shown} progress").is_visible()
    assert await page.locator(f"{shown} .name").inner_text() == "endless"
    supervisors = [each for title in ("ray::train-", "ray::TrainController") for each in server.processes(title)]
    assert len(supervisors) == 2
    assert not [each for each in supervisors if loads(each, "libtorch")], "only workers need torch"
    assert not server.processes("ray::DatasetManager"), "there are no Ray datasets to manage"
    began = time.monotonic()
    await asyncio.to_thread(server.api.post, f"/jobs/{job}:interrupt")
    assert server.api.get(f"/jobs/{job}")["status"] == "canceled"
    assert time.monotonic() - began < CANCEL_S
    await page.wait_for_selector(f'{shown}[data-status="canceled"]')
    async with httpx.AsyncClient(base_url=server.url) as client:
        again = await client.post(f"/api/jobs/{job}:interrupt")
    assert (again.status_code, again.json()["error_code"]) == (409, "job_ended")
    await asyncio.sleep(2)
    assert server.api.get(f"/jobs/{job}")["status"] == "canceled"
    assert list((server.storage / "jobs" / job / "checkpoints").glob("*"))
    assert not list((server.storage / "jobs" / job).rglob("*.partial"))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("waits_s", [0.0, 1.0])
def test_an_interrupt_before_the_first_step_leaves_no_process(server: Server, recorded: Cell, waits_s: float) -> None:
    """While Ray Train's own processes start, which is when it does not tidy up itself."""
    job = submit(server.api, recorded, max_steps=100_000, model_name="too early")
    deadline = time.monotonic() + 300
    while "waits for a worker" not in (server.api.get(f"/jobs/{job}")["message"] or ""):
        assert time.monotonic() < deadline, server.api.get(f"/jobs/{job}")
        time.sleep(0.05)
    time.sleep(waits_s)
    server.api.post(f"/jobs/{job}:interrupt")
    assert server.api.get(f"/jobs/{job}")["status"] == "canceled"
    deadline = time.monotonic() + 30
    titles = ("ray::_Cleaner", "ray::TrainController", "ray::train-", "ray::RayTrainWorker")
    while left := [each for title in titles for each in server.processes(title)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_interrupt_amid_an_export_leaves_nothing_half_written(server: Server, recorded: Cell) -> None:
    job = submit(server.api, recorded, max_steps=1, checkpoint_every=1, model_name="half")
    folder = server.storage / "jobs" / job
    deadline = time.monotonic() + 400
    while not list(folder.glob("exports/*.partial")):
        assert time.monotonic() < deadline, server.api.get(f"/jobs/{job}")
        time.sleep(0.05)
    server.api.post(f"/jobs/{job}:interrupt")
    assert server.api.get(f"/jobs/{job}")["status"] == "canceled"
    time.sleep(3)  # whoever was killed has written its last by then
    assert not list(folder.rglob("*.partial"))
    assert list((folder / "checkpoints").iterdir())


async def test_a_failing_training_says_why(server: Server, failed: dict[str, Any], page: Page) -> None:
    assert failed["status"] == "failed"
    assert "record more" in failed["reason"]
    assert "smaller batch_size" in failed["reason"]
    assert "Traceback" not in failed["reason"]
    message = page.locator(f'#jobs li[data-id="{failed["id"]}"][data-status="failed"] .message')
    assert await message.inner_text() == failed["reason"]
    assert server.api.get(f"/jobs/{failed['id']}")["status"] == "failed"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_training_goes_on_by_itself_after_everything_was_killed(server: Server, recorded: Cell) -> None:
    """From its newest checkpoint: the steps before that are not made again."""
    steps, every = 600, 20
    job = submit(server.api, recorded, max_steps=steps, checkpoint_every=every, model_name="survivor")
    folder = JobFolder(server.storage / "jobs" / job)
    deadline = time.monotonic() + 400
    while not folder.checkpoint(every).exists():
        assert time.monotonic() < deadline, server.api.get(f"/jobs/{job}")
        time.sleep(0.1)
    time.sleep(1)  # in the midst of a step
    before = server.api.get(f"/jobs/{job}")
    assert (before["status"], before["attempt"]) == ("running", 1)
    server.kill_everything()
    checkpoint = folder.newest_checkpoint()
    assert checkpoint is not None
    newest = checkpoint_step(checkpoint)
    assert every <= newest < steps
    server.start()
    done = ended(server.api, job)
    assert (done["status"], done["reason"], done["attempt"]) == ("completed", None, 2)
    made = [row["step"] for row in server.api.get(f"/jobs/{job}/metrics") if "loss" in row]
    again = made.index(newest + 1, made.index(newest + 1) + 1) if made.count(newest + 1) > 1 else made.index(newest + 1)
    assert made[:again] == list(range(1, again + 1))
    assert made[again:] == list(range(newest + 1, steps + 1))
