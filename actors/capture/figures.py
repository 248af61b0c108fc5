"""What is known of the values in a dataset without looking at its rows and pictures again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from actors.capture.episode import episode_folder
from actors.capture.lerobot_meta import read_episodes
from actors.capture.manifest import IMAGES, read_manifest
from actors.capture.stats import Stats, aggregate
from actors.capture.tables import ACTION, STATE

Figures = dict[str, dict[str, Any]]


def figures(dataset_folder: Path, episodes: Sequence[str]) -> Figures:
    """``features``: min, max, mean and std by feature and name of the value. ``cameras``: min, max and mean of the
    pictures by the camera's key, 0..1. Of exactly these episodes (ids by index). Raises NotFound if one's files are
    gone."""
    if not episodes:
        return {"features": {}, "cameras": {}}
    first = read_manifest(episode_folder(dataset_folder, UUID(episodes[0]))).meta
    stats = _stats(dataset_folder, episodes)
    return {
        "features": {feature: _by_name(stats[feature], first.joint_names) for feature in (ACTION, STATE)},
        "cameras": {key: _brightness(stats[IMAGES + key]) for key in first.cameras},
    }


def _stats(dataset_folder: Path, episodes: Sequence[str]) -> dict[str, Stats]:
    """Those of the newest version if it holds these episodes: it may be behind, or what is asked for may be past."""
    version = (dataset_folder / "current").resolve()
    if [row["episode_id"] for row in read_episodes(version)] == [*episodes]:
        stats: dict[str, Stats] = json.loads((version / "meta/stats.json").read_bytes())
        return stats
    return aggregate([read_manifest(episode_folder(dataset_folder, UUID(id))).stats for id in episodes])


def _by_name(stats: Stats, names: Sequence[str]) -> dict[str, dict[str, float]]:
    wanted = ("min", "max", "mean", "std")
    return {name: {each: stats[each][place] for each in wanted} for place, name in enumerate(names)}


def _brightness(stats: Stats) -> dict[str, float]:
    """Of (3, 1, 1) figures, one a colour."""
    least, greatest, mean = (np.ravel(stats[name]) for name in ("min", "max", "mean"))
    return {"min": float(least.min()), "max": float(greatest.max()), "mean": float(mean.mean())}
