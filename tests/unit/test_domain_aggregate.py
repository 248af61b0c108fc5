"""What no command may hold, wherever in it: text, numbers and depths that JSON allows and a database does not."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from domain.aggregate import MAX_DEPTH
from domain.camera import CreateFileCamera
from domain.project import CreateProject
from domain.training import Train


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


def train(**args: Any) -> Train:
    return Train(project_id=UUID(int=1), dataset_id=UUID(int=2), model_name="m", policy_args=args)


@pytest.mark.parametrize(
    "args", [{"a": "\0"}, {"\0": 1}, {"a": ["\ud800"]}, {"a": 2**63}, {"a": {"b": float("nan")}}, {"a": nested(20)}]
)
def test_what_no_database_keeps_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        train(**args)
    assert refused.value.errors()[0]["loc"] == ("policy_args",)


def test_it_is_found_in_names_and_payloads() -> None:
    with pytest.raises(ValidationError) as refused:
        CreateProject(name="a\0b")
    assert refused.value.errors()[0]["loc"] == ("name",)
    film = {"driver": "file", "name": "film", "payload": {"path": "a\0.mp4"}}
    with pytest.raises(ValidationError) as refused:
        CreateFileCamera.model_validate(film)
    assert refused.value.errors()[0]["loc"] == ("payload",)


def test_everything_else_is_kept() -> None:
    args = {"a": "Grüße 🤖\n", "b": [-(2**63), 2**63 - 1, 1e300, None, True], "c": nested(MAX_DEPTH - 3)}
    assert train(**args).policy_args == args
