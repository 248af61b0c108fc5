"""Emptying a dataset's trash: the log says which episodes go, then their files go, and older versions with them. What a
crash leaves is removed the next time."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from actors.gateway import Gateway
from actors.log import Log, now
from actors.publishing import try_to_publish
from domain import claims
from domain.dataset import Dataset
from domain.errors import Conflict, InUse
from domain.operation import Operation
from domain.training import Job

if TYPE_CHECKING:
    from actors.capture.purge import Freed


async def purge(gateway: Gateway, dataset_id: UUID, datasets: Path, used: Mapping[int, str]) -> dict[str, Any]:
    """{episode_ids, versions, freed_bytes, kept [{version, reason, episode_ids}]}. ``datasets`` is the folder of all;
    ``used`` are versions that stay, each with the name of a model that was trained on it. Raises InUse while an
    operation works on the dataset, Conflict when a version that stays cannot be read."""
    log, folder = gateway.log, datasets / str(dataset_id)
    trained = {version: f"'{model}' was trained on it" for version, model in used.items()}
    needed = trained | await asyncio.to_thread(_needed, log, dataset_id)
    shown = await asyncio.to_thread(_shown, folder, needed)
    doomed = [id for id in _deleted(log, dataset_id) if not any(id in ids for ids in shown.values())]
    await gateway.change(Dataset, dataset_id, lambda dataset: dataset.purge_episodes(doomed, now()))
    dataset = log.load(Dataset, dataset_id)
    freed = await asyncio.to_thread(_free, datasets, dataset, set(needed))
    kept = {version: needed[version] for version in shown if version != dataset.content_version}
    kept |= dict.fromkeys(freed.being_sent, "it is just being downloaded")
    in_trash = {episode.episode_id for episode in dataset.deleted_episodes}
    return {
        "episode_ids": [str(id) for id in doomed],
        "versions": freed.versions,
        "freed_bytes": freed.size_bytes,
        "kept": [
            {"version": version, "reason": why, "episode_ids": sorted(map(str, in_trash & shown.get(version, set())))}
            for version, why in sorted(kept.items())
        ],
    }


def _needed(log: Log, dataset_id: UUID) -> dict[int, str]:
    """The versions that something which runs reads, and why they stay."""
    holders = log.holders(claims.use(dataset_id))
    for kind, id in holders:
        if kind is Operation:
            raise InUse(f"The operation {id} works on this dataset; wait until it has ended, then purge.")
    jobs = (log.load(Job, id) for kind, id in holders if kind is Job)
    return {job.dataset_version: f"the job {job.id} needs it" for job in jobs if job.dataset_version is not None}


def _shown(folder: Path, needed: dict[int, str]) -> dict[int, set[UUID]]:
    """The episodes in these versions, of those that are there."""
    from actors.capture.durable import storage_errors
    from actors.capture.reader import list_episodes, versions

    shown = dict[int, set[UUID]]()
    with storage_errors("read the dataset"):
        for version in needed.keys() & set(versions(folder)):
            try:
                shown[version] = {UUID(entry.episode_id) for entry in list_episodes(folder, version)}
            except ValueError as error:  # pyarrow's, of a file that is damaged
                why = f"Version {version} stays, because {needed[version]}, but what is in it cannot be read"
                raise Conflict(f"{why}: bring it back from a backup, or purge with also_used.") from error
    return shown


def _deleted(log: Log, dataset_id: UUID) -> Iterator[UUID]:
    return (episode.episode_id for episode in log.load(Dataset, dataset_id).deleted_episodes)


def _free(datasets: Path, dataset: Dataset, kept_versions: set[int]) -> "Freed":
    """On a full disk a newest version that could not be written yet may find room now, and the one before it goes."""
    from actors.capture.purge import Freed, purge

    folder = datasets / str(dataset.id)
    first = purge(folder, dataset.purged, kept_versions)
    try_to_publish(datasets, dataset)
    then = purge(folder, dataset.purged, kept_versions)
    return Freed(first.versions + then.versions, then.being_sent, first.size_bytes + then.size_bytes)
