"""What the demo shows of a server that answers from a script."""

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from client import api, demo
from client.api import Api, Refused

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Json = dict[str, Any]


def job(kind: str, progress: int, message: str, **more: Any) -> Json:
    known = {"id": kind, "type": kind, "status": "running", "reason": None, "end_time": None, "model_id": "m"}
    return {**known, "extra_info": {}, "progress": progress, "message": message, **more}


DONE = {"status": "completed", "end_time": "2026-11-01T00:00:00Z"}
TRAINING = [
    job("training", 0, "", status="pending"),
    job("training", 0, "loads the training libraries"),
    job("training", 49, "step 100 of 200", extra_info={"train/loss_step": 0.5123}),
    job("training", 99, "exports: torch", extra_info={"train/loss_step": 0.5123}),
    job("training", 100, "exports: torch", **DONE),
]
EVALUATION = [
    job("evaluation", 70, "rollouts of random: 1 of 10"),
    job("evaluation", 100, "rollouts of random: 1 of 10", **DONE),
]
FAILED = [
    job("training", 0, "starts a process"),
    job("training", 1, "step 2 of 200", **DONE | {"status": "failed", "reason": "Out of memory"}),
]
ROLLOUTS = {who: {"episodes": 10, "success_rate": 0.5, "mean_coverage": 0.7} for who in ("policy", "expert")}
MODEL = {
    "id": "m",
    "name": "act-pusht",
    "metrics": {"loss": 0.0814},
    "exports": [{"backend": "onnx", "size_bytes": 4_100_000, "latency_ms": 7.0, "reason": None}],
    "evaluations": [{"rollouts": ROLLOUTS}],
}


class Scripted(Api):
    """Every thing it makes is called "x"; an episode succeeds when it is asked for the third time."""

    jobs: dict[str, Iterator[Json]]
    looks = 0

    def _call(self, method: str, path: str, body: Json | None) -> Any:
        match method, path.rpartition("/")[2]:
            case "POST", "jobs:train":
                return job("training", 0, "", status="pending")
            case "POST", "m:evaluate":
                return job("evaluation", 0, "", status="pending")
            case "POST", "x:save_episode":
                return {"rows": 25}
            case "POST", _:
                return {"id": "x", "episode_id": "e"}
            case "GET", ("training" | "evaluation") as kind:
                return next(self.jobs[kind])
            case "GET", "m":
                return MODEL
        self.looks += 1
        return {
            "episode": {
                "episode_id": "e",
                "row": self.looks,
                "dropped": 0,
                "stale": 1,
                "robot": {"success": self.looks % 3 == 0},
            }
        }


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words of every line, as they came."""
    words = list[str]()
    tell = demo.Line.tell

    def telling(line: demo.Line, text: str, done: float = 0) -> None:
        words.append(text)
        tell(line, text, done)

    monkeypatch.setattr(demo.Line, "tell", telling)
    monkeypatch.setattr(demo, "Api", Scripted)
    monkeypatch.setattr(api.time, "sleep", lambda seconds: None)
    return words


def run(monkeypatch: pytest.MonkeyPatch, training: list[Json], episodes: int = 2) -> list[str]:
    monkeypatch.setattr(Scripted, "jobs", {"training": iter(training), "evaluation": iter(EVALUATION)}, raising=False)
    out = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, highlight=False, soft_wrap=True)
    try:
        demo.run_demo("http://localhost:8000", demo.DemoOptions(episodes=episodes), out)
    finally:
        assert isinstance(out.file, io.StringIO)
        text = ANSI.sub("", out.file.getvalue()).replace("\r", "\n")
    return [line.rstrip() for line in text.splitlines()]


def test_every_line_says_once_what_goes_on_and_at_last_how_it_ended(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = run(monkeypatch, TRAINING)
    assert told == [
        "takes one and discards it",
        *(f"row {row} · 0 dropped · 1 stale" for row in range(1, 7)),
        "saved 2 episodes with 50 rows",
        "pending",
        "loads the training libraries",
        "step 100 of 200 · loss 0.512",
        "exports: torch",
        "exports: torch",
        "200 steps, loss 0.0814",
        "rollouts of random: 1 of 10",
        "rollouts of random: 1 of 10",
        "10 rollouts of each, same seeds",
    ]
    assert max(map(len, shown)) <= 80
    last = {line.split()[0]: line for line in shown if line.startswith(("recording", "training", "evaluation"))}
    assert re.fullmatch(r"recording  ━{20} +2/2 0:00:0\d saved 2 episodes with 50 rows", last["recording"])
    assert re.fullmatch(r"training   ━{20} 100 % 0:00:0\d 200 steps, loss 0.0814", last["training"])
    assert re.fullmatch(r"evaluation ━{20} 100 % 0:00:0\d 10 rollouts of each, same seeds", last["evaluation"])


UUID = "01234567-89ab-cdef-0123-456789abcdef"


def test_the_last_screen_has_links_to_copy_and_no_column_without_a_word(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "make_cell", lambda api, name: demo.Cell("x", "x", UUID))
    shown = run(monkeypatch, TRAINING)
    assert f"http://localhost:8000/api/dataset/{UUID}/episodes" in shown
    assert max(map(len, shown)) <= 80
    heading = next(line for line in shown if "one action" in line)
    assert [cell.strip() for cell in heading.strip("┃").split("┃")] == ["export", "size", "one action"]
    assert "200 steps show that the road works, not a policy that works; try --steps 20000." in shown


def test_an_export_that_failed_says_why_not(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"backend": "openvino", "size_bytes": 0, "latency_ms": None, "reason": "no such operation"}
    monkeypatch.setitem(MODEL, "exports", [*MODEL["exports"], failed])
    shown = run(monkeypatch, TRAINING)
    assert any("openvino" in line and "no such operation" in line for line in shown)


def test_a_job_that_ends_otherwise_is_told_with_its_reason(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="The training job ended failed: Out of memory"):
        run(monkeypatch, FAILED)
    assert told[-1] == "failed"


@pytest.mark.parametrize(
    ("session", "told"),
    [
        (
            {"episode": None, "interrupted": [{"episode_id": "e", "reason": "the camera was lost"}]},
            "the camera was lost",
        ),
        ({"episode": None, "interrupted": []}, "Somebody else has ended the demo's episode"),
        ({"episode": {"episode_id": "other"}, "interrupted": []}, "Somebody else has ended the demo's episode"),
    ],
)
def test_an_episode_that_others_end_is_told_as_it_was(session: Json, told: str) -> None:
    class Others:
        def get(self, path: str) -> Json:
            return session

        def post(self, path: str, body: Json | None = None) -> Json:
            return {"episode_id": "e"}

    with pytest.raises(Refused, match=told):
        demo._record_one(Others(), "/s", 5, lambda words: None)  # type: ignore[arg-type]
