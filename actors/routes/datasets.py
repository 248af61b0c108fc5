"""What the files of a dataset show: videos of the newest version, or all of it, episodes' thumbnails, statistics. Each
answer is of one version, whatever is published meanwhile."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from actors.gateway import Gateway
from actors.routes.answers import fails
from actors.routes.episodes import episode_key
from actors.routes.sending import ASK_AGAIN, NOT_MODIFIED, Streamed, Video, binary, has, not_modified, read_beside
from domain.dataset import Curation, Dataset
from domain.errors import Malformed, Unavailable
from projections import queries, shapes
from projections.paging import Rows
from projections.routes.replies import COUNTED, ONE, header, many, one, reading
from projections.tables import rfc3339
from settings import settings

THUMBNAIL_WIDTH = 320
JPEG = "image/jpeg"
Pixels = Annotated[int | None, Query(ge=16, le=1920)]
ZIP = "application/zip"
MAKES_VERSION = (Dataset.EpisodeAdded, Dataset.EpisodeChanged, Curation)
_NAME = {"Content-Disposition": header("its name, with the dataset's and the version's")}
_PART = {"Content-Range": header("which bytes of how many")}

router = APIRouter(prefix="/api/dataset/{dataset_id}", tags=["datasets"])


@router.get(
    "/video/{path:path}",
    response_class=Response,
    summary="Get a video, or a part of it",
    responses=fails(Malformed, Unavailable)
    | NOT_MODIFIED
    | {
        200: binary(Video.media_type),
        206: {"description": "The range that was asked for"} | binary(Video.media_type, **_PART),
        416: {"description": "Range not satisfiable"},
    },
)
async def get_video(request: Request, dataset_id: UUID, path: str) -> Response:
    """`path` as in LeRobot's folder: `videos/observation.images.top/chunk-000/file-000.mp4`, of the newest version; or
    as GET of an episode names it, which is that episode's whatever happens to the others."""
    folder = _folder(request, dataset_id)
    video = await asyncio.to_thread(_video, folder, path)
    return not_modified(video.headers) if has(request, video.headers["ETag"]) else video


@router.get(
    "/episodes/{n}",
    response_model=shapes.EpisodeInFull,
    summary="Get one episode",
    responses=fails(Unavailable),
    openapi_extra=ONE,
)
async def get_episode(request: Request, dataset_id: UUID, n: str) -> Response:
    """`n` is its index or its id. With all that it takes to play it: its rows, and where its videos are. The ETag is
    the dataset's."""
    with reading(request) as connection:
        found = queries.episode(connection, dataset_id, episode_key(n))
    found |= await asyncio.to_thread(_played, files(dataset_id), UUID(found["id"]))
    return one(found)


def _played(folder: Path, id: UUID) -> dict[str, Any]:
    from actors.capture.durable import storage_errors
    from actors.capture.playback import playback

    with storage_errors("read the episode"):
        return playback(folder, id)


@router.get(
    "/episodes/{n}/thumbnail",
    response_class=Response,
    summary="Get an episode's first picture",
    responses=fails(Unavailable) | NOT_MODIFIED | {200: binary(JPEG)},
)
async def get_thumbnail(
    request: Request,
    dataset_id: UUID,
    n: str,
    camera: Annotated[str | None, Query(description="key of one of its cameras; the first without it")] = None,
    width: Pixels = None,
    height: Pixels = None,
) -> Response:
    """`n` is its index or its id. As JPEG in its own aspect ratio, no larger than asked for (320 pixels wide, unless
    something is), and never enlarged."""
    with reading(request) as connection:
        id = UUID(queries.episode(connection, dataset_id, episode_key(n))["id"])
    return await picture(request, files(dataset_id), id, camera, width, height)


async def picture(
    request: Request, folder: Path, id: UUID, wanted: str | None, width: int | None, height: int | None
) -> Response:
    """An episode never changes: its id and the size name the picture's bytes."""
    width = THUMBNAIL_WIDTH if width is height is None else width
    camera = await asyncio.to_thread(_camera, folder, id, wanted)
    headers = ASK_AGAIN | {"ETag": f'"{id}-{camera}-{width or ""}x{height or ""}"'}
    if has(request, headers["ETag"]):
        return not_modified(headers)
    from actors.capture.thumbnail import DECODERS, thumbnail  # loaded by now, off the event loop

    work = asyncio.get_running_loop().run_in_executor(DECODERS, thumbnail, folder, id, camera, width, height)
    return Response(await work, 200, headers, JPEG)


def _camera(folder: Path, id: UUID, wanted: str | None) -> str:
    from actors.capture.thumbnail import chosen_camera

    return chosen_camera(folder, id, wanted)


@router.get(
    "/download",
    response_class=Response,
    summary="Download a dataset",
    responses=fails(Unavailable) | NOT_MODIFIED | {200: binary(ZIP, **_NAME)},
)
async def download(request: Request, dataset_id: UUID) -> Response:
    """The newest version as a zip: unzip it into a folder, and LeRobot opens that (layout v3.0). It is made while it is
    sent."""
    with reading(request) as connection:
        name = queries.dataset(connection, dataset_id)["name"]
    return await asyncio.to_thread(_download, request, files(dataset_id), name)


@router.get(
    "/statistics",
    response_model=shapes.DatasetStatistics,
    summary="Get a dataset's statistics",
    responses=fails(Unavailable),
    openapi_extra=ONE,
)
async def get_statistics(request: Request, dataset_id: UUID) -> Response:
    """Of the episodes that it holds; the ETag is the dataset's."""
    with reading(request) as connection:
        counted, episodes = queries.counted(connection, dataset_id)
    counted |= await asyncio.to_thread(_figures, files(dataset_id), episodes)
    return one(counted)


@router.get(
    "/versions",
    response_model=list[shapes.DatasetVersion],
    summary="List a dataset's versions",
    responses=fails(Unavailable),
    openapi_extra=COUNTED,
)
async def list_versions(request: Request, dataset_id: UUID) -> Response:
    """Those that are on the disk, oldest first. None of them ever changes."""
    with reading(request) as connection:
        queries.dataset(connection, dataset_id)
        users = queries.trained_on(connection, dataset_id)
    gateway: Gateway = request.app.state.gateway
    versions = await asyncio.to_thread(_versions, gateway, dataset_id)
    rows = [version | {"used_by": users[version["version"]]} for version in versions]
    return many(request, Rows(rows, len(rows), None))


def _versions(gateway: Gateway, dataset_id: UUID) -> list[dict[str, Any]]:
    """When each came about, the log knows; of those from before a log that was lost, the disk."""
    from actors.capture.durable import storage_errors
    from actors.capture.reader import made

    with storage_errors("read the dataset"):
        found = made(files(dataset_id))
    moments = {
        event.version: event.timestamp
        for event in reversed(gateway.log.stream(dataset_id))
        if isinstance(event, MAKES_VERSION)
    }
    return [
        {"version": number, "episodes": episodes, "created_at": rfc3339(moments.get(number, since))}
        for number, (episodes, since) in found.items()
    ]


def _figures(folder: Path, episodes: list[str]) -> dict[str, Any]:
    from actors.capture.durable import storage_errors
    from actors.capture.figures import figures

    with storage_errors("read the dataset"):
        return figures(folder, episodes)


def _download(request: Request, folder: Path, name: str) -> Response:
    from actors.capture.archive import archive
    from actors.capture.durable import storage_errors
    from actors.capture.reader import newest

    with storage_errors("read the dataset"):
        version = newest(folder)
        headers = ASK_AGAIN | {"ETag": f'"{folder.name}-v{version.name}"'}
        if has(request, headers["ETag"]):
            return not_modified(headers)
        made = archive(version)
    about = {"Content-Type": ZIP, "Content-Length": str(len(made)), "Accept-Ranges": "none"}
    return Streamed(read_beside(_chunks(version, made)), headers | about | _named(f"{name}-v{version.name}.zip"))


def _chunks(version: Path, archive: Any) -> Iterator[bytes]:
    from actors.capture.archive import chunks
    from actors.capture.purge import being_sent

    with being_sent(version):
        yield from chunks(archive)


def _named(file_name: str) -> dict[str, str]:
    """As what a browser keeps it: the name itself, and one for those that know ASCII only (RFC 6266)."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", file_name)
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"}


def files(dataset_id: UUID) -> Path:
    return settings().datasets_dir / str(dataset_id)


def _folder(request: Request, dataset_id: UUID) -> Path:
    """Where the dataset's files are. Raises NotFound if there is no such dataset."""
    with reading(request) as connection:
        queries.dataset(connection, dataset_id)
    return files(dataset_id)


def _video(folder: Path, path: str) -> Video:
    from actors.capture.durable import storage_errors
    from actors.capture.reader import video_file

    with storage_errors("read the video"):
        return Video(video_file(folder, path))
