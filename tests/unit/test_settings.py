"""Settings that cannot be read are told by name, in words."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import cli
from settings import NotText, Settings, settings, unknown_names


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ICE_SERVERS", "[bad", "not JSON"),
        ("CORS_ORIGINS", '["http://a"', "not JSON"),
        ("CORS_ORIGINS", "frog", "'frog' is no origin"),
        ("CORS_ORIGINS", "http://a:3000, *", "no origin"),
        ("CORS_ORIGINS", "http://a/path", "no origin"),
        ("HOST", "0.0.0.0", "ALLOW_INSECURE"),
        ("PORT", "many", "integer"),
        ("MIN_FREE_RECORD", "much", "byte"),
        ("MIN_FREE_TRAIN", "1MB", "less than MIN_FREE_RECORD"),
        ("ICE_SERVERS", "[{}]", "needs urls"),
        ("ICE_SERVERS", '[{"urls": []}]', "needs urls"),
        ("ICE_SERVERS", '[{"urls": ["stun:a", "http://b"]}]', "begin with stun: or turn:"),
    ],
)
def test_what_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=told):
        Settings()


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("CORS_ORIGINS", "http://a:3000, https://b", ["http://a:3000", "https://b"]),
        ("CORS_ORIGINS", '["http://localhost:3000"]', ["http://localhost:3000"]),
        ("CORS_ORIGINS", "", ["http://localhost:3000"]),
        ("ICE_SERVERS", '[{"urls": "stun:lab:3478"}]', [{"urls": "stun:lab:3478"}]),
    ],
)
def test_lists_are_written_as_json_or_with_commas(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: Any
) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(Settings(), name.lower()) == read


def test_a_file_that_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"LOG_LEVEL=INFO\nSTORAGE_DIR=/daten/gr\xfc\xdfe\n")
    monkeypatch.setattr("settings.ENV_FILE", file)
    monkeypatch.setitem(Settings.model_config, "env_file", file)
    settings.cache_clear()
    with pytest.raises(NotText, match=rf"{file} is not UTF-8 text \(at byte 36\): save it as UTF-8"):
        settings()
    settings.cache_clear()


def test_names_that_are_no_settings_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    monkeypatch.setattr("settings.ENV_FILE", file)
    assert unknown_names() == []
    file.write_text("port=1\nMAX_VIEWER=3\nHTTPS_PROXY=a\nLOG_LEVEL=INFO\n")
    assert unknown_names() == [
        f"{file} names MAX_VIEWER, which is no setting: did you mean MAX_VIEWERS?",
        f"{file} names HTTPS_PROXY, which is no setting; set it in the environment if another program should see it.",
    ]


def test_the_command_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def unreadable() -> Settings:
        raise NotText("/x/.env is not UTF-8 text")

    monkeypatch.setattr("projections.embedded.settings", unreadable)
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert capsys.readouterr().out == "/x/.env is not UTF-8 text\n"
