"""Effect of a change to a dataset: its newest version on disk becomes what the log says. Whoever changed it does this
after the append; what was left undone (a crash, a full disk) is made good at the next start, change or session."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from actors.log import Log
from domain.dataset import Dataset
from domain.errors import GetiActionError, Invalid, NotFound

if TYPE_CHECKING:
    from actors.capture.lerobot_meta import DatasetInfo

logger = logging.getLogger(__name__)


def publish_newest(datasets: Path, dataset: Dataset) -> None:
    """Nothing to do when it is there, or newer. ``datasets`` is the folder of all. Raises what publish does."""
    from actors.capture.lerobot_v3 import publish

    if not dataset.with_files:
        return
    folder, tasks = datasets / str(dataset.id), {episode.episode_id: episode.task for episode in dataset.episodes}
    info = _info(folder, dataset.with_files)
    publish(folder, dataset.content_version, list(tasks), info, tasks, dataset.fresh_from)


def _info(folder: Path, episodes: list[UUID]) -> "DatasetInfo":
    """Of the first of these episodes that can tell: all of a dataset say the same, but one may be damaged."""
    from actors.capture.episode import episode_folder
    from actors.capture.lerobot_meta import DatasetInfo
    from actors.capture.manifest import read_manifest

    *others, last = episodes
    for id in others:
        with suppress(NotFound, Invalid):
            return DatasetInfo.of(read_manifest(episode_folder(folder, id)).meta)
    return DatasetInfo.of(read_manifest(episode_folder(folder, last)).meta)


def catch_up(log: Log, datasets: Path) -> None:
    """Publish every dataset that is behind. One that cannot be is logged, and the others go on."""
    from actors.capture.lerobot_v3 import current_version

    for id in log.existing(Dataset):
        dataset = log.load(Dataset, id)
        if dataset.deleted or (current_version(datasets / str(id)) or 0) >= dataset.content_version:
            continue
        try_to_publish(datasets, dataset)


def try_to_publish(datasets: Path, dataset: Dataset) -> None:
    """For what has happened already, and is only not shown yet: a failure is logged."""
    try:
        publish_newest(datasets, dataset)
    except GetiActionError as error:
        logger.warning("Version %d of dataset %s is not there yet: %s", dataset.content_version, dataset.id, error)
