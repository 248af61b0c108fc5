"""A dataset's folder whose log is lost: what its episodes say of themselves, and whether their files are like that."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from actors.capture.compose import made_as, note_made
from actors.capture.durable import copy, staged
from actors.capture.episode import HIDDEN
from actors.capture.lerobot_meta import read_episodes
from actors.capture.manifest import EPISODE_FILE, EpisodeManifest, read_manifest, wrong_files
from actors.care.backup import Told
from domain.errors import Invalid, NotFound


class Lost(NamedTuple):
    """``episodes`` in the order in which the dataset had them; ``damaged`` says by folder name what is wrong."""

    dataset_id: UUID
    episodes: list[EpisodeManifest]
    damaged: dict[str, str]


def wrong_with(place: Path) -> str | None:
    """Why an episode's folder cannot be adopted; None when it can."""
    try:
        manifest = read_manifest(place)
    except NotFound:
        return f"it has no {EPISODE_FILE}"
    except Invalid:
        return f"its {EPISODE_FILE} cannot be read"
    if str(manifest.meta.episode_id) != place.name:
        return f"its {EPISODE_FILE} is that of {manifest.meta.episode_id}"
    return _first_wrong(manifest, place)


def look(folder: Path) -> Lost:
    """Read the manifests. Raises NotFound when there is none, Invalid when they are of several datasets."""
    episodes, damaged = list[EpisodeManifest](), dict[str, str]()
    for place in _places(folder):
        try:
            manifest = read_manifest(place)
        except Invalid:
            damaged[place.name] = f"its {EPISODE_FILE} cannot be read"
            continue
        if str(manifest.meta.episode_id) == place.name:
            episodes.append(manifest)
        else:
            damaged[place.name] = f"its {EPISODE_FILE} is that of {manifest.meta.episode_id}"
    if not episodes:
        raise NotFound(f"{folder} holds no saved episode: a dataset's folder has episodes/<id>/{EPISODE_FILE} in it.")
    ids = {manifest.meta.dataset_id for manifest in episodes}
    if (id := made_as(folder)) is not None:
        ids = {id}  # its episodes were recorded into others
    if len(ids) > 1:
        raise Invalid(
            f"{folder} holds episodes of several datasets: {', '.join(sorted(map(str, ids)))}. Part them first."
        )
    return Lost(ids.pop(), sorted(episodes, key=_order(folder)), damaged)


def verified(lost: Lost, folder: Path, told: Told) -> Lost:
    """Only those episodes whose files are all what their manifests say."""
    total, done = sum(manifest.size_bytes for manifest in lost.episodes), 0
    damaged = dict(lost.damaged)
    for manifest in lost.episodes:
        if wrong := _first_wrong(manifest, _place(folder, manifest)):
            damaged[str(manifest.meta.episode_id)] = wrong
        done += manifest.size_bytes
        told("bytes", done, total)
    whole = [manifest for manifest in lost.episodes if str(manifest.meta.episode_id) not in damaged]
    return Lost(lost.dataset_id, whole, damaged)


def _first_wrong(manifest: EpisodeManifest, place: Path) -> str | None:
    return next((f"{name} {what}" for name, what in wrong_files(manifest, place)), None)


def bring_in(lost: Lost, folder: Path, home: Path) -> None:
    """Copy the episodes, and nothing else, into a new dataset's folder; all or none."""
    with staged(home) as staging:
        for manifest in lost.episodes:
            place, target = _place(folder, manifest), _place(staging, manifest)
            for name in (*manifest.files, EPISODE_FILE):
                copy(place / name, target / name)
        if any(manifest.meta.dataset_id != lost.dataset_id for manifest in lost.episodes):
            note_made(staging, lost.dataset_id)


def _places(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"episodes/[!{HIDDEN}]*/{EPISODE_FILE}"))


def _place(folder: Path, manifest: EpisodeManifest) -> Path:
    return folder / "episodes" / str(manifest.meta.episode_id)


def _order(folder: Path) -> Callable[[EpisodeManifest], tuple[int, datetime]]:
    """As in the newest version that there is; what is not in it comes after, as it was recorded."""
    known = {row["episode_id"]: row["episode_index"] for row in read_episodes((folder / "current").resolve())}
    return lambda manifest: (known.get(str(manifest.meta.episode_id), len(known)), manifest.meta.started_at)
