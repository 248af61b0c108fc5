"""A new dataset of episodes that others have: the same files under new names, so it takes next to no room."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from actors.capture.durable import link_or_copy, staged, storage_errors, write_json
from actors.capture.episode import episode_folder
from actors.capture.lerobot_meta import DatasetInfo
from actors.capture.lerobot_v3 import publish
from actors.capture.manifest import EPISODE_FILE, read_manifest, sha256
from domain.dataset import Dataset
from domain.episode import EpisodeFacts
from domain.errors import Conflict, Invalid, NotFound

DATASET_FILE = "dataset.json"

Told = Callable[[int, int], None]
Shape = Mapping[str, str]
"""What the episodes of one dataset have in common, in words."""


def compose(target: Path, chosen: Sequence[tuple[Path, EpisodeFacts]], told: Told) -> None:
    """Make the dataset's folder ``target`` with the ``chosen`` episodes (where each is, and what the log knows of it)
    and the version that holds them all; it is there at once, or not at all. Repeatable.

    Raises Conflict if one of them is damaged, Invalid if they do not fit together, StorageFull, Unavailable."""
    if target.exists():
        return
    with storage_errors("make the dataset"), staged(target) as staging:
        for number, (folder, facts) in enumerate(chosen):
            told(number, len(chosen))
            _take(folder, episode_folder(staging, facts.episode_id), facts)
        tasks = {facts.episode_id: facts.task for _, facts in chosen}
        info = DatasetInfo.of(read_manifest(chosen[0][0]).meta)
        publish(staging, len(chosen), list(tasks), info, tasks)
        note_made(staging, UUID(target.name))


def note_made(dataset_folder: Path, id: UUID) -> None:
    """For whom the log is lost: its episodes say which dataset they were recorded into, and that is another one."""
    write_json(dataset_folder / DATASET_FILE, {"dataset_id": str(id)})


def made_as(dataset_folder: Path) -> UUID | None:
    """What was noted so; None for a dataset that was recorded."""
    try:
        return UUID(json.loads((dataset_folder / DATASET_FILE).read_bytes())["dataset_id"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _take(folder: Path, target: Path, facts: EpisodeFacts) -> None:
    """Nothing is taken over that is not what was saved, as far as can be told without reading it all."""
    try:
        is_it = sha256(folder / EPISODE_FILE) == facts.sha256
        names = (EPISODE_FILE, *read_manifest(folder).files) if is_it else ()
    except (FileNotFoundError, NotFound, Invalid):
        names = ()
    if not names or not all(_is_file(folder / name) for name in names):
        raise Conflict(f"Episode {facts.episode_id} is damaged; repair its dataset first.", code="episode_damaged")
    for name in names:
        link_or_copy(folder / name, target / name)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def refuse_misfits(datasets: Path, sources: Sequence[Dataset]) -> None:
    """Raises Conflict, which names the difference, when the episodes of these datasets cannot stand in one."""
    shapes = [_shape(datasets / str(source.id), source) for source in sources]
    for source, shape in zip(sources, shapes, strict=True):
        wrong = [f"{what} {said}, not {shapes[0][what]}" for what, said in shape.items() if said != shapes[0][what]]
        if wrong:
            raise Conflict(
                f"'{source.name}' does not fit '{sources[0].name}': it has {'; '.join(wrong)}. "
                "Only what was recorded alike can be one dataset."
            )


def _shape(folder: Path, source: Dataset) -> Shape:
    """Of the first episode: all of a dataset are alike."""
    id = source.episodes[0].episode_id
    try:
        manifest = read_manifest(episode_folder(folder, id))
    except (NotFound, Invalid):
        raise Conflict(f"Episode {id} of '{source.name}' is damaged; repair that dataset first.") from None
    cameras = (f"{key} {each.width}x{each.height}" for key, each in sorted(manifest.cameras.items()))
    meta = manifest.meta
    return {"fps": str(meta.fps), "joints": ", ".join(meta.joint_names), "cameras": ", ".join(cameras)}
