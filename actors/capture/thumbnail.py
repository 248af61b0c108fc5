"""A small picture of an episode: the first that one of its cameras took."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from actors.capture.durable import storage_errors
from actors.capture.episode import episode_folder
from actors.capture.manifest import IMAGES, as_saved, read_manifest, video_of
from actors.capture.video import first_picture
from actors.devices.base import Frame
from actors.media.snapshot import jpeg
from domain.errors import NotFound

AT_ONCE = 2
DECODERS = ThreadPoolExecutor(AT_ONCE, "thumbnail")
"""Where they are made: a page that asks for a hundred must not take the machine from whoever records."""


def chosen_camera(dataset_folder: Path, episode_id: UUID, wanted: str | None) -> str:
    """The key of an episode's camera, by its key or its feature (``observation.images.<key>``); None is its first.

    Raises NotFound, which names those there are."""
    cameras = read_manifest(episode_folder(dataset_folder, episode_id)).meta.cameras
    key = next(iter(cameras), "") if wanted is None else wanted.removeprefix(IMAGES)
    if key in cameras:
        return key
    there = f"it has {', '.join(cameras)}" if cameras else "it was recorded without any"
    named = "camera" if wanted is None else f"camera {wanted[:64]!r}"
    raise NotFound(f"This episode has no {named}: {there}.", code="camera_not_found")


def thumbnail(dataset_folder: Path, episode_id: UUID, camera: str, width: int | None, height: int | None) -> bytes:
    """The first picture as JPEG, with its own aspect ratio, at most ``width`` x ``height`` pixels (None is any number)
    and never enlarged. Raises Invalid if the video is damaged, Unavailable if it cannot be read."""
    episode, video = episode_folder(dataset_folder, episode_id), video_of(camera)
    with storage_errors("read the episode's video"), as_saved(episode, video):
        image = first_picture(episode / video)
    full_height, full_width = image.shape[:2]
    widths = [full_width if width is None else width]
    if height is not None:
        widths.append(max(1, height * full_width // full_height))
    return jpeg(Frame(image, "rgb24", 0, 0), min(widths))
