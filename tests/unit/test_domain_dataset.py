"""A dataset under any sequence of commands."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from domain.dataset import CreateDataset, Dataset, UpdateDataset
from domain.errors import Conflict, NotFound
from tests.story import facts
from tests.unit.test_domain_kit import BEGINNING, BRIEF, OTHERS, PROJECT, THING, AggregateMachine, ids, names

OWN, OTHER = OTHERS[0], OTHERS[1]


class DatasetMachine(AggregateMachine[Dataset]):
    def begin(self) -> Dataset:
        return Dataset.create(THING, CreateDataset(name="d", project_id=PROJECT, environment_id=OWN), self.at)

    @rule(name=names, task=names)
    def update(self, name: str, task: str) -> None:
        self.tell(lambda dataset: dataset.update(UpdateDataset(name=name, default_task=task), self.at))

    @rule(episode=ids, rows=st.integers(1, 100), size=st.integers(0, 100))
    def add_episode(self, episode: object, rows: int, size: int) -> None:
        added = facts("any", episode_id=episode, rows=rows, size_bytes=size)
        self.tell(lambda dataset: dataset.add_episode(added, self.at))

    @rule()
    def delete(self) -> None:
        self.tell(lambda dataset: dataset.delete(self.at))

    @invariant()
    def indices_and_versions_have_no_gap_and_totals_are_right(self) -> None:
        added = [event for event in self.events if isinstance(event, Dataset.EpisodeAdded)]
        frames = size = 0
        for index, event in enumerate(added):
            frames, size = frames + event.episode.rows, size + event.episode.size_bytes
            assert (event.episode_index, event.version) == (index, index + 1)
            assert (event.frames, event.size_bytes) == (frames, size)
        assert [event.episode for event in added] == self.aggregate.episodes
        assert self.aggregate.content_version == len(added)

    @invariant()
    def an_episode_is_in_it_once(self) -> None:
        known = [episode.episode_id for episode in self.aggregate.episodes]
        assert len(set(known)) == len(known)

    @invariant()
    def nothing_happens_after_the_deletion(self) -> None:
        assert not any(isinstance(event, Dataset.Deleted) for event in self.events[:-1])


TestDataset = DatasetMachine.TestCase
TestDataset.settings = BRIEF


def test_an_episode_added_again_keeps_its_index() -> None:
    dataset = DatasetMachine().aggregate
    assert [dataset.add_episode(facts(name), BEGINNING) for name in ("a", "b", "a")] == [0, 1, 0]
    assert len(dataset.collect_events()) == 2


def test_it_takes_only_sessions_whose_rows_fit() -> None:
    dataset = DatasetMachine().aggregate
    dataset.accepts(OWN, 10)
    dataset.add_episode(facts("a"), BEGINNING)
    with pytest.raises(Conflict, match="fps=30"):
        dataset.accepts(OWN, 10)
    with pytest.raises(Conflict, match="another environment"):
        dataset.accepts(OTHER, 30)
    dataset.delete(BEGINNING)
    with pytest.raises(NotFound):
        dataset.accepts(OWN, 30)
