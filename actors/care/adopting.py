"""A dataset whose log is lost is adopted: its saved episodes become known to the log as if they had just been saved.

What it belongs to is named or made: a project, and an environment, for which a simulated cell is made that fits what
the episodes hold. Adopting again changes nothing, but for episodes that were not known yet; where the log is there and
the files are lost, it brings those back.
"""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from actors.capture.episode import episode_folder
from actors.capture.lerobot_meta import DatasetInfo, read_episodes
from actors.capture.lerobot_v3 import publish, refuse_mix
from actors.capture.manifest import EpisodeManifest, read_facts, read_manifest
from actors.capture.reader import versions
from actors.care import lost
from actors.care.backup import Told
from actors.care.failures import file_errors
from actors.care.lost import Lost
from actors.care.place import place
from actors.log import Log, now
from actors.provenance import Provenance, acting
from domain.aggregate import Aggregate
from domain.dataset import CreateDataset, Dataset
from domain.errors import Conflict, Invalid

BY = "adopt"


@dataclass(frozen=True, slots=True)
class Wish:
    """Where the dataset shall belong, each by name or id; what is not there yet is made. ``copies``: whether a folder
    outside of the storage root may be copied into it."""

    project: str = "Adopted"
    environment: str = "adopted cell"
    name: str | None = None
    copies: bool = True


@dataclass(frozen=True, slots=True)
class Adopted:
    """How many episodes were not known before, the version that holds all, and those left out, with why."""

    dataset_id: UUID
    episodes: int
    version: int
    damaged: dict[str, str]


def adopt(log: Log, storage: Path, folder: Path, wish: Wish, told: Told) -> Adopted:
    """Raises NotFound when no episode is in ``folder``; Invalid when they cannot be one dataset or lie outside of the
    storage root; Conflict or NameTaken when something is in the way: then everything is as it was."""
    with file_errors("adopt the dataset"):
        found = lost.look(folder)
        home = storage / "datasets" / str(found.dataset_id)
        is_outside = folder.resolve() != home.resolve()
        if is_outside:
            _must_be_welcome(folder, home, wish)
        found = lost.verified(found, folder, told)
        dataset, made = _dataset(log, found, wish)
        new = _add(dataset, found, folder, versions(home))
        with _brought_in(found, folder, home) if is_outside else nullcontext():
            if new:
                with acting(Provenance(BY, correlation_id=uuid4().hex)):
                    asyncio.run(log.append(*made, dataset))
        ids = [episode.episode_id for episode in dataset.episodes]
        publish(home, dataset.content_version, ids, DatasetInfo.of(found.episodes[0].meta))
    return Adopted(dataset.id, new, dataset.content_version, found.damaged)


def _must_be_welcome(folder: Path, home: Path, wish: Wish) -> None:
    if not wish.copies:
        raise Invalid(f"{folder} is not datasets/{home.name} of the storage root. Let it be copied there, or move it.")
    if home.exists():
        raise Conflict(f"The storage root has such a dataset already: adopt {home}, or move that away first.")


def _dataset(log: Log, found: Lost, wish: Wish) -> tuple[Dataset, list[Aggregate]]:
    """As the log knows it; else a new one, with what must be made before it."""
    if not found.episodes:
        why = next(iter(found.damaged.items()))
        raise Invalid(f"None of its {len(found.damaged)} episodes is whole; of {why[0]}, {why[1]}.")
    if log.stream(found.dataset_id):
        known = log.load(Dataset, found.dataset_id)
        if known.deleted:
            raise Conflict(f"The dataset {known.id} was deleted, and the log knows it: it cannot be adopted.")
        return known, []
    first = found.episodes[0]
    where = place(log, wish.project, wish.environment, first)
    command = CreateDataset(
        name=wish.name or f"adopted {str(found.dataset_id)[:8]}",
        project_id=where.project_id,
        environment_id=where.environment_id,
        default_task=first.meta.task,
    )
    return Dataset.create(found.dataset_id, command, now()), where.new


def _add(dataset: Dataset, found: Lost, folder: Path, published: list[int]) -> int:
    """Add the episodes that the dataset does not know yet; how many. All of them must be there, and fit together."""
    for episode in dataset.episodes:
        if read_facts(episode_folder(folder, episode.episode_id)).sha256 != episode.sha256:
            raise Conflict(f"Episode {episode.episode_id} in {folder} is not the one that the log knows.")
    known = [episode.episode_id for episode in dataset.episodes]
    new = [manifest for manifest in found.episodes if manifest.meta.episode_id not in dataset.order]
    all_of_it = [*(read_manifest(episode_folder(folder, id)) for id in known), *new]
    refuse_mix(all_of_it, DatasetInfo.of(all_of_it[0].meta))
    after = _versions_in_the_way(folder, published, all_of_it, dataset.content_version + len(new))
    for manifest in new:
        dataset.add_episode(read_facts(episode_folder(folder, manifest.meta.episode_id)), now(), after)
    return len(new)


def _versions_in_the_way(folder: Path, published: list[int], episodes: list[EpisodeManifest], wanted: int) -> int:
    """The newest version on disk, if the ``wanted`` one must come after it because it holds other episodes; else 0."""
    newest = max(published, default=0)
    if newest < wanted:
        return 0
    held = [row["episode_id"] for row in read_episodes(folder / "versions" / str(newest))]
    is_it = newest == wanted and held == [str(manifest.meta.episode_id) for manifest in episodes]
    return 0 if is_it else newest


@contextmanager
def _brought_in(found: Lost, folder: Path, home: Path) -> Iterator[None]:
    """The files come first, as in life; when the log refuses them, they go again."""
    lost.bring_in(found, folder, home)
    try:
        yield
    except (Conflict, Invalid):
        shutil.rmtree(home)
        raise
