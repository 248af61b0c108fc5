"""A recording session under any sequence of commands."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from pydantic import ValidationError

from domain.aggregate import Hold, NeedHeld, Release
from domain.claims import device
from domain.environment import CreateEnvironment, Environment
from domain.episode import Codec, Quality
from domain.errors import Conflict, Invalid
from domain.recording import KeepEpisode, OpenRecording, Recording, RecordingState, SaveEpisode, StartEpisode
from tests.story import facts
from tests.unit.test_domain_kit import BRIEF, OTHERS, PROJECT, THING, AggregateMachine, ids, reasons

ROBOT, CAMERA, ENVIRONMENT, DATASET = (OTHERS[number] for number in range(4))


def _environment(at: Any) -> Environment:
    used = [{"robot_id": ROBOT, "tele_operator": {"type": "scripted"}}]
    command = CreateEnvironment(name="cell", robots=used, camera_ids=[CAMERA])
    return Environment.create(ENVIRONMENT, PROJECT, command, at)


class RecordingMachine(AggregateMachine[Recording]):
    def begin(self) -> Recording:
        command = OpenRecording(environment_id=ENVIRONMENT, dataset_id=DATASET)
        return Recording.open(THING, PROJECT, command, _environment(self.at), "Push.", self.at)

    def __init__(self) -> None:
        super().__init__()
        self.at_the_end: list[Any] = []
        self.interrupted_then: set[Any] = set()

    @rule()
    def ready(self) -> None:
        self.tell(lambda recording: recording.ready(THING, "node", self.at))

    @rule(episode=ids)
    def start(self, episode: Any) -> None:
        self.tell(lambda recording: recording.start(episode, StartEpisode(), self.at))

    @rule(episode=ids, rows=st.integers(0, 2))
    def end(self, episode: Any, rows: int) -> None:
        self.tell(lambda recording: recording.end(SaveEpisode(episode_id=episode, success=True), rows, self.at))

    @rule()
    def end_the_open_one(self) -> None:
        if (take := self.aggregate.takes.open) is not None:
            self.tell(lambda recording: recording.end(SaveEpisode(episode_id=take.episode_id), 1, self.at))

    @rule(episode=ids)
    def keep(self, episode: Any) -> None:
        self.tell(lambda recording: recording.keep(KeepEpisode(episode_id=episode), self.at))

    @rule(episode=ids)
    def saved(self, episode: Any) -> None:
        index = len(self.aggregate.takes.saved)
        self.tell(lambda recording: recording.saved_as(facts("any", episode_id=episode), index, self.at))

    @rule(newest=st.booleans())
    def saved_one_of_those(self, newest: bool) -> None:
        """In whatever order."""
        if saving := [*self.aggregate.takes.saving]:
            self.saved(saving[-1 if newest else 0])

    @rule(episode=ids)
    def discard(self, episode: Any) -> None:
        self.tell(lambda recording: recording.discard(episode, self.at))

    @rule(episode=ids, rows=st.integers(0, 2), reason=reasons)
    def interrupt(self, episode: Any, rows: int, reason: str) -> None:
        self.tell(lambda recording: recording.interrupt(episode, rows, reason, self.at))

    @rule(rows=st.integers(0, 2), reason=reasons)
    def interrupt_the_open_one(self, rows: int, reason: str) -> None:
        if (take := self.aggregate.takes.open) is not None:
            self.interrupt(take.episode_id, rows, reason)

    @rule(fail=st.booleans(), often=st.integers(0, 2))
    def finish(self, fail: bool, often: int) -> None:
        """Seldom, since little is left to try after it."""
        if often == 0 or self.aggregate.ended:
            self.tell(lambda recording: (recording.fail if fail else recording.close)("because", self.at))

    @invariant()
    def the_state_is_what_it_does_with_episodes(self) -> None:
        recording = self.aggregate
        assert (recording.takes.open is not None) == (recording.state is RecordingState.RECORDING)
        if recording.takes.open is None:
            assert bool(recording.takes.saving) == (recording.state is RecordingState.SAVING)

    @invariant()
    def an_episode_ends_one_way(self) -> None:
        recording = self.aggregate
        groups = [set(recording.takes.saved), set(recording.takes.discarded), set(recording.takes.interrupted)]
        groups += [set(recording.takes.saving), {recording.takes.open.episode_id} if recording.takes.open else set()]
        assert len(set.union(*groups)) == sum(map(len, groups))

    @invariant()
    def in_an_ended_session_only_what_was_interrupted_is_cleared_up(self) -> None:
        if self.aggregate.ended:
            self.at_the_end = self.at_the_end or list(self.events)
            self.interrupted_then = self.interrupted_then or set(self.aggregate.takes.interrupted)
            assert self.events[: len(self.at_the_end)] == self.at_the_end
            for event in self.events[len(self.at_the_end) :]:
                assert type(event).__name__ in (
                    "EpisodeEnded",
                    "EpisodeSaved",
                    "EpisodeDiscarded",
                    "EpisodeInterrupted",
                )
                assert _episode_of(event) in self.interrupted_then
            assert self.aggregate.state in (RecordingState.CLOSED, RecordingState.FAILED, RecordingState.SAVING)

    @invariant()
    def what_was_saved_is_what_was_to_be_saved(self) -> None:
        ended: set[Any] = set()
        for event in self.events:
            match event:
                case Recording.EpisodeEnded(episode_id=id):
                    ended.add(id)
                case Recording.EpisodeSaved(episode=episode):
                    ended.remove(episode.episode_id)
                case Recording.EpisodeInterrupted(episode_id=id):
                    ended.discard(id)
        assert ended == set(self.aggregate.takes.saving)

    @invariant()
    def what_is_being_saved_has_rows(self) -> None:
        assert all(take.rows for take in self.aggregate.takes.saving.values())


def _episode_of(event: Any) -> Any:
    return event.episode.episode_id if isinstance(event, Recording.EpisodeSaved) else event.episode_id


TestRecording = RecordingMachine.TestCase
TestRecording.settings = BRIEF


@pytest.fixture
def session() -> Recording:
    machine = RecordingMachine()
    machine.ready()
    return machine.aggregate


@pytest.fixture
def at() -> Any:
    return RecordingMachine().at


def test_a_session_holds_every_device_until_it_ends(session: Recording, at: Any) -> None:
    command = OpenRecording(environment_id=ENVIRONMENT, dataset_id=DATASET)
    opened = Recording.open(THING, PROJECT, command, _environment(at), "Push.", at).collect_events()[0]
    held = {claim.key for claim in opened.claims() if isinstance(claim, Hold) and not claim.shared}
    assert {device(ROBOT), device(CAMERA), device(ENVIRONMENT)} < held
    session.close("done", at)
    assert Release() in session.collect_events()[-1].claims()


def test_practice_needs_no_dataset(at: Any) -> None:
    practice = Recording.open(THING, PROJECT, OpenRecording(environment_id=ENVIRONMENT), _environment(at), "x", at)
    needed = [claim.key for claim in practice.collect_events()[0].claims() if isinstance(claim, NeedHeld)]
    assert not [key for key in needed if key.startswith("exists:dataset")]


def test_an_episode_without_a_row_is_not_saved(session: Recording, at: Any) -> None:
    session.start(CAMERA, StartEpisode(), at)
    with pytest.raises(Invalid, match="no row"):
        session.end(SaveEpisode(episode_id=CAMERA), 0, at)


def test_only_what_is_being_saved_becomes_saved(session: Recording, at: Any) -> None:
    session.start(CAMERA, StartEpisode(), at)
    session.end(SaveEpisode(episode_id=CAMERA), 5, at)
    with pytest.raises(Conflict, match="not being saved"):
        session.saved_as(facts("any", episode_id=ROBOT), 0, at)
    session.saved_as(facts("any", episode_id=CAMERA), 0, at)
    assert session.takes.saved == {CAMERA: 0}


def test_the_next_episode_starts_while_others_are_being_saved(session: Recording, at: Any) -> None:
    first, second, third = OTHERS[:3]
    for episode in (first, second):
        session.start(episode, StartEpisode(), at)
        session.end(SaveEpisode(episode_id=episode), 5, at)
    session.start(third, StartEpisode(), at)
    for late in (session.close, session.fail):
        with pytest.raises(Conflict, match="still open"):
            late("done", at)
    with pytest.raises(Conflict, match="being saved already"):
        session.discard(first, at)
    session.interrupt(second, 5, "the disk is full", at)
    session.saved_as(facts("any", episode_id=first), 0, at)
    assert (session.state, session.takes.open and session.takes.open.episode_id) == (RecordingState.RECORDING, third)
    session.end(SaveEpisode(episode_id=third), 5, at)
    assert session.state is RecordingState.SAVING
    session.saved_as(facts("any", episode_id=third), 1, at)
    assert (session.state, set(session.takes.interrupted)) == (RecordingState.READY, {second})


def test_a_command_for_another_episode_names_the_open_one(session: Recording, at: Any) -> None:
    session.start(CAMERA, StartEpisode(), at)
    with pytest.raises(Conflict, match=str(CAMERA)):
        session.end(SaveEpisode(episode_id=ROBOT), 5, at)
    with pytest.raises(Conflict, match=str(CAMERA)):
        session.discard(ROBOT, at)


def test_who_saves_an_episode_that_was_lost_is_told_what_is_left(session: Recording, at: Any) -> None:
    for rows, left in ((3, "3 rows of it are whole: keep them"), (0, "discard it")):
        episode = OTHERS[rows]
        session.start(episode, StartEpisode(), at)
        session.interrupt(episode, rows, "the session's process was lost", at)
        with pytest.raises(Conflict, match=f"interrupted .the session's process was lost.; {left}"):
            session.end(SaveEpisode(episode_id=episode), 5, at)
    session.discard(OTHERS[3], at)
    with pytest.raises(Conflict, match="was discarded"):
        session.end(SaveEpisode(episode_id=OTHERS[3]), 5, at)


def test_starting_the_open_episode_again_changes_nothing(session: Recording, at: Any) -> None:
    session.start(CAMERA, StartEpisode(), at)
    session.collect_events()
    session.start(CAMERA, StartEpisode(), at)
    assert not session.pending_events


def test_a_failed_session_stays_failed_whatever_comes_late(session: Recording, at: Any) -> None:
    session.start(CAMERA, StartEpisode(), at)
    with pytest.raises(Conflict, match="still open"):
        session.fail("no camera", at)
    session.interrupt(CAMERA, 3, "no camera", at)
    session.fail("no camera", at)
    with pytest.raises(Conflict, match="is not open"):
        session.interrupt(CAMERA, 3, "late", at)
    with pytest.raises(Conflict, match="no camera"):
        session.discard(ROBOT, at)
    assert session.state is RecordingState.FAILED


def test_what_was_interrupted_is_kept_or_discarded_after_the_end_too(session: Recording, at: Any) -> None:
    for episode in (CAMERA, ROBOT):
        session.start(episode, StartEpisode(), at)
        session.interrupt(episode, 3, "closed", at)
    session.close("on request", at)
    session.discard(ROBOT, at)
    session.keep(KeepEpisode(episode_id=CAMERA), at)
    assert (session.state, session.ended) == (RecordingState.SAVING, True)
    assert session.takes.knows(CAMERA)
    session.saved_as(facts("any", episode_id=CAMERA), 0, at)
    assert (session.state, session.takes.interrupted) == (RecordingState.CLOSED, {})
    with pytest.raises(Conflict, match="on request"):
        session.check_open()


@pytest.mark.parametrize(
    ("plan", "rows"),
    [({}, None), ({"episode_time_s": 2}, 60), ({"episode_time_s": 0.5}, 15), ({"reset_time_s": 1}, None)],
)
def test_a_planned_episode_has_as_many_rows_as_its_time(at: Any, plan: dict[str, Any], rows: int | None) -> None:
    command = OpenRecording(environment_id=ENVIRONMENT, dataset_id=DATASET, **plan)
    assert Recording.open(THING, PROJECT, command, _environment(at), "x", at).rows_planned == rows


@pytest.mark.parametrize(
    ("quality", "wrong"),
    [
        ({"crf": 52}, "crf"),
        ({"codec": "av1", "crf": 64}, "crf"),
        ({"codec": "vp9"}, "codec"),
        ({"gop_s": 1.1}, "gop_s"),
    ],
)
def test_a_quality_that_no_codec_has_is_refused_by_its_name(quality: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError) as refused:
        OpenRecording(environment_id=ENVIRONMENT, **quality)
    assert [error["loc"] for error in refused.value.errors()] == [(wrong,)]


def test_a_session_has_the_quality_that_was_asked_for(at: Any) -> None:
    command = OpenRecording(environment_id=ENVIRONMENT, dataset_id=DATASET, codec=Codec.AV1, crf=63, gop_s=0.25)
    session = Recording.open(THING, PROJECT, command, _environment(at), "x", at)
    assert session.quality == Quality(codec=Codec.AV1, crf=63, gop_s=0.25)
    assert [session.quality.gop_rows(fps) for fps in (1, 10, 30)] == [1, 2, 7]


@pytest.mark.parametrize(
    ("plan", "goes_on"),
    [
        ({"episodes": 2}, [False, False, False]),
        ({"reset_time_s": 0}, [True, True, True]),
        ({"reset_time_s": 3, "episodes": 2}, [True, True, False]),
    ],
)
def test_episodes_follow_one_another_until_there_are_enough(at: Any, plan: dict[str, Any], goes_on: list[bool]) -> None:
    command = OpenRecording(environment_id=ENVIRONMENT, dataset_id=DATASET, **plan)
    recording = Recording.open(THING, PROJECT, command, _environment(at), "x", at)
    recording.ready(THING, "node", at)
    seen = [recording.goes_on]
    for index, episode in enumerate(OTHERS[:2]):
        recording.start(episode, StartEpisode(), at)
        recording.end(SaveEpisode(episode_id=episode), 1, at)
        recording.saved_as(facts("any", episode_id=episode), index, at)
        seen.append(recording.goes_on)
    assert seen == goes_on


@pytest.mark.parametrize("plan", [{"episode_time_s": 1}, {"reset_time_s": 0}, {"episodes": 3}])
def test_practice_saves_nothing_by_itself(plan: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing is saved"):
        OpenRecording(environment_id=ENVIRONMENT, **plan)
