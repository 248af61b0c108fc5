"""What the nodes of a cluster hear of the settings of the command that serves on it."""

import pytest

from launch import cluster
from launch.claims import CLAIM, CannotStart
from settings import PROJECT, Settings

TURN = '[{"urls": "turn:relay:3478", "username": "lab", "credential": "s3cret"}]'


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(CLAIM, "ours")


def read_on_a_node(monkeypatch: pytest.MonkeyPatch, passed: dict[str, str]) -> Settings:
    for name, value in passed.items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


def test_a_node_has_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Settings(
        _env_file=None,
        database_url="postgresql+asyncpg://lab@head/lab",
        storage_dir="elsewhere",
        cors_origins=["http://a:1", "https://b"],
        ice_servers=[{"urls": ["stun:a", "stun:b"]}],
        media_roots=["films"],
        seed_db=True,
        camera_rest_s=2.5,
        max_viewers=7,
    )
    passed = cluster.environment(here)
    assert passed[CLAIM] == "ours"
    monkeypatch.setenv("DATABASE_URL", "sqlite+aiosqlite:///./the-nodes-own.db")
    assert read_on_a_node(monkeypatch, passed) == here


def test_what_nobody_set_is_the_same_everywhere_but_for_the_films(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = cluster.environment(Settings(_env_file=None))
    monkeypatch.setenv("STORAGE_DIR", "/the/nodes/own")
    monkeypatch.setenv("MEDIA_ROOTS", "/the/nodes/films")
    there = read_on_a_node(monkeypatch, passed)
    assert there.storage_dir == PROJECT / "data/storage"
    assert [str(root) for root in there.media_roots] == ["/the/nodes/films"]


@pytest.mark.parametrize(
    ("name", "value"), [("DATABASE_URL", "postgresql+asyncpg://lab:s3cret@head/lab"), ("ICE_SERVERS", TURN)]
)
def test_secrets_are_not_passed_on(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read_from_a_file = Settings(_env_file=None, **{name.lower(): value})
    passed = cluster.environment(read_from_a_file)
    assert name not in passed
    assert "s3cret" not in str(passed)
    monkeypatch.setenv(name, value)
    with pytest.raises(CannotStart, match=rf"{name} .*every node") as refused:
        cluster.environment(Settings(_env_file=None))
    assert "s3cret" not in str(refused.value)
