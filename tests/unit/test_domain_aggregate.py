"""What no command may hold, wherever in it: text, numbers and depths that JSON allows and a database does not."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin
from uuid import UUID

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from domain.aggregate import MAX_DEPTH, Command, Name
from domain.camera import CreateFileCamera
from domain.episode import Limits
from domain.plan import Plan
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


def _commands(of: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for command in of.__subclasses__():
        yield command
        yield from _commands(command)


def _wrong_types() -> Iterator[Any]:
    """Every number and flag that a body can have, with what JSON writes otherwise."""
    every = {*_commands(Command), Limits, Plan}
    for command in sorted(every, key=lambda each: each.__name__):
        for name, field in command.model_fields.items():
            leaves = {get_origin(leaf) or leaf for leaf in get_args(field.annotation) or (field.annotation,)}
            wrongs = [True, "5"] if leaves & {int, float} else [1, "true"] if bool in leaves else []
            for wrong in wrongs:
                adapter = TypeAdapter(Annotated[field.annotation, *field.metadata])
                yield pytest.param(adapter, wrong, id=f"{command.__name__}.{name}-{wrong}")


@pytest.mark.parametrize(("adapter", "wrong"), [*_wrong_types()])
def test_a_body_says_numbers_and_flags_as_such(adapter: TypeAdapter[Any], wrong: object) -> None:
    with pytest.raises(ValidationError):
        adapter.validate_python(wrong)


@pytest.mark.parametrize("unseen", ["\u200b", "\u2060\ufeff", "\u00a0\u200d", "\x07"])
def test_a_name_can_be_seen(unseen: str) -> None:
    with pytest.raises(ValidationError, match="seen"):
        TypeAdapter(Name).validate_python(unseen)


def test_names_that_look_alike_are_one() -> None:
    assert TypeAdapter(Name).validate_python("cafe\u0301") == "caf\u00e9"
