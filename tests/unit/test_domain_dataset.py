"""A dataset under any sequence of commands."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from pydantic import ValidationError

from domain.dataset import CreateDataset, Curation, Dataset, RestoreEpisodes, UpdateDataset
from domain.episode import UpdateEpisode
from domain.errors import Conflict, NotFound
from tests.story import facts, named
from tests.unit.test_domain_kit import BEGINNING, BRIEF, OTHERS, PROJECT, THING, AggregateMachine, ids, names

OWN, OTHER = OTHERS[0], OTHERS[1]
SAID = st.fixed_dictionaries({}, optional={"task": names, "rating": st.none() | st.integers(1, 5), "note": names})


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

    @rule(chosen=st.lists(ids | st.integers(0, 3), max_size=3))
    def delete_episodes(self, chosen: list[Any]) -> None:
        self.tell(lambda dataset: dataset.delete_episodes(chosen, self.at))

    @rule(chosen=st.lists(ids, max_size=3))
    def restore_episodes(self, chosen: list[Any]) -> None:
        self.tell(lambda dataset: dataset.restore_episodes(chosen, self.at))

    @rule(chosen=st.lists(ids, max_size=3))
    def purge_episodes(self, chosen: list[Any]) -> None:
        self.tell(lambda dataset: dataset.purge_episodes(chosen, self.at))

    @rule(damaged=st.lists(ids, max_size=3), kept=st.lists(ids, max_size=3, unique=True), rows=st.integers(1, 50))
    def repair(self, damaged: list[Any], kept: list[Any], rows: int) -> None:
        whole = [facts("any", episode_id=id, rows=rows) for id in kept]
        found = dict.fromkeys(damaged) | dict(zip(damaged, whole, strict=False))
        self.tell(lambda dataset: dataset.repair(found, self.at))

    @rule(which=ids | st.integers(0, 3), said=SAID)
    def update_episode(self, which: Any, said: dict[str, Any]) -> None:
        self.tell(lambda dataset: dataset.update_episode(which, UpdateEpisode(**said), self.at))

    @rule()
    def delete(self) -> None:
        self.tell(lambda dataset: dataset.delete(self.at))

    @invariant()
    def whoever_follows_the_events_knows_which_episode_is_where(self) -> None:
        """As a view does, by what each event says of itself alone."""
        facts, index, gone, purged = dict[Any, Any](), dict[Any, int](), set[Any](), set[Any]()
        for event in self.events:
            match event:
                case Dataset.EpisodeAdded(episode=episode):
                    facts[episode.episode_id], index[episode.episode_id] = episode, event.episode_index
                case Dataset.EpisodeChanged(episode=episode):
                    facts[episode.episode_id] = episode
                case Dataset.EpisodesDeleted():
                    gone |= {*event.episode_ids}
                    index |= event.indices
                case Dataset.Repaired(kept=kept):
                    gone |= {*event.episode_ids}
                    facts |= {new.episode_id: new for new in kept.values()}
                    index |= event.indices
                case Dataset.EpisodesRestored():
                    gone -= {*event.episode_ids}
                    index |= event.indices
                case Dataset.EpisodesPurged(episode_ids=ids):
                    assert gone >= {*ids}
                    gone -= {*ids}
                    purged |= {*ids}
        there = sorted(facts.keys() - gone - purged, key=lambda id: index[id])
        assert [index[id] for id in there] == [*range(len(there))]
        assert [facts[id] for id in there] == self.aggregate.episodes
        assert {episode.episode_id for episode in self.aggregate.deleted_episodes} == gone
        assert {*self.aggregate.purged} == purged

    @invariant()
    def versions_have_no_gap_and_totals_are_right(self) -> None:
        version = 0
        for event in self.events:
            if isinstance(event, Dataset.EpisodeAdded | Curation):
                assert event.version == version + 1
            version = getattr(event, "version", version)
            assert version >= 0
        assert self.aggregate.content_version == version
        last = next((each for each in reversed(self.events) if isinstance(each, Dataset.EpisodeAdded | Curation)), None)
        if last is not None:
            assert last.frames == sum(episode.rows for episode in self.aggregate.episodes)
            assert last.size_bytes == sum(episode.size_bytes for episode in self.aggregate.episodes)

    @invariant()
    def an_episode_is_known_once(self) -> None:
        known = [each.episode_id for each in (*self.aggregate.episodes, *self.aggregate.deleted_episodes)]
        known += self.aggregate.purged
        assert sorted(known) == sorted(self.aggregate.order)
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


def three() -> Dataset:
    dataset = DatasetMachine().aggregate
    for name in ("a", "b", "c"):
        dataset.add_episode(facts(name), BEGINNING)
    dataset.collect_events()
    return dataset


def ids_of(dataset: Dataset) -> list[Any]:
    return [episode.episode_id for episode in dataset.episodes]


def test_deleted_episodes_come_back_to_where_they_were() -> None:
    dataset = three()
    a, b, c = ids_of(dataset)
    dataset.delete_episodes([a, 1], BEGINNING)
    assert ids_of(dataset) == [c]
    dataset.add_episode(facts("d"), BEGINNING)
    dataset.restore_episodes(RestoreEpisodes(episode_ids=[b]).episode_ids, BEGINNING)
    assert ids_of(dataset) == [b, c, named("d")]
    with pytest.raises(NotFound):
        dataset.restore_episodes([a, OTHER], BEGINNING)
    assert ids_of(dataset) == [b, c, named("d")]


def test_what_is_kept_of_a_damaged_episode_stands_in_its_place_with_what_was_said_of_it() -> None:
    dataset = three()
    a, b, c = ids_of(dataset)
    dataset.update_episode(b, UpdateEpisode(rating=2, note="n", task="Pull."), BEGINNING)
    dataset.repair({b: facts("d", rows=3, suspect="repaired"), c: None}, BEGINNING)
    assert ids_of(dataset) == [a, named("d")]
    kept = dataset.episodes[1]
    assert (kept.rows, kept.suspect, kept.rating, kept.note, kept.task) == (3, "repaired", 2, "n", "Pull.")
    assert (dataset.content_version, dataset.fresh_from) == (5, 5)
    dataset.restore_episodes([b, c], BEGINNING)
    assert ids_of(dataset) == [a, b, named("d"), c]
    assert dataset.fresh_from == 5


def test_a_repair_passes_by_what_is_gone_and_makes_the_version_anew_all_the_same() -> None:
    dataset = three()
    a, b, c = ids_of(dataset)
    dataset.delete_episodes([a], BEGINNING)
    dataset.repair({a: facts("d"), UUID(int=7): None}, BEGINNING)
    assert (ids_of(dataset), dataset.content_version) == ([b, c], 5)
    with pytest.raises(Conflict, match="an id of its own"):
        dataset.repair({b: facts("c")}, BEGINNING)


def test_all_or_none_are_deleted() -> None:
    dataset = three()
    with pytest.raises(NotFound):
        dataset.delete_episodes([0, 3], BEGINNING)
    assert not dataset.pending_events


def test_a_deleted_episode_is_not_added_again() -> None:
    dataset = three()
    dataset.delete_episodes([0], BEGINNING)
    with pytest.raises(Conflict, match="restore it"):
        dataset.add_episode(facts("a"), BEGINNING)


def test_only_another_task_makes_another_version() -> None:
    dataset = three()
    dataset.update_episode(0, UpdateEpisode(rating=4, tags=("x",), note="n", success=False), BEGINNING)
    assert dataset.content_version == 3
    dataset.update_episode(0, UpdateEpisode(task="Pull."), BEGINNING)
    assert dataset.content_version == 4
    dataset.update_episode(0, UpdateEpisode(rating=None, success=None), BEGINNING)
    said = dataset.episodes[0]
    assert (said.rating, said.success, said.note, said.tags, said.task) == (None, None, "n", ("x",), "Pull.")


@pytest.mark.parametrize("name", ["task", "tags", "note"])
def test_what_cannot_be_taken_back_is_not_null(name: str) -> None:
    with pytest.raises(ValidationError, match="leave it out"):
        UpdateEpisode.model_validate({name: None})


def test_what_was_purged_comes_back_in_no_way() -> None:
    dataset = DatasetMachine().aggregate
    for name in ("a", "b"):
        dataset.add_episode(facts(name), BEGINNING)
    dataset.purge_episodes([named("a")], BEGINNING)  # it was not deleted
    assert dataset.deleted_episodes == dataset.purged == []
    dataset.delete_episodes([named("a")], BEGINNING)
    dataset.purge_episodes([named("a"), named("b")], BEGINNING)
    assert (dataset.purged, dataset.with_files) == ([named("a")], [named("b")])
    with pytest.raises(NotFound):
        dataset.restore_episodes([named("a")], BEGINNING)
    with pytest.raises(Conflict):
        dataset.add_episode(facts("a"), BEGINNING)


@pytest.mark.parametrize(
    ("path", "is_refused"),
    [("..", True), ("a/../b", True), ("a\\..\\b", True), ("a..b", False), ("/data/pushes", False)],
)
def test_a_path_that_leads_out_is_refused_and_any_other_is_a_name(path: str, is_refused: bool) -> None:
    fields = {"name": "d", "project_id": PROJECT, "environment_id": OWN, "path": path}
    if not is_refused:
        assert CreateDataset.model_validate(fields).path == path
        return
    with pytest.raises(ValidationError, match="leads out of the storage folder"):
        CreateDataset.model_validate(fields)
