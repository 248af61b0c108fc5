"""Statistics of an episode's features and of many episodes, with LeRobot's names, shapes and rules of aggregation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import Invalid

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
SHOWN_PIXELS = 150  # LeRobot, too, looks at pictures larger than twice this thinned out to about this width

Stats = dict[str, Any]
"""min, max, mean, std, count and QUANTILES, as nested lists: (n,) for vectors, (3, 1, 1) in 0..1 for pictures."""


def vector_stats(values: NDArray[Any]) -> Stats:
    """Of (rows, n) values, or (rows,) as n = 1. Raises nothing for one row: its quantiles are itself."""
    table = values.reshape(len(values), -1).astype(np.float64)
    quantiles = np.quantile(table, list(QUANTILES.values()), axis=0)
    return {
        "min": table.min(axis=0).tolist(),
        "max": table.max(axis=0).tolist(),
        "mean": table.mean(axis=0).tolist(),
        "std": table.std(axis=0).tolist(),
        "count": [len(table)],
        **{name: row.tolist() for name, row in zip(QUANTILES, quantiles, strict=True)},
    }


def image_stats(pictures: Iterable[NDArray[np.uint8]]) -> Stats:
    """Of (height, width, 3) uint8 RGB pictures. Raises Invalid if there is none."""
    histogram = np.zeros((3, 256), np.int64)
    count = 0
    for picture in pictures:
        histogram += _histogram(_thinned(picture))
        count += 1
    if count == 0:
        raise Invalid("A camera's video holds no picture. Discard the episode.")
    return {name: _shaped(value) for name, value in _of_histogram(histogram).items()} | {"count": [count]}


def aggregate(parts: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Of all episodes together: means, and quantiles as LeRobot does, weighted by count; exact min, max and std."""
    return {feature: _aggregate_feature([part[feature] for part in parts]) for feature in parts[0]} if parts else {}


def shifted(stats: Stats, offset: float) -> Stats:
    """Of the same values plus ``offset``."""
    return {name: value if name in ("std", "count") else [v + offset for v in value] for name, value in stats.items()}


def constant(value: float, count: int) -> Stats:
    """Of ``count`` times the same value."""
    return {"std": [0.0], "count": [count], **{name: [value] for name in ("min", "max", "mean", *QUANTILES)}}


def _thinned(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    longest = max(picture.shape[:2])
    step = longest // SHOWN_PIXELS if longest >= 2 * SHOWN_PIXELS else 1
    return picture[::step, ::step]


def _histogram(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.stack([np.bincount(picture[..., channel].ravel(), minlength=256) for channel in range(3)])


def _of_histogram(histogram: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Per-channel statistics in 0..1 from (3, 256) counts of the values 0..255."""
    level = np.arange(256) / 255
    total = histogram.sum(axis=1)
    mean = histogram @ level / total
    below = np.cumsum(histogram, axis=1) / total[:, None]
    present = [np.flatnonzero(row) for row in histogram]
    return {
        "min": np.array([level[row[0]] for row in present]),
        "max": np.array([level[row[-1]] for row in present]),
        "mean": mean,
        "std": np.sqrt(np.maximum(0, histogram @ level**2 / total - mean**2)),
        **{name: level[(below < quantile).sum(axis=1)] for name, quantile in QUANTILES.items()},
    }


def _shaped(channels: NDArray[np.float64]) -> list[list[list[float]]]:
    shaped: list[list[list[float]]] = channels.reshape(3, 1, 1).tolist()
    return shaped


def _aggregate_feature(parts: list[Stats]) -> Stats:
    stacked = {name: np.array([part[name] for part in parts], np.float64) for name in parts[0]}
    counts = stacked["count"].reshape(-1, *[1] * (stacked["mean"].ndim - 1))
    weights = counts / counts.sum()
    mean = (stacked["mean"] * weights).sum(axis=0)
    variance = ((stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2) * weights).sum(axis=0)
    return {
        "min": stacked["min"].min(axis=0).tolist(),
        "max": stacked["max"].max(axis=0).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": [int(counts.sum())],
        **{name: (stacked[name] * weights).sum(axis=0).tolist() for name in QUANTILES},
    }
