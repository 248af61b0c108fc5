"""The main job as a user starts it, one command from an empty project to a policy that was rolled out."""

import re
import subprocess
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import text

from actors.sample import sample_id
from settings import PROJECT

from .conftest import Server

pytestmark = [pytest.mark.slow, pytest.mark.train, pytest.mark.long, pytest.mark.timeout(1200)]
STEPS, EPISODES, ROLLOUTS = 20, 2, 1
SMALL = ("--steps", str(STEPS), "--episodes", str(EPISODES), "--rollouts", str(ROLLOUTS))
OWN = "No server runs here"


def run_sh(server: Server, *words: str) -> str:
    """What ``./run.sh`` says with this server's settings, from another folder. It must succeed."""
    command = [PROJECT / "run.sh", *words]
    done = subprocess.run(command, cwd="/", env=server.environment, text=True, capture_output=True, timeout=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_what_was_made(server: Server, said: str) -> None:
    (project,) = re.findall(r"Made project (\S+):", said)
    (dataset,) = server.api.get(f"/projects/{project}/datasets")
    assert dataset["episodes"] == EPISODES
    assert takes(server, project) == ["discarded"] + ["saved"] * EPISODES
    (model,) = server.api.get(f"/projects/{project}/models")
    assert {export["backend"]: export["reason"] for export in model["exports"]} == dict.fromkeys(
        ("torch", "onnx", "openvino")
    )
    (evaluation,) = server.api.get(f"/models/{model['id']}")["evaluations"]
    assert set(evaluation["rollouts"]) == {"policy", "expert", "random"}
    check_table(said, evaluation["rollouts"])
    jobs = server.api.get(f"/projects/{project}/jobs")
    assert {(job["type"], job["status"]) for job in jobs} == {("training", "completed"), ("evaluation", "completed")}
    links = re.findall(r"^http://\S+$", said.partition("Look at\n")[2], re.MULTILINE)
    assert [link.removeprefix(server.url) for link in links] == [
        "/",
        f"/api/dataset/{dataset['id']}/episodes",
        f"/api/models/{model['id']}",
    ]
    assert [httpx.get(link).status_code for link in links] == [200] * len(links)


def takes(server: Server, project: str) -> list[str]:
    """How each take in the project's sessions ended, in order."""
    of_it = "recording_id IN (SELECT id FROM recordings WHERE project_id = :project) ORDER BY number"
    with server.connected() as connection:
        query = text(f"SELECT state FROM recording_episodes WHERE {of_it}")
        return list(connection.scalars(query, {"project": project}))


def check_table(said: str, rollouts: dict[str, Any]) -> None:
    """Every figure of the evaluation is printed, in its row."""
    cells = [re.split(r"\s*[│┃|]\s*", line.strip(" │┃|")) for line in said.splitlines()]
    rows = {row[0]: row[1:] for row in cells if row[0] in rollouts}
    assert rows == {
        who: [str(ROLLOUTS), f"{each['success_rate']:.0%}", f"{each['mean_coverage']:.0%}"]
        for who, each in rollouts.items()
    }
    sizes = {row[0]: row[1] for row in cells if row[0] in ("torch", "onnx", "openvino")}
    assert len(sizes) == 3
    assert all(size.endswith(" MB") for size in sizes.values())


def left_of(server: Server) -> list[str]:
    """The processes that have this server's settings."""
    found = (each for each in psutil.process_iter() if _storage(each) == str(server.storage))
    return [" ".join(each.cmdline()) for each in found]


def _storage(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("STORAGE_DIR")
    except psutil.Error:
        return None


def test_the_demo_uses_the_server_that_runs(server: Server) -> None:
    said = run_sh(server, "demo", *SMALL)
    assert OWN not in said
    check_what_was_made(server, said)


def test_the_demo_brings_a_server_of_its_own_and_leaves_none(own_server: Server) -> None:
    said = run_sh(own_server, "demo", *SMALL)
    assert OWN in said
    log = own_server.storage / ".server.log"
    assert str(log) in said
    assert "Ready after" in log.read_text()
    assert "Ready after" not in said
    assert "\x1b[" not in log.read_text() + said
    assert left_of(own_server) == []
    check_what_was_made(own_server.start(), said)
    assert left_of(own_server)


def test_a_seeded_model_is_trained_once(own_server: Server) -> None:
    own_server.start()
    said = run_sh(own_server, "seed", "--with-model=True")
    (model,) = own_server.api.get(f"/projects/{sample_id('project')}/models")
    link = f"{own_server.url}/api/models/{model['id']}"
    assert f"Trained the model '{model['name']}' (50 steps): {link}" in said
    assert httpx.get(link).status_code == 200
    (job,) = own_server.api.get("/jobs")
    assert (job["model_id"], job["payload"]["max_steps"]) == (model["id"], 50)
    before = takes(own_server, str(sample_id("project")))
    assert f"Loaded the model '{model['name']}' that was there: {link}" in run_sh(
        own_server, "seed", "--with-model=True"
    )
    assert own_server.api.get(f"/projects/{sample_id('project')}/models") == [model]
    assert takes(own_server, str(sample_id("project"))) == before
    assert own_server.api.get("/jobs") == [job]
