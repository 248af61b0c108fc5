"""An operation under any sequence of commands."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from pydantic import ValidationError

from domain.aggregate import Hold, Release
from domain.dataset import CreateDataset, Dataset
from domain.errors import Conflict, Invalid, NotFound
from domain.operation import MAX_ATTEMPTS, MergeDatasets, NewDataset, Operation, OperationStatus, Part, SplitDataset
from tests.story import facts, named
from tests.unit.test_domain_kit import BEGINNING, BRIEF, OTHERS, PROJECT, THING, AggregateMachine, ids, reasons


def dataset_of(*episodes: str, id: UUID = OTHERS[1], name: str = "d") -> Dataset:
    dataset = Dataset.create(id, CreateDataset(name=name, project_id=PROJECT, environment_id=OTHERS[0]), BEGINNING)
    for episode in episodes:
        dataset.add_episode(facts(episode), BEGINNING)
    return dataset


class OperationMachine(AggregateMachine[Operation]):
    def begin(self) -> Operation:
        return Operation.verify(THING, dataset_of("one"), self.at)

    def __init__(self) -> None:
        super().__init__()
        self.at_the_end: list[Any] = []

    @rule(run=ids)
    def start(self, run: UUID) -> None:
        self.tell(lambda operation: operation.start(run, "node", self.at))

    @rule()
    def complete(self) -> None:
        self.tell(lambda operation: operation.complete({"ok": True}, self.at))

    @rule()
    def apply_change(self) -> None:
        self.tell(lambda operation: operation.apply_change({"kept": 1}, self.at))

    @rule(reason=reasons)
    def fail(self, reason: str) -> None:
        self.tell(lambda operation: operation.fail(reason, self.at))

    @invariant()
    def nothing_happens_after_the_end(self) -> None:
        if self.aggregate.ended:
            self.at_the_end = self.at_the_end or list(self.events)
            assert self.events == self.at_the_end

    @invariant()
    def it_holds_nothing_once_it_has_ended(self) -> None:
        assert (list(self.events[-1].claims()) == [Release()]) == self.aggregate.ended

    @invariant()
    def a_change_is_made_once(self) -> None:
        assert sum(isinstance(event, Operation.Applied) for event in self.events) == (
            self.aggregate.applied is not None
        )

    @invariant()
    def every_start_counts(self) -> None:
        starts = [event for event in self.events if isinstance(event, Operation.Started)]
        assert [event.attempt for event in starts] == [*range(1, self.aggregate.attempt + 1)]
        assert self.aggregate.is_hopeless == (len(starts) >= MAX_ATTEMPTS)


TestOperation = OperationMachine.TestCase
TestOperation.settings = BRIEF


def test_its_dataset_stays_while_it_runs() -> None:
    operation = OperationMachine().aggregate
    (held,) = [
        claim
        for claim in Operation.verify(THING, dataset_of("one"), BEGINNING).pending_events[0].claims()  # type: ignore[attr-defined]
        if isinstance(claim, Hold) and claim.slot == "dataset"
    ]
    assert held == Hold(f"use:{OTHERS[1]}", "dataset", shared=True, label=f"the verify operation {THING}")
    operation.complete({}, BEGINNING)
    assert operation.status is OperationStatus.COMPLETED
    with pytest.raises(Conflict, match="already ended"):
        operation.complete({}, BEGINNING)


def test_there_must_be_something_to_work_on() -> None:
    with pytest.raises(Invalid, match="no episodes yet"):
        Operation.verify(THING, dataset_of(), BEGINNING)
    gone = dataset_of("one")
    gone.delete(BEGINNING)
    with pytest.raises(NotFound):
        Operation.verify(THING, gone, BEGINNING)


NEW = UUID(int=99)


def merged(*datasets: Dataset) -> Operation:
    others = tuple(each.id for each in datasets[1:]) or (datasets[0].id,)
    return Operation.merge(THING, NEW, MergeDatasets(dataset_ids=others, name="m"), datasets, BEGINNING)


def test_a_merge_takes_each_episode_once_dataset_by_dataset() -> None:
    first, second = dataset_of("a", "b"), dataset_of("c", "a", "d", id=OTHERS[2])
    second.delete_episodes([named("d")], BEGINNING)
    operation = merged(first, second)
    chosen = {first.id: (named("a"), named("b")), second.id: (named("c"),)}
    assert operation.new == (NewDataset(dataset_id=NEW, name="m", episodes=chosen),)
    made = Dataset.gathered(NEW, "m", chosen, [first, second], BEGINNING)
    assert [each.episode_id for each in made.episodes] == [named("a"), named("b"), named("c")]
    assert (made.content_version, made.environment_id, made.fps) == (3, first.environment_id, 30)


def test_what_is_deleted_after_the_merge_was_asked_for_is_in_it() -> None:
    first, second = dataset_of("a"), dataset_of("b", id=OTHERS[2])
    operation = merged(first, second)
    second.delete_episodes([0], BEGINNING)
    made = Dataset.gathered(NEW, "m", operation.new[0].episodes, [first, second], BEGINNING)
    assert len(made.episodes) == 2


def test_what_cannot_be_merged_is_refused() -> None:
    with pytest.raises(Invalid, match="at least two"):
        merged(dataset_of("a"))
    with pytest.raises(Invalid, match="no episodes"):
        merged(dataset_of("a"), dataset_of(id=OTHERS[2]))
    other = dataset_of(id=OTHERS[2])
    other.add_episode(facts("a", sha256="b" * 64), BEGINNING)
    with pytest.raises(Conflict, match="another one"):
        merged(dataset_of("a"), other)
    elsewhere = CreateDataset(name="e", project_id=OTHERS[3], environment_id=OTHERS[0])
    foreign = Dataset.create(OTHERS[2], elsewhere, BEGINNING)
    with pytest.raises(Invalid, match="another project"):
        merged(dataset_of("a"), foreign)


def split(dataset: Dataset, **how: Any) -> list[tuple[str, list[Any]]]:
    operation = Operation.split(THING, SplitDataset(**how), dataset, BEGINNING)
    assert all(list(new.episodes) == [dataset.id] for new in operation.new)
    return [(new.name, list(new.episodes[dataset.id])) for new in operation.new]


def test_a_split_gives_each_part_what_it_names() -> None:
    parts = (Part(name="x", episodes=(2, named("a"))), Part(name="y", episodes=(1,)))
    assert split(dataset_of("a", "b", "c"), parts=parts) == [("x", [named("c"), named("a")]), ("y", [named("b")])]
    with pytest.raises(NotFound):
        split(dataset_of("a"), parts=(Part(name="x", episodes=(1,)),))
    with pytest.raises(Invalid, match="named twice"):
        split(dataset_of("a"), parts=(Part(name="x", episodes=(0,)), Part(name="y", episodes=(named("a"),))))


@given(count=st.integers(1, 30), seed=st.integers(-5, 5), shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=4))
def test_a_draw_gives_each_episode_to_one_part_and_is_the_same_again(
    count: int, seed: int, shares: list[float]
) -> None:
    dataset = dataset_of(*(str(number) for number in range(count)))
    fractions = {str(number): share / sum(shares) for number, share in enumerate(shares)}
    try:
        drawn = split(dataset, fractions=fractions, seed=seed)
    except Invalid:
        return
    assert drawn == split(dataset, fractions=fractions, seed=seed)
    every = [id for _, chosen in drawn for id in chosen]
    assert sorted(every) == sorted(each.episode_id for each in dataset.episodes)
    for (name, chosen), share in zip(drawn, fractions.values(), strict=True):
        assert abs(len(chosen) - share * count) <= 1, name
        assert chosen == [each.episode_id for each in dataset.episodes if each.episode_id in set(chosen)]


def test_another_seed_draws_others_and_a_part_is_never_empty() -> None:
    dataset = dataset_of(*map(str, range(20)))
    assert len({str(split(dataset, fractions={"a": 0.5}, seed=seed)) for seed in range(5)}) > 1
    with pytest.raises(Invalid, match="'b' would get none of the 20 episodes"):
        split(dataset, fractions={"a": 0.99, "b": 0.01})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"parts": [{"name": "x", "episodes": [0]}], "fractions": {"y": 0.5}},
        {"parts": [{"name": "x", "episodes": []}]},
        {"parts": [{"name": "x", "episodes": [-1]}]},
        {"parts": [{"name": "x", "episodes": [0]}, {"name": "X", "episodes": [1]}]},
        {"fractions": {"x": 0.7, "y": 0.7}},
        {"fractions": {"x": 0}},
    ],
)
def test_a_split_says_one_thing(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SplitDataset.model_validate(body)
