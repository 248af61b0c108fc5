"""The state machine under the aggregates' property tests: what holds for every one of them after every command."""

from abc import abstractmethod
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from domain.aggregate import Aggregate, DomainEvent
from domain.errors import GetiActionError

BEGINNING = datetime(2026, 11, 1, tzinfo=UTC)
THING = UUID(int=1)
PROJECT = UUID(int=2)
OTHERS = [UUID(int=number) for number in range(10, 14)]
BRIEF = settings(max_examples=40, stateful_step_count=25)

ids = st.sampled_from(OTHERS)
names = st.sampled_from(("a", "b"))
reasons = st.just("because")


class AggregateMachine[A: Aggregate](RuleBasedStateMachine):
    """Gives an aggregate commands in any order. A subclass makes one in ``begin`` and adds rules and invariants."""

    @abstractmethod
    def begin(self) -> A:
        """The aggregate that the commands are given to."""

    def __init__(self) -> None:
        super().__init__()
        self._ticks = 0
        self.aggregate: A = self.begin()
        self.events: list[DomainEvent] = []
        self._collect()

    @property
    def at(self) -> datetime:
        """A second later than the time before."""
        self._ticks += 1
        return BEGINNING + timedelta(seconds=self._ticks)

    def tell(self, command: Callable[[A], Any]) -> bool:
        """Give a command; True when it was accepted. One that is refused leaves no trace."""
        before = deepcopy(self.aggregate.__dict__)
        try:
            command(self.aggregate)
        except GetiActionError:
            assert self.aggregate.__dict__ == before
            return False
        self._collect()
        return True

    def _collect(self) -> None:
        for event in self.aggregate.collect_events():
            assert isinstance(event, DomainEvent)
            self.events.append(event)

    @invariant()
    def replay_gives_the_same(self) -> None:
        replayed: Any = reduce(lambda aggregate, event: event.mutate(aggregate), self.events, None)
        assert replayed == self.aggregate

    @invariant()
    def a_snapshot_brings_back_the_same(self) -> None:
        restored = type(self.aggregate).restored(self.aggregate.id, self.aggregate.version, self.aggregate.snapshot())
        assert restored == self.aggregate
        assert restored.__dict__ == self.aggregate.__dict__

    @invariant()
    def json_brings_back_the_last_event(self) -> None:
        last = self.events[-1]
        assert type(last).model_validate_json(last.model_dump_json()) == last

    @invariant()
    def versions_have_no_gap(self) -> None:
        assert [event.originator_version for event in self.events] == list(range(1, len(self.events) + 1))

    @invariant()
    def nothing_stays_pending(self) -> None:
        assert not self.aggregate.pending_events
