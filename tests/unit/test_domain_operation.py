"""An operation under any sequence of commands."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis.stateful import invariant, rule

from domain.aggregate import Hold, Release
from domain.dataset import CreateDataset, Dataset
from domain.errors import Conflict, Invalid, NotFound
from domain.operation import MAX_ATTEMPTS, Operation, OperationStatus
from tests.story import facts
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
