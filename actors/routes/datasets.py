"""What the files of a dataset show: videos, in the newest version; each answer is of one version, whatever is published
meanwhile."""

import asyncio
from pathlib import Path
from uuid import UUID

from fastapi import APIRouter, Request, Response

from actors.routes.answers import fails
from actors.routes.sending import NOT_MODIFIED, Video, binary, has, not_modified
from domain.errors import Malformed, Unavailable
from projections import queries
from projections.routes.replies import header, reading
from settings import settings

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
    """`path` as in LeRobot's folder: `videos/observation.images.top/chunk-000/file-000.mp4`. Of the newest version."""
    folder = _folder(request, dataset_id)
    video = await asyncio.to_thread(_video, folder, path)
    return not_modified(video.headers) if has(request, video.headers["ETag"]) else video


def _folder(request: Request, dataset_id: UUID) -> Path:
    """Where the dataset's files are. Raises NotFound if there is no such dataset."""
    with reading(request) as connection:
        queries.dataset(connection, dataset_id)
    return settings().datasets_dir / str(dataset_id)


def _video(folder: Path, path: str) -> Video:
    from actors.capture.durable import storage_errors
    from actors.capture.reader import video_file

    with storage_errors("read the video"):
        return Video(video_file(folder, path))
