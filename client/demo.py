"""The main job from an empty server to a policy, through the public HTTP API only: record, train, evaluate."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from client.api import Api, Refused
from client.bars import Bars, Line

FPS = 10
TASK = "Push the T-shaped block onto the T-shaped target."
CAMERA = {
    "name": "top",
    "driver": "simulated",
    "payload": {"scene": "pusht", "width": 96, "height": 96, "fps": 30, "seed": 0},
}
FEW_STEPS = 20_000  # with fewer, a rollout that succeeds is luck
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
    with Bars(out) as bars:
        cell = make_cell(api, f"PushT demo {time.strftime('%Y-%m-%d %H:%M:%S')}")
        bars.say(f"Made project {cell.project}:")
        bars.say(f"a PushT cell and its camera. Watch it at {url}/")
        record(api, cell, options, bars)
        model = train(api, cell, options.steps, bars)
        rollouts = evaluate(api, model["id"], options.rollouts, bars)
    out.print(_scores(rollouts))
    out.print(_exports(model))
    if options.steps < FEW_STEPS:
        out.print(f"{options.steps} steps show that the road works, not a policy that works; try --steps {FEW_STEPS}.")
    out.print("Look at")  # each link is a line of its own, for 80 columns have no room for a word beside it
    for page in ("/", f"/api/dataset/{cell.dataset}/episodes", f"/api/models/{model['id']}"):
        out.print(f"{url}{page}", soft_wrap=True)


def sample_model(url: str, cell: Cell, out: Console) -> str:
    """A small policy in the sample project: the one that is there, or one trained on two episodes; says which."""
    api = Api(url)
    if models := api.get(f"/projects/{cell.project}/models"):
        return f"Loaded the model '{models[-1]['name']}' that was there: {url}/api/models/{models[-1]['id']}"
    with Bars(out) as bars:
        if not api.get(f"/dataset/{cell.dataset}")["episodes"]:
            record(api, cell, DemoOptions(episodes=2), bars)
        model = train(api, cell, 50, bars, "sample-act")
    return f"Trained the model '{model['name']}' (50 steps): {url}/api/models/{model['id']}"


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


def record(api: Api, cell: Cell, options: DemoOptions, bars: Bars) -> None:
    """One take is discarded, as an operator would a bad one; then ``episodes`` are saved."""
    sessions = f"/projects/{cell.project}/recordings"
    body = {"environment_id": cell.environment, "dataset_id": cell.dataset, "fps": FPS}
    rows = list[int]()
    with bars.line("recording", "opens the session", options.episodes) as line:
        session = f"{sessions}/{api.post(sessions, body)['id']}"
        try:
            _discard_one(api, session, line)
            while len(rows) < options.episodes:
                rows.append(_record_one(api, session, options.max_seconds, lambda words: line.tell(words, len(rows))))
        finally:
            api.post(f"{session}:close")
        line.end(f"saved {options.episodes} episodes with {sum(rows)} rows")


def _discard_one(api: Api, session: str, line: Line) -> None:
    line.tell("takes one and discards it")
    spoiled = api.post(f"{session}:start_episode", {"episode_id": str(uuid4())})["episode_id"]
    time.sleep(1)
    api.post(f"{session}:discard_episode", {"episode_id": spoiled})


def _record_one(api: Api, session: str, max_seconds: float, tell: Callable[[str], None]) -> int:
    """Until the block is on its target; how many rows were saved."""
    episode = api.post(f"{session}:start_episode")["episode_id"]
    deadline = time.monotonic() + max_seconds
    success = False
    while time.monotonic() < deadline and not success:
        time.sleep(0.25)
        found = api.get(session)
        live = found["episode"]
        if live is None or live["episode_id"] != episode:
            raise Refused(_why_ended(found, episode))
        success = bool((live.get("robot") or {}).get("success"))
        tell(f"row {live['row']} · {live['dropped']} dropped · {live['stale']} stale")
    facts = api.post(f"{session}:save_episode", {"episode_id": episode, "success": success})
    return int(facts["rows"])


def _why_ended(session: dict[str, Any], episode: str) -> str:
    """By itself, or by somebody: the page's keys speak to this session, too."""
    for lost in session["interrupted"]:
        if lost["episode_id"] == episode:
            return f"The episode was interrupted: {lost['reason']}."
    return "Somebody else has ended the demo's episode or its session (the page's take keys do). Start the demo again."


def train(api: Api, cell: Cell, steps: int, bars: Bars, name: str = "act-pusht") -> dict[str, Any]:
    """An ACT policy on what was recorded; answers the model."""
    body = {
        "project_id": cell.project,
        "dataset_id": cell.dataset,
        "policy": "act",
        "model_name": name,
        "max_steps": steps,
        "checkpoint_every": max(1, steps // 4),
        "policy_args": POLICY_ARGS,
    }
    with bars.line("training", "submits the job") as line:
        ended = _followed(api, api.post("/jobs:train", body), line)
        model: dict[str, Any] = api.get(f"/models/{ended['model_id']}")
        line.end(f"{steps} steps, loss {model['metrics']['loss']:.3g}")
    return model


def evaluate(api: Api, model: str, rollouts: int, bars: Bars) -> dict[str, Any]:
    """Rollouts of the model, the expert and a random policy on the same seeds: {who: {success_rate, mean_coverage}}."""
    with bars.line("evaluation", "submits the job") as line:
        _followed(api, api.post(f"/models/{model}:evaluate", {"episodes": rollouts}), line)
        rollouts_by: dict[str, Any] = api.get(f"/models/{model}")["evaluations"][-1]["rollouts"]
        line.end(f"{rollouts} rollouts of each, same seeds")
    return rollouts_by


def _followed(api: Api, job: dict[str, Any], line: Line) -> dict[str, Any]:
    """The job once it is completed. Raises Refused with how else it ended."""
    ended: dict[str, Any] = api.until(
        f"/jobs/{job['id']}",
        lambda found: found["end_time"] is not None,
        lambda found: line.tell(_words(found), found["progress"]),
    )
    if ended["status"] != "completed":
        line.tell(ended["status"], ended["progress"])
        raise Refused(f"The {ended['type']} job ended {ended['status']}: {ended['reason']}")
    return ended


def _words(job: dict[str, Any]) -> str:
    """What goes on in it."""
    if job["status"] == "interrupted":
        return f"interrupted: {job['reason']}; it goes on by itself"
    words, loss = job["message"] or job["status"], job["extra_info"].get("train/loss_step")
    return f"{words} · loss {loss:.3g}" if loss is not None and words.startswith("step") else str(words)


def _scores(rollouts: dict[str, Any]) -> Table:
    table = Table("who", "rollouts", "success", "mean coverage", title="Rollouts in the cell, same seeds for all")
    for who, result in rollouts.items():
        numbers = f"{result['success_rate']:.0%}", f"{result['mean_coverage']:.0%}"
        table.add_row(who, str(result["episodes"]), *numbers)
    return table


def _exports(model: dict[str, Any]) -> Table:
    failed = any(export["reason"] for export in model["exports"])
    table = Table("export", "size", "one action", *(["why not"] if failed else []), title=f"Model {model['name']}")
    for export in model["exports"]:
        latency = "" if export["latency_ms"] is None else f"{export['latency_ms']:.1f} ms"
        reason = [export["reason"] or ""] if failed else []
        table.add_row(export["backend"], f"{export['size_bytes'] / 1e6:.1f} MB", latency, *reason)
    return table
