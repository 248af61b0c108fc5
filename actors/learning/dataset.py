"""A LeRobot dataset for training, its pictures read from the frame cache. Imported by training workers only (torch)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from physicalai.data import DataModule, Observation
from physicalai.data.lerobot.converters import FormatConverter
from physicalai.data.lerobot.dataset import _LeRobotDatasetAdapter

from actors.learning.job import TrainFailed

Frames = Mapping[str, NDArray[np.uint8]]


class CachedDataset(_LeRobotDatasetAdapter):  # type: ignore[misc]
    """Samples of the chosen episodes as physicalai ``Observation``, the pictures taken from ``frames`` ((rows, 3, h, w)
    uint8 by the dataset's ``index``). It is an adapter of the library's because the trainer sets ``delta_indices``
    (which neighbouring rows a policy wants) on that class alone."""

    def __init__(self, root: Path, episodes: list[int], frames: Frames) -> None:
        super().__init__(repo_id=root.name, root=root, episodes=episodes, video_backend="pyav")
        self._frames = frames
        rows = self._lerobot_dataset.hf_dataset.with_format("numpy")
        self._columns = {name: torch.from_numpy(np.asarray(rows[name])) for name in rows.column_names}
        self._tasks: list[str] = list(self._lerobot_dataset.meta.tasks.index)
        episode = self._columns["episode_index"].contiguous()
        self._first = torch.searchsorted(episode, episode)
        self._last = torch.searchsorted(episode, episode, right=True) - 1

    def __len__(self) -> int:
        return len(self._columns["index"])

    def __getitem__(self, idx: int) -> Observation:
        """One sample: columns and pictures at row ``idx``, or windows (n, …) of them with ``<name>_is_pad`` (n,)."""
        wanted, item = self.delta_indices, {}
        for name in (*self._columns, *self._frames):
            if name in wanted:
                rows, item[f"{name}_is_pad"] = self._window(idx, wanted[name])
                item[name] = self._at(name, rows)
            else:
                item[name] = self._at(name, torch.tensor([idx]))[0]
        item["task"] = self._tasks[int(item["task_index"])]
        return FormatConverter.to_observation(item)

    def _window(self, row: int, deltas: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows at ``deltas`` from ``row``, held at the episode's ends, and which of them were held."""
        asked = row + torch.tensor(deltas)
        kept = asked.clamp(self._first[row], self._last[row])
        return kept, asked != kept

    def _at(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        if name not in self._frames:
            return self._columns[name][rows]
        pictures = self._frames[name][self._columns["index"][rows].numpy()]
        return torch.from_numpy(pictures).float().div_(255)


def datamodule(root: Path, episodes: Sequence[int], frames: Frames, **options: Any) -> DataModule:
    """Training and validation data of these episodes, split by whole ones. ``options``: batch_size, num_workers,
    val_split, seed.

    Without ``frames`` the library decodes the videos for every sample. Raises TrainFailed if there is too little data.
    """
    held_out = _held_out(episodes, options["val_split"], options["seed"])
    training = _dataset(root, [episode for episode in episodes if episode not in held_out], frames)
    _check_enough(len(training), options["batch_size"])
    return DataModule(
        train_dataset=training,
        val_eval_dataset=_dataset(root, held_out, frames) if held_out else None,
        train_batch_size=options["batch_size"],
        num_workers=options["num_workers"],
    )


def _dataset(root: Path, episodes: list[int], frames: Frames) -> _LeRobotDatasetAdapter:
    if frames:
        return CachedDataset(root, episodes, frames)
    return _LeRobotDatasetAdapter(repo_id=root.name, root=root, episodes=episodes, video_backend="pyav")


def _held_out(episodes: Sequence[int], val_split: float, seed: int) -> list[int]:
    """At least one episode, drawn by ``seed``, if a split is asked for and there are two to split."""
    if val_split <= 0 or len(episodes) < 2:
        return []
    count = max(1, int(len(episodes) * val_split))
    return sorted(np.random.default_rng(seed).choice(episodes, count, replace=False).tolist())


def _check_enough(rows: int, batch_size: int) -> None:
    if rows < batch_size:
        raise TrainFailed(
            f"The dataset has {rows} rows to train on, fewer than one batch of {batch_size}: "
            "record more, or choose a smaller batch_size."
        )
