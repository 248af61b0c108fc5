"""The work of the operations on datasets: it reads and makes files, and is handed what the log knows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from actors.capture.compose import compose
from actors.capture.episode import discard, episode_folder
from actors.capture.repair import keep_whole
from actors.capture.verify import Verdict, verify_episode, verify_version
from domain.dataset import Dataset
from domain.episode import EpisodeFacts
from domain.errors import Conflict, Invalid

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
        return {
            "dataset_id": str(self.dataset.id),
            "version": self.dataset.content_version,
            "ok": self.is_whole,
            "episodes": len(self.dataset.episodes),
            "damaged": self.shown(),
            "version_problems": self.version_problems,
        }

    def shown(self) -> list[dict[str, Any]]:
        """The damaged episodes; ``whole_rows`` of the ``rows`` of each could be kept."""
        return [
            {
                "episode_index": index,
                "episode_id": str(facts.episode_id),
                "rows": facts.rows,
                "whole_rows": verdict.rows,
                "problems": verdict.problems,
            }
            for index, facts in enumerate(self.dataset.episodes)
            if (verdict := self.damaged.get(facts.episode_id))
        ]


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


def salvaged(datasets: Path, found: Verified, salt: UUID, tell: Tell) -> dict[UUID, EpisodeFacts | None]:
    """Make of each damaged episode one of what is whole of it; None where nothing is. Their ids follow from the
    ``salt``, so that doing it again finds them made."""
    folder, kept = datasets / str(found.dataset.id), dict[UUID, EpisodeFacts | None]()
    for number, (id, verdict) in enumerate(found.damaged.items(), 1):
        tell(f"repairs episode {number} of {len(found.damaged)}", number - 1, len(found.damaged))
        kept[id] = None
        if verdict.rows:
            try:
                kept[id] = keep_whole(episode_folder(folder, id), kept_id(id, salt), verdict)
            except (Conflict, Invalid) as error:
                verdict.problems.append(error.detail)
    return kept


def kept_id(episode: UUID, salt: UUID) -> UUID:
    """The id of what is kept of an episode."""
    return uuid5(episode, str(salt))


def remove_unknown(datasets: Path, dataset: Dataset, salt: UUID) -> None:
    """What was made of its episodes and is not in the dataset."""
    for id in {kept_id(id, salt) for id in dataset.order} - set(dataset.order):
        discard(episode_folder(datasets / str(dataset.id), id))


def make(datasets: Path, dataset: Dataset, episodes: Mapping[UUID, Iterable[UUID]], tell: Tell) -> None:
    """The files of a new dataset, from those of the ones that have its ``episodes``."""
    facts = {each.episode_id: each for each in dataset.episodes}
    places = {id: datasets / str(source) for source, ids in episodes.items() for id in ids}
    chosen = [(episode_folder(places[id], id), facts[id]) for id in facts]
    compose(datasets / str(dataset.id), chosen, lambda done, total: tell(f"makes '{dataset.name}'", done, total))


def remove(datasets: Path, ids: Iterable[UUID]) -> None:
    """The folders of datasets that came to nothing."""
    for id in ids:
        discard(datasets / str(id))


def repair_result(found: Verified, kept: Mapping[UUID, EpisodeFacts | None]) -> dict[str, Any]:
    """What was done about what was found, for the person who asked for it."""
    repaired, taken_out = list[dict[str, Any]](), list[dict[str, Any]]()
    for shown in found.shown():
        facts = kept[UUID(shown["episode_id"])]
        if facts is None:
            taken_out.append(shown)
        else:
            rows = {"kept_rows": facts.rows, "dropped_rows": shown["rows"] - facts.rows}
            repaired.append(shown | {"new_episode_id": str(facts.episode_id)} | rows)
    told = {"dataset_id": str(found.dataset.id), "episodes": len(found.dataset.episodes)}
    return told | {"repaired": repaired, "taken_out": taken_out, "version_problems": found.version_problems}
