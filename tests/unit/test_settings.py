"""Settings that cannot be read are told by name, in words."""

from typing import Any

import pytest
from pydantic import ValidationError

from settings import Settings


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
