"""How a session's cameras stood when the dataset's last episode began: laid over the live picture, it shows whether one
was bumped since."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from actors.gateway import Gateway
from actors.routes.answers import fails
from actors.routes.datasets import JPEG, Pixels, files, picture
from actors.routes.sending import NOT_MODIFIED, binary
from domain.camera import Camera
from domain.dataset import Dataset
from domain.errors import NotFound, Unavailable
from domain.recording import Recording

LARGEST = 1920  # pixels, of its width

router = APIRouter(prefix="/api/projects/{project_id}/recordings/{recording_id}", tags=["recordings"])


@router.get(
    "/reference",
    response_class=Response,
    summary="Get how a camera stood in the last episode",
    responses=fails(Unavailable) | NOT_MODIFIED | {200: binary(JPEG)},
)
async def get_reference(
    request: Request, project_id: UUID, recording_id: UUID, camera: UUID, width: Pixels = None
) -> Response:
    """The first picture of the dataset's last episode, of one of the session's cameras by its id. As JPEG, in its own
    size unless `width` is smaller."""
    gateway: Gateway = request.app.state.gateway
    recording = gateway.load(Recording, recording_id, project_id)
    if recording.dataset_id is None:
        raise NotFound("This session is practice: it has no dataset to compare with.", code="dataset_not_found")
    key = _key(gateway, recording, camera)
    dataset = gateway.load(Dataset, recording.dataset_id)
    if not dataset.episodes:
        raise NotFound("The dataset has no episode yet to compare with: save one first.", code="episode_not_found")
    return await picture(request, files(dataset.id), dataset.episodes[-1].episode_id, key, width or LARGEST, None)


def _key(gateway: Gateway, recording: Recording, camera: UUID) -> str:
    """Under which the session records it; names do not change while it is open."""
    if camera not in recording.camera_ids:
        raise NotFound.of("camera", camera)
    from actors.capture.manifest import feature_keys

    keys = feature_keys(gateway.load(Camera, id).name for id in recording.camera_ids)
    return keys[recording.camera_ids.index(camera)]
