"""The work of the operations on datasets: it reads and makes files, and is handed what the log knows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from actors.capture.episode import episode_folder
from actors.capture.verify import Verdict, verify_episode, verify_version
from domain.dataset import Dataset, EpisodeFacts

Tell = Callable[[str, int, int], None]
"""Is told what goes on, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of a dataset: the damaged episodes by id, and what is wrong with the newest version."""

    dataset: Dataset
    damaged: dict[UUID, Verdict]
    version_problems: list[str]

    @property
    def is_whole(self) -> bool:
        return not (self.damaged or self.version_problems)

    @property
    def result(self) -> dict[str, Any]:
        """As the operation shows it."""
        indexed = enumerate(self.dataset.episodes)
        wrong = [(index, facts, self.damaged[facts.episode_id]) for index, facts in indexed if self._is_wrong(facts)]
        return {
            "dataset_id": str(self.dataset.id),
            "version": self.dataset.content_version,
            "ok": self.is_whole,
            "episodes": len(self.dataset.episodes),
            "damaged": [shown(index, facts, verdict) for index, facts, verdict in wrong],
            "version_problems": self.version_problems,
        }

    def _is_wrong(self, facts: EpisodeFacts) -> bool:
        return facts.episode_id in self.damaged


def shown(index: int, facts: EpisodeFacts, verdict: Verdict) -> dict[str, Any]:
    """A damaged episode; ``whole_rows`` of its ``rows`` could be kept."""
    return {
        "episode_index": index,
        "episode_id": str(facts.episode_id),
        "rows": facts.rows,
        "whole_rows": verdict.rows,
        "problems": verdict.problems,
    }


def verified(datasets: Path, dataset: Dataset, tell: Tell) -> Verified:
    """Look at every file of the episodes that the dataset holds, and of its newest version."""
    folder, damaged, done = datasets / str(dataset.id), dict[UUID, Verdict](), 0
    total = sum(facts.rows for facts in dataset.episodes)
    for number, facts in enumerate(dataset.episodes, 1):
        tell(f"verifies episode {number} of {len(dataset.episodes)}", done, total)
        verdict = verify_episode(episode_folder(folder, facts.episode_id), facts)
        if verdict.problems:
            damaged[facts.episode_id] = verdict
        done += facts.rows
    tell(f"verifies version {dataset.content_version}", done, total)
    return Verified(dataset, damaged, verify_version(folder, dataset.content_version, dataset.episodes))
