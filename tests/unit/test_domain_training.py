"""A job under any sequence of commands."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from domain.aggregate import Release
from domain.dataset import CreateDataset, Dataset
from domain.errors import Conflict, Invalid
from domain.training import TERMINAL, Job, JobStatus, Train
from tests.story import facts
from tests.unit.test_domain_kit import BEGINNING, BRIEF, OTHERS, PROJECT, THING, AggregateMachine, ids, reasons


def _dataset() -> Dataset:
    command = CreateDataset(name="d", project_id=PROJECT, environment_id=OTHERS[0])
    dataset = Dataset.create(OTHERS[1], command, BEGINNING)
    dataset.add_episode(facts("one"), BEGINNING)
    return dataset


def _train(**fields: Any) -> Train:
    return Train(project_id=PROJECT, dataset_id=OTHERS[1], model_name="m", **fields)


class JobMachine(AggregateMachine[Job]):
    def begin(self) -> Job:
        return Job.train(THING, OTHERS[2], _train(), _dataset(), self.at)

    def __init__(self) -> None:
        super().__init__()
        self.at_the_end: list[Any] = []
        self.best = 0

    @rule(run=ids)
    def start(self, run: UUID) -> None:
        self.tell(lambda job: job.start(run, "node", self.at))

    @rule(progress=st.integers(0, 100), loss=st.floats(allow_nan=False))
    def progressed(self, progress: int, loss: float) -> None:
        self.tell(lambda job: job.progressed(progress, "step", {"loss": loss}, self.at))

    @rule()
    def request_cancel(self) -> None:
        self.tell(lambda job: job.request_cancel(self.at))

    @rule(reason=reasons)
    def interrupt(self, reason: str) -> None:
        self.tell(lambda job: job.interrupt(reason, self.at))

    @rule()
    def complete(self) -> None:
        self.tell(lambda job: job.complete({"steps": 3}, self.at))

    @rule(reason=reasons)
    def fail(self, reason: str) -> None:
        self.tell(lambda job: job.fail(reason, self.at))

    @rule()
    def cancel(self) -> None:
        self.tell(lambda job: job.cancel({}, self.at))

    @invariant()
    def a_terminal_state_never_changes(self) -> None:
        if self.aggregate.ended:
            self.at_the_end = self.at_the_end or list(self.events)
            assert self.events == self.at_the_end
            assert self.events[-1].claims() == (Release(),)

    @invariant()
    def progress_never_falls(self) -> None:
        assert self.best <= self.aggregate.progress <= 100
        self.best = self.aggregate.progress

    @invariant()
    def attempts_are_starts(self) -> None:
        assert self.aggregate.attempt == sum(isinstance(event, Job.Started) for event in self.events)


TestJob = JobMachine.TestCase
TestJob.settings = BRIEF


@pytest.mark.parametrize("status", TERMINAL)
def test_an_ended_job_refuses_every_news(status: JobStatus) -> None:
    job = JobMachine().aggregate
    {JobStatus.COMPLETED: job.complete, JobStatus.CANCELED: job.cancel}.get(status, lambda _, at: job.fail("x", at))(
        {}, BEGINNING
    )
    job.interrupt("its machine died", BEGINNING)
    for late in (job.complete, job.cancel):
        with pytest.raises(Conflict, match=status):
            late({}, BEGINNING)
    with pytest.raises(Conflict, match=status):
        job.request_cancel(BEGINNING)
    assert job.status is status


def test_a_loss_that_is_no_number_can_be_read_back() -> None:
    """Diverged training says NaN; the log must still be readable after it."""
    job = JobMachine().aggregate
    job.progressed(1, "diverged", {"loss": float("nan"), "best": float("inf")}, BEGINNING)
    event = job.collect_events()[-1]
    read = Job.Progressed.model_validate_json(event.model_dump_json())
    assert read.extra_info["loss"] != read.extra_info["loss"]
    assert read.extra_info["best"] == float("inf")


def test_a_dataset_that_cannot_be_trained_on_is_refused() -> None:
    empty = Dataset.create(OTHERS[1], CreateDataset(name="d", project_id=PROJECT, environment_id=OTHERS[0]), BEGINNING)
    with pytest.raises(Invalid, match="no episodes"):
        Job.train(THING, OTHERS[2], _train(), empty, BEGINNING)
    foreign = Dataset.create(
        OTHERS[1], CreateDataset(name="d", project_id=OTHERS[3], environment_id=OTHERS[0]), BEGINNING
    )
    with pytest.raises(Invalid, match="another project"):
        Job.train(THING, OTHERS[2], _train(), foreign, BEGINNING)


def test_a_batch_that_no_dataset_could_fill_is_refused() -> None:
    """Only what is learned from counts: a suspect episode does not, unless it is asked for."""
    dataset = _dataset()
    dataset.add_episode(facts("two", suspect="1 of 2 rows stale"), BEGINNING)
    rows = [each.rows for each in dataset.episodes]
    assert Job.train(THING, OTHERS[2], _train(batch_size=rows[0]), dataset, BEGINNING).left_out == (1,)
    with pytest.raises(Invalid, match=f"{rows[0]} rows to train on, fewer than one batch of {rows[0] + 1}"):
        Job.train(THING, OTHERS[2], _train(batch_size=rows[0] + 1), dataset, BEGINNING)
    whole = _train(batch_size=sum(rows), include_suspect=True)
    assert Job.train(THING, OTHERS[2], whole, dataset, BEGINNING).left_out == ()


def test_suspect_episodes_are_left_out_unless_they_are_asked_for() -> None:
    made = CreateDataset(name="d", project_id=PROJECT, environment_id=OTHERS[0])
    dataset = Dataset.create(OTHERS[1], made, BEGINNING)
    for index, suspect in enumerate(("1 of 2 rows stale", None, "2 of 2 rows dropped")):
        dataset.add_episode(facts(str(index), suspect=suspect), BEGINNING)
    assert Job.train(THING, OTHERS[2], _train(), dataset, BEGINNING).left_out == (0, 2)
    assert Job.train(THING, OTHERS[2], _train(include_suspect=True), dataset, BEGINNING).left_out == ()
    dataset.delete_episodes([1], BEGINNING)
    with pytest.raises(Invalid, match=r"All episodes are suspect \(the first: 1 of 2 rows stale\)"):
        Job.train(THING, OTHERS[2], _train(), dataset, BEGINNING)


@pytest.mark.parametrize("field", [{"max_steps": 0}, {"batch_size": 257}, {"val_split": 1.0}, {"nonsense": 1}])
def test_a_command_out_of_range_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        _train(**field)


def test_a_command_with_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        _train(resources_per_worker={"gpu": float("nan")})
