"""Rollouts in the real cell by those who need no model."""

from pathlib import Path

import pytest

from actors.learning.evaluate import EvalResult, evaluate
from domain.errors import Invalid


def roll(policy: Path | str, episodes: int, seed: int, max_steps: int = 400) -> EvalResult:
    return evaluate(policy, episodes, seed, lambda done, of: None, lambda: False, max_steps)


@pytest.mark.slow
def test_the_expert_solves_what_chance_does_not() -> None:
    expert, chance = roll("scripted", 2, 1), roll("random", 2, 1)
    assert expert.success_rate == 1.0
    assert expert.mean_coverage > 0.95
    assert chance.success_rate == 0.0
    assert chance.mean_coverage < 0.6
    assert [each.seed for each in expert.episodes] == [each.seed for each in chance.episodes] == [1, 2]
    assert all(each.steps < 400 for each in expert.episodes)


def test_the_same_seed_gives_the_same_rollout() -> None:
    assert roll("random", 2, 3, max_steps=40) == roll("random", 2, 3, max_steps=40)


def test_a_stop_keeps_the_finished_episodes() -> None:
    finished: list[int] = []
    result = evaluate("random", 5, 0, lambda done, of: finished.append(done), lambda: len(finished) == 2, max_steps=10)
    assert finished == [1, 2]
    assert len(result.episodes) == 2


def test_a_model_without_exports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no export"):
        roll(tmp_path, 1, 0)
