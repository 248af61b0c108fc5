"""The main job from an empty server to a policy, through the public HTTP API only: record, train, evaluate."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from client.api import Api, Refused

FPS = 10
TASK = "Push the T-shaped block onto the T-shaped target."
CAMERA = {
    "name": "top",
    "driver": "simulated",
    "payload": {"scene": "pusht", "width": 96, "height": 96, "fps": 30, "seed": 0},
}
POLICY_ARGS = {"chunk_size": 16, "dim_model": 64, "dim_feedforward": 256, "optimizer_lr": 3e-4}


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """``steps`` of training, ``episodes`` to record (one more is discarded), ``rollouts`` to evaluate by,
    ``max_seconds`` an episode may last."""

    steps: int = 200
    episodes: int = 5
    rollouts: int = 10
    max_seconds: float = 45.0


@dataclass(frozen=True, slots=True)
class Cell:
    """The ids of what the demo made."""

    project: str
    environment: str
    dataset: str


def run_demo(url: str, options: DemoOptions, out: Console) -> None:
    """Raises Refused with what the server said, or with how a job ended."""
    api = Api(url)
    with _bars(out) as bars:
        cell = make_cell(api, f"PushT demo {time.strftime('%Y-%m-%d %H:%M:%S')}")
        bars.print(f"Made project {cell.project}: a PushT cell and its camera. Watch it at {url}/")
        record(api, cell, options, bars)
        model = train(api, cell, options.steps, bars)
        rollouts = evaluate(api, model["id"], options.rollouts, bars)
    out.print(_scores(rollouts))
    out.print(_exports(model))
    out.print(f"Look at:  {url}/  ·  {url}/api/dataset/{cell.dataset}/episodes  ·  {url}/api/models/{model['id']}")


def sample_model(url: str, cell: Cell, out: Console) -> str:
    """A small policy in the sample project: the one that is there, or one trained on two episodes; says which."""
    api = Api(url)
    if models := api.get(f"/projects/{cell.project}/models"):
        return f"Loaded the model '{models[-1]['name']}' that was there: {url}/api/models/{models[-1]['id']}"
    with _bars(out) as bars:
        if not api.get(f"/dataset/{cell.dataset}")["episodes"]:
            record(api, cell, DemoOptions(episodes=2), bars)
        model = train(api, cell, 50, bars, "sample-act")
    return f"Trained the model '{model['name']}' (50 steps): {url}/api/models/{model['id']}"


def _bars(out: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=out
    )


def make_cell(api: Api, name: str) -> Cell:
    """A project with the simulated cell: a robot, its camera, an environment with the scripted expert, a dataset."""
    project = api.post("/projects", {"name": name})["id"]
    parent = f"/projects/{project}"
    robot = api.post(f"{parent}/robots", {"name": "pusher", "type": "PushT", "payload": {"seed": 0}})["id"]
    camera = api.post(f"{parent}/cameras", CAMERA)["id"]
    robots = [{"robot_id": robot, "tele_operator": {"type": "scripted"}}]
    composed = {"name": "cell", "robots": robots, "camera_ids": [camera]}
    environment = api.post(f"{parent}/environments", composed)["id"]
    dataset = api.post(
        "/dataset",
        {"name": "pushes", "project_id": project, "environment_id": environment, "default_task": TASK},
    )["id"]
    return Cell(project, environment, dataset)


def record(api: Api, cell: Cell, options: DemoOptions, bars: Progress) -> None:
    """One take is discarded, as an operator would a bad one; then ``episodes`` are saved."""
    sessions = f"/projects/{cell.project}/recordings"
    body = {"environment_id": cell.environment, "dataset_id": cell.dataset, "fps": FPS}
    session = f"{sessions}/{api.post(sessions, body)['id']}"
    bar = bars.add_task("recording", total=options.episodes)
    try:
        spoiled = api.post(f"{session}:start_episode", {"episode_id": str(uuid4())})["episode_id"]
        time.sleep(1)
        api.post(f"{session}:discard_episode", {"episode_id": spoiled})
        for _ in range(options.episodes):
            _record_one(api, session, options.max_seconds, lambda text: bars.update(bar, description=text))
            bars.advance(bar)
    finally:
        api.post(f"{session}:close")


def _record_one(api: Api, session: str, max_seconds: float, tell: Any) -> None:
    episode = api.post(f"{session}:start_episode")["episode_id"]
    deadline = time.monotonic() + max_seconds
    success = False
    while time.monotonic() < deadline and not success:
        time.sleep(0.25)
        live = api.get(session)["episode"]
        if live is None:
            raise Refused("The episode was interrupted; the session says why.")
        success = bool((live.get("robot") or {}).get("success"))
        tell(f"recording: row {live['row']}, {live['dropped']} dropped, {live['stale']} stale")
    facts = api.post(f"{session}:save_episode", {"episode_id": episode, "success": success})
    tell(f"saved episode {facts['episode_index']}: {facts['rows']} rows at {facts['measured_fps']:.1f} fps")


def train(api: Api, cell: Cell, steps: int, bars: Progress, name: str = "act-pusht") -> dict[str, Any]:
    """An ACT policy on what was recorded; answers the model."""
    job = api.post(
        "/jobs:train",
        {
            "project_id": cell.project,
            "dataset_id": cell.dataset,
            "policy": "act",
            "model_name": name,
            "max_steps": steps,
            "checkpoint_every": max(1, steps // 4),
            "policy_args": POLICY_ARGS,
        },
    )
    model: dict[str, Any] = api.get(f"/models/{_follow(api, job, bars, 'training')['model_id']}")
    return model


def evaluate(api: Api, model: str, rollouts: int, bars: Progress) -> dict[str, Any]:
    """Rollouts of the model, the expert and a random policy on the same seeds: {who: {success_rate, mean_coverage}}."""
    job = api.post(f"/models/{model}:evaluate", {"episodes": rollouts})
    _follow(api, job, bars, "evaluation")
    rollouts_by: dict[str, Any] = api.get(f"/models/{model}")["evaluations"][-1]["rollouts"]
    return rollouts_by


def _follow(api: Api, job: dict[str, Any], bars: Progress, what: str) -> dict[str, Any]:
    bar = bars.add_task(what, total=100)

    def tell(found: dict[str, Any]) -> None:
        bars.update(bar, completed=found["progress"], description=f"{what}: {found['message'] or found['status']}")

    ended: dict[str, Any] = api.until(f"/jobs/{job['id']}", lambda found: found["end_time"] is not None, tell)
    if ended["status"] != "completed":
        raise Refused(f"The {what} job ended {ended['status']}: {ended['reason']}")
    return ended


def _scores(rollouts: dict[str, Any]) -> Table:
    table = Table("who", "rollouts", "success", "mean coverage", title="Rollouts in the cell, same seeds for all")
    for who, result in rollouts.items():
        numbers = f"{result['success_rate']:.0%}", f"{result['mean_coverage']:.0%}"
        table.add_row(who, str(result["episodes"]), *numbers)
    return table


def _exports(model: dict[str, Any]) -> Table:
    table = Table("export", "size", "one action", "", title=f"Model {model['name']}")
    for export in model["exports"]:
        latency = "" if export["latency_ms"] is None else f"{export['latency_ms']:.1f} ms"
        table.add_row(export["backend"], f"{export['size_bytes'] / 1e6:.1f} MB", latency, export["reason"] or "")
    return table
