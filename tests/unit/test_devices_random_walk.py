import numpy as np

from actors.devices.base import Reading
from actors.devices.random_walk import RandomWalk

HERE = Reading(np.array([100, 200], np.float32), 0)


def walk(seed: int, steps: int = 300) -> np.ndarray:
    walker = RandomWalk(seed)
    walker.start(HERE)
    return np.array([walker.action(HERE) for _ in range(steps)])


def test_the_same_seed_walks_the_same_way() -> None:
    assert (walk(1) == walk(1)).all()
    assert (walk(1) != walk(2)).any()


def test_it_stays_in_the_cell_is_smooth_and_gets_about() -> None:
    targets = walk(3, 2000)
    assert targets.dtype == np.float32
    assert targets.min() >= 0
    assert targets.max() <= 512
    assert np.abs(np.diff(targets, axis=0)).max() < 0.2 * 512
    assert np.ptp(targets, axis=0).min() > 300


def test_episodes_of_one_walker_differ() -> None:
    walker = RandomWalk(4)
    walker.start(HERE)
    first = [walker.action(HERE) for _ in range(30)]
    walker.start(HERE)
    assert any((a != b).any() for a, b in zip(first, [walker.action(HERE) for _ in range(30)], strict=True))
