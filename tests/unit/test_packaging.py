"""What is shipped and pinned: the locks, the wheel, the settings' example, and which room may load what."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from settings import Settings

PROJECT = Path(__file__).parents[2]
LOCKS = {"base": "requirements.lock", "train": "requirements-train.lock", "dev": "requirements-dev.lock"}
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)", re.MULTILINE)
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
SHIPPED: list[str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
ROOMS = {*PYPROJECT["tool"]["importlinter"]["root_packages"], "cli", "serve_app", "settings"}
# What physicalai-train chooses for us: pinning these beside it could only contradict it.
WITH_PHYSICALAI = {
    "physicalai",
    "torch",
    "torchvision",
    "lightning",
    "lerobot",
    "openvino",
    "onnx",
    "onnxruntime",
    "huggingface_hub",
}


def pins(name: str) -> dict[str, str]:
    found = PIN.finditer((PROJECT / LOCKS[name]).read_text())
    return {canonicalize_name(pin["name"]): pin["version"] for pin in found}


def asked_for() -> Iterator[tuple[str, Requirement]]:
    """Every direct dependency of pyproject.toml, with the lock that must have it."""
    project = PYPROJECT["project"]
    train, dev = project["optional-dependencies"]["train"], PYPROJECT["dependency-groups"]["dev"]
    for lock, wanted in {"base": project["dependencies"], "train": train, "dev": dev}.items():
        yield from ((lock, Requirement(one)) for one in wanted)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_address(lock: str) -> None:
    text = (PROJECT / LOCKS[lock]).read_text()
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text


def test_the_locks_have_what_pyproject_asks_for() -> None:
    old = [
        f"{wanted} in {LOCKS[lock]}"
        for lock, wanted in asked_for()
        if pins(lock).get(canonicalize_name(wanted.name), "0") not in wanted.specifier
    ]
    assert old == [], "run ./run.sh lock"


def test_the_locks_are_of_one_resolution() -> None:
    base, train, dev = map(pins, LOCKS)
    both = [name for name in train if train[name] != (base | dev).get(name, train[name])]
    assert both == []
    assert [name for name in dev if dev[name] != base.get(name, dev[name])] == []


def test_the_base_has_no_torch_and_one_opencv() -> None:
    base = pins("base")
    assert [name for name in base if name.startswith(("torch", "nvidia", "lerobot", "physicalai"))] == []
    assert [name for lock in LOCKS for name in pins(lock) if "opencv" in name] == ["opencv-python-headless"]


def test_only_the_headless_opencv_is_installed() -> None:
    names = {canonicalize_name(one.metadata["Name"]) for one in distributions()}
    assert {name for name in names if "opencv" in name} == {"opencv-python-headless"}


def test_the_wheel_has_every_room() -> None:
    assert {name.removesuffix(".py") for name in SHIPPED} == ROOMS | {"console"}


def test_the_example_shows_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    example = PROJECT / ".env.example"
    shown = re.findall(r"^([A-Z_]+)=", example.read_text(), flags=re.MULTILINE)
    assert sorted(shown) == sorted(name.upper() for name in Settings.model_fields)
    assert Settings(_env_file=example) == Settings(_env_file=None)


def test_the_readme_tells_every_setting_with_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    table = (PROJECT / "README.md").read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    told = [pair for row in rows for pair in zip(*(re.findall(r"`([^`]+)`", cell) for cell in row), strict=True)]
    assert sorted(name for name, _ in told) == sorted(name.upper() for name in Settings.model_fields)
    (tmp_path / ".env").write_text("".join(f"{name}={default}\n" for name, default in told))
    assert Settings(_env_file=tmp_path / ".env") == Settings(_env_file=None)


def imported(path: Path) -> Iterator[str]:
    """The modules that a file names in its imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def outside(*names: str) -> set[str]:
    """The packages from outside the standard library and the project that these shipped files or folders import."""
    paths = [
        path for name in names for path in ((PROJECT / name).rglob("*.py") if "." not in name else [PROJECT / name])
    ]
    tops = {module.split(".")[0] for path in paths for module in imported(path)}
    return tops - sys.stdlib_module_names - ROOMS


def test_domain_imports_nothing_but_pydantic_and_eventsourcing() -> None:
    assert outside("domain") == {"pydantic", "eventsourcing"}


def test_every_import_is_a_direct_dependency() -> None:
    declared = {canonicalize_name(wanted.name) for lock, wanted in asked_for() if lock != "dev"}
    providers = packages_distributions()
    undeclared = [
        package
        for package in outside(*SHIPPED)
        if not declared & {canonicalize_name(one) for one in providers.get(package, [])}
        and package not in WITH_PHYSICALAI
    ]
    assert undeclared == []


def test_single_modules_leave_each_library_to_its_room() -> None:
    rooms_own = {"aiortc", "aioice", "eventsourcing_sqlalchemy", *WITH_PHYSICALAI}
    assert outside(*(name for name in SHIPPED if name.endswith(".py"))) & rooms_own == set()


def test_what_is_installed_from_the_wheel_keeps_its_data_with_the_user(tmp_path: Path) -> None:
    """Whoever removes or updates the environment removes what lies in it."""
    shutil.copy(PROJECT / "settings.py", tmp_path)
    code = "from settings import settings; print(settings().storage_dir)"
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == str(tmp_path / "home/geti-action/data/storage"), run.stderr


@pytest.mark.slow
def test_what_serves_never_loads_what_trains() -> None:
    code = f"""
import sys
for module in ("cli.commands", "serve_app", "actors.camera", "actors.robot", "actors.recording", "actors.training"):
    __import__(module)
    print(module, *{WITH_PHYSICALAI} & set(sys.modules))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert [loaded for loaded in run.stdout.splitlines() if " " in loaded] == []
