"""What a job's owner lets the log know of a work that tells more than anybody wants to keep."""

from typing import Any

import pytest

from actors.learning.install import InstallProgress
from actors.learning.job import Progress
from actors.training import TrainingActor


class Owner(TrainingActor):
    """Without a process, a log or a loop: what it would append is in ``said``."""

    def __init__(self) -> None:
        self.said = list[tuple[int, str]]()
        self._said, self._said_at = ("", -1, ""), 0.0

    def from_thread(self, coroutine: Any) -> None:
        pass

    def _progressed(self, percent: int, message: str, extra_info: dict[str, float]) -> Any:
        self.said.append((percent, message))


@pytest.fixture
def owner() -> Owner:
    return Owner()


def test_rollouts_are_told_by_the_first_and_the_last(owner: Owner) -> None:
    for number, name in enumerate(("policy", "random")):
        for done in range(1, 11):
            owner._teller(name, number, 2)(done, 10)
    assert owner.said == [
        (4, "rollouts of policy: 1 of 10"),
        (49, "rollouts of policy: 10 of 10"),
        (54, "rollouts of random: 1 of 10"),
        (99, "rollouts of random: 10 of 10"),
    ]


def test_a_training_is_told_when_something_else_begins(owner: Owner) -> None:
    owner._on_install(InstallProgress(1_200_000_000, 3_000_000_000, "Downloaded torch"))
    for progress in (
        Progress("waiting", 0, 200, message="starts a process"),
        Progress("waiting", 0, 200, message="waits for a worker (1 CPU)"),
        Progress("training", 1, 200, 0.5),
        Progress("training", 2, 200, 0.4),
        Progress("exporting", 200, 200, 0.1, "exports: torch"),
    ):
        owner._on_training(progress)
    assert owner.said == [
        (0, "installs libraries: 1.2 of 3.0 GB · Downloaded torch"),
        (0, "starts a process"),
        (0, "step 1 of 200"),
        (99, "exports: torch"),
    ]


def test_an_installation_speaks_of_sizes_once_there_is_something_to_load(owner: Owner) -> None:
    owner._on_install(InstallProgress(0, 0, "Resolved 90 packages"))
    assert owner.said == [(0, "installs libraries: Resolved 90 packages")]


def test_it_goes_on_telling_every_few_seconds_but_not_the_same_again(owner: Owner) -> None:
    owner._on_training(Progress("training", 1, 200, 0.5))
    for step in (100, 100, 101):
        owner._said_at -= 10
        owner._on_training(Progress("training", step, 200, 0.5))
    assert [message for _, message in owner.said] == ["step 1 of 200", "step 100 of 200", "step 101 of 200"]
