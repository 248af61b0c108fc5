"""ray_cluster.yaml, judged by Ray's own validator and by the parser of `ray start`."""

import copy
import os
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from settings import Settings

PROJECT = Path(__file__).parents[2]
TARGET = "/opt/geti-action/"
WORKERS = {"192.168.10.11": "cameras", "192.168.10.12": "gpu"}
FAKE_RAY = """
ray() { printf '%s\\n' "$@" "auth=$RAY_AUTH_MODE"; }
ip() { echo "$4 dev eth0 src $NODE uid 0"; }
"""


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "ray_cluster.yaml").read_text())


def run(command: str, folder: Path, **env: str) -> list[str]:
    """What a node's shell makes of a start command: the words that `ray` is given, then how it authenticates."""
    script = FAKE_RAY + command.replace(f"{TARGET}.venv/bin/ray", "ray").replace(TARGET, f"{folder}/")
    environ = {"PATH": os.environ["PATH"], "HOME": "/home/ray", **env}
    shell = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=True, cwd=folder)
    return shell.stdout.splitlines()


def started(config: dict[str, Any], role: str, folder: Path, **env: str) -> tuple[dict[str, Any], str]:
    """The options that `ray start` understood, and how it authenticates."""
    for command in config["setup_commands"]:
        run(command, folder)
    *words, auth = run(config[f"{role}_start_ray_commands"][-1], folder, **env)
    return start.make_context("ray start", words[1:]).params, auth


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    prepared = prepare_config(config)
    validate_config(prepared)
    node = prepared["available_node_types"]["local.cluster.node"]
    assert (node["min_workers"], node["max_workers"]) == (len(WORKERS), len(WORKERS))


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"bogus": 1}, jsonschema.ValidationError),
        ({"max_workers": "two"}, (jsonschema.ValidationError, TypeError)),
        ({"provider": {"type": "local"}}, click.ClickException),
        ({"available_node_types": {"gpu": {"resources": {}, "node_config": {}}}}, click.ClickException),
    ],
)
def test_ray_refuses_a_broken_one(config: dict[str, Any], broken: dict[str, Any], complaint: Any) -> None:
    with pytest.raises(complaint):
        validate_config(prepare_config(copy.deepcopy(config) | broken))


def test_head_starts_with_its_address_and_label(config: dict[str, Any], tmp_path: Path) -> None:
    options, auth = started(config, "head", tmp_path)
    assert options["head"]
    assert options["node_ip_address"] == config["provider"]["head_ip"]
    assert options["labels"] == "geti-action/role=head"
    assert auth == "auth=token"


@pytest.mark.parametrize(("node", "role"), WORKERS.items())
def test_each_worker_starts_with_its_own_address_and_label(
    config: dict[str, Any], tmp_path: Path, node: str, role: str
) -> None:
    options, auth = started(config, "worker", tmp_path, RAY_HEAD_IP="192.168.10.10", NODE=node)
    assert node in config["provider"]["worker_ips"]
    assert options["address"] == "192.168.10.10:6379"
    assert options["node_ip_address"] == node
    assert options["labels"] == f"geti-action/role={role}"
    assert auth == "auth=token"


def test_settings_are_read_from_the_file_that_each_node_has_and_by_no_shell(
    config: dict[str, Any], tmp_path: Path
) -> None:
    (command,) = config["setup_commands"]
    run(command, tmp_path)
    url = "postgresql+asyncpg://lab:pa$word&more@host/lab"
    relays = '[{"urls": "turn:host", "username": "lab", "credential": "x"}]'
    with (tmp_path / ".env").open("a") as file:
        file.write(f"DATABASE_URL={url}\nICE_SERVERS={relays}\n")
    read = Settings(_env_file=tmp_path / ".env")  # type: ignore[call-arg]
    assert (read.database_url, len(read.ice_servers), str(read.storage_dir)) == (url, 1, "/srv/geti-action")
    commands = " ".join(config["head_start_ray_commands"] + config["worker_start_ray_commands"])
    assert ".env" not in commands


def test_a_worker_without_a_role_does_not_join(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        started(config, "worker", tmp_path, RAY_HEAD_IP="192.168.10.10", NODE="192.168.10.99")


def test_a_node_gets_every_file_it_runs(config: dict[str, Any]) -> None:
    copied = {
        Path(remote).relative_to(TARGET): local for remote, local in config["file_mounts"].items() if "~" not in remote
    }
    assert {str(remote) for remote in copied} == set(copied.values())
    assert [local for local in copied.values() if not (PROJECT / local).exists()] == []
    assert wheel_contents() <= set(copied.values())


def wheel_contents() -> set[str]:
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    return set(pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])


def test_setup_uses_only_words_that_run_sh_knows(config: dict[str, Any]) -> None:
    known = subprocess.run([PROJECT / "run.sh", "--help"], capture_output=True, text=True, check=True).stdout
    words = shlex.split(" ".join(config["head_setup_commands"] + config["worker_setup_commands"]))
    assert [word for word in words if word.startswith("--") and word.strip(";") not in known] == []
