"""What a message says, and which topics there are."""

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from actors.live import messages
from actors.live.messages import End
from actors.live.stream import bounded
from actors.live.topics import TOPICS, chosen
from actors.log import KINDS
from domain.errors import Invalid
from domain.project import CreateProject, Project
from domain.training import Job

AT = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)


def fields(message: bytes) -> dict[str, str]:
    """A message's lines by their names."""
    assert message.endswith(b"\n\n")
    return dict(line.split(": ", 1) for line in message.decode().removesuffix("\n\n").split("\n"))


def created(name: str) -> Project.Created:
    (event,) = Project.create(UUID(int=7), CreateProject(name=name), AT).pending_events
    assert isinstance(event, Project.Created)
    return event


def test_a_change_says_what_happened_to_what() -> None:
    said = fields(messages.change(41, created("lab")))
    assert said["id"] == "41"
    assert json.loads(said["data"]) == {
        "position": 41,
        "type": "project.created",
        "aggregate": "project",
        "aggregate_id": str(UUID(int=7)),
        "version": 1,
        "at": "2026-01-02T03:04:05.000678Z",
        "by": "anonymous",
        "correlation_id": None,
        "causation_id": None,
        "traceparent": None,
        "data": {"name": "lab"},
    }


def test_no_text_can_break_out_of_its_message() -> None:
    name = "a\nid: 99\r\ndata: {}\n\n\u2028\u0085b"
    said = fields(messages.change(1, created(name)))
    assert set(said) == {"id", "data"}
    assert json.loads(said["data"])["data"]["name"] == name


def test_a_number_that_is_none_is_told_as_the_log_has_it() -> None:
    loss = {"train/loss_step": float("nan")}
    event = Job.Progressed(
        originator_id=uuid4(), originator_version=3, timestamp=AT, progress=1, message="", extra_info=loss
    )
    assert json.loads(fields(messages.change(1, event))["data"])["data"]["extra_info"] == {"train/loss_step": "NaN"}


def test_the_other_messages() -> None:
    assert fields(messages.hello(3, 9)) == {
        "retry": "1000",
        "event": "hello",
        "id": "3",
        "data": '{"position":3,"newest":9}',
    }
    assert fields(messages.still_here(9)) == {"": "nothing new", "id": "9"}
    for reason in End:
        said = fields(messages.end(reason))
        assert (said["event"], json.loads(said["data"])["reason"]) == ("end", reason.value)


def test_every_topic_begins_with_its_aggregate() -> None:
    assert {topic.partition(".")[0] for topic in TOPICS} == set(KINDS)
    assert {"camera.lost", "job.completed", "recording.episode-saved"} <= TOPICS
    assert not {"job.ended", "robot.configured", "environment.composed"} & TOPICS, "bases never happen"


def test_topics_are_chosen_by_their_first_words() -> None:
    projects = {"project.created", "project.renamed", "project.deleted"}
    assert chosen("project") == projects
    assert chosen("project.renamed") == {"project.renamed"}
    assert chosen("project, job.completed") == {*projects, "job.completed"}


@pytest.mark.parametrize("words", ["", "cam", "camera.", "camera.los", "camera,,job", "Camera", "*", "job.ended"])
def test_an_unknown_topic_is_refused(words: str) -> None:
    with pytest.raises(Invalid, match=r"project\.created"):
        chosen(words)


async def test_a_connection_says_so_much_and_no_more() -> None:
    closed = False

    async def endless() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            while True:
                yield bytes(30)
        finally:
            closed = True

    said = [text async for text in bounded(endless(), most_bytes=100)]
    assert said == [bytes(30)] * 4 + [messages.end(End.FULL)]
    assert closed
