"""Live cameras: WHEP, snapshots, stats, holding one open."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request, Response

from actors.gateway import Gateway
from actors.routes.answers import CameraStats, answers, fails
from actors.routes.write import Writing
from domain.camera import Camera
from domain.errors import (
    DeviceLocked,
    Malformed,
    NotAcceptable,
    NotFound,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from projections import queries, shapes
from projections.routes.replies import header, plain
from settings import settings

SDP = "application/sdp"
MAX_OFFER_BYTES = 64 * 1024
OPEN_S = 30.0
_SDP = {SDP: {"schema": {"type": "string"}}}
_JPEG = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
_ANSWER = {
    "content": _SDP,
    "headers": {
        "Location": header("the viewer's session: DELETE it to stop"),
        "Link": header('`rel="ice-server"`: a STUN or TURN server, one header each'),
        "ETag": header("names the session's connection"),
    },
}

router = APIRouter(prefix="/api", tags=["cameras"])


@router.post(
    "/projects/{project_id}/cameras/{camera_id}/whep",
    status_code=201,
    response_class=Response,
    summary="Watch a camera over WebRTC",
    responses=fails(Malformed, NotAcceptable, TooLarge, UnsupportedMedia, Unavailable) | {201: _ANSWER},
    openapi_extra={"requestBody": {"required": True, "content": _SDP}},
)
async def whep(project_id: UUID, camera_id: UUID, request: Request) -> Response:
    """WHEP (draft-ietf-wish-whep): an SDP offer in the body, the answer with every candidate in the reply."""
    gateway: Gateway = request.app.state.gateway
    gateway.load(Camera, camera_id, project_id)
    offer = await _offer(request)
    session, answer = await gateway.ask(Camera, camera_id, "answer", offer, timeout_s=OPEN_S, repeatable=True)
    headers = {"Location": f"/api/whep/{camera_id.hex}{session}", "ETag": f'"{session}"'}
    response = Response(answer, 201, headers, SDP)
    for link in _ice_links():
        response.headers.append("Link", link)
    return response


@router.delete(
    "/whep/{session}", response_class=Response, summary="Stop watching a camera", responses=fails(Unavailable)
)
async def hang_up(session: str, request: Request) -> Response:
    """End a viewer's session."""
    gateway: Gateway = request.app.state.gateway
    camera_id, inner = _parts(session)
    if await gateway.tell_if_awake(Camera, camera_id, "hang_up", inner) is None:
        raise NotFound("This viewer's session has ended already.", code="whep_session_not_found")
    return Response(status_code=200)


@router.patch("/whep/{session}", status_code=405, include_in_schema=False)
async def trickle(session: str) -> Response:
    """WHEP servers that gather before they answer refuse candidates that come later."""
    detail = "Every candidate is in the answer, so there is nothing to trickle: put yours into the offer."
    raise HTTPException(405, detail, {"Allow": "DELETE"})


@router.options("/projects/{project_id}/cameras/{camera_id}/whep", include_in_schema=False)
async def whep_options(project_id: UUID, camera_id: UUID) -> Response:
    return Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})


@router.get(
    "/projects/{project_id}/cameras/{camera_id}/snapshot",
    response_class=Response,
    summary="Get the present picture",
    responses=fails(Unavailable) | {200: {"content": _JPEG}},
)
async def snapshot(
    project_id: UUID, camera_id: UUID, request: Request, width: Annotated[int | None, Query(ge=16, le=4096)] = None
) -> Response:
    """The present picture as JPEG, never enlarged."""
    gateway: Gateway = request.app.state.gateway
    gateway.load(Camera, camera_id, project_id)
    picture = await gateway.ask(Camera, camera_id, "snapshot", width, timeout_s=OPEN_S, repeatable=True)
    return Response(picture, 200, {"Cache-Control": "no-store"}, "image/jpeg")


@router.get(
    "/projects/{project_id}/cameras/{camera_id}/stats",
    response_model=CameraStats,
    summary="Get a camera's live numbers",
)
async def stats(project_id: UUID, camera_id: UUID, request: Request) -> Response:
    """Live numbers; zeros while the camera rests."""
    gateway: Gateway = request.app.state.gateway
    gateway.load(Camera, camera_id, project_id)
    resting = {"fps_measured": 0.0, "frames": 0, "viewers": 0}
    return plain(await gateway.ask_if_awake(Camera, camera_id, "stats") or resting)


@router.post(
    "/projects/{project_id}/cameras/{camera_id}:connect", summary="Hold a camera open", **answers(200, shapes.Camera)
)
async def connect(project_id: UUID, camera_id: UUID, write: Writing) -> Response:
    """Hold the camera open until ``:disconnect``."""
    write.load(Camera, camera_id, project_id)
    read = partial(queries.camera, project_id=project_id, id=camera_id)
    return await write.ask(
        200, lambda: write.command(Camera, camera_id, "hold", "connect", timeout_s=OPEN_S, repeatable=True), read
    )


@router.post(
    "/projects/{project_id}/cameras/{camera_id}:disconnect",
    summary="Let a camera go",
    **answers(200, shapes.Camera, DeviceLocked),
)
async def disconnect(project_id: UUID, camera_id: UUID, write: Writing) -> Response:
    """Let the device go; viewers' sessions end. 423 while a recording session has it."""
    write.load(Camera, camera_id, project_id)
    write.gateway.must_be_free(camera_id)
    read = partial(queries.camera, project_id=project_id, id=camera_id)
    disconnect = partial(write.gateway.tell_if_awake, Camera, camera_id, "disconnect", if_match=write.if_match)
    return await write.ask(200, disconnect, read)


async def _offer(request: Request) -> str:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != SDP:
        raise UnsupportedMedia(f"Send the offer as {SDP}.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_OFFER_BYTES:
            raise TooLarge("An SDP offer may have 64 KiB at most.")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Malformed("The offer is not text.") from error


def _parts(session: str) -> tuple[UUID, str]:
    """Which camera's process has the session: its id stands before the unguessable part."""
    try:
        return UUID(hex=session[:32]), session[32:]
    except ValueError:
        raise NotFound("There is no such viewer's session.", code="whep_session_not_found") from None


def _ice_links() -> list[str]:
    """RFC 8288 links as WHEP wants them, one for each URL."""
    links = []
    for server in settings().ice_servers:
        urls = server["urls"] if isinstance(server["urls"], list) else [server["urls"]]
        credentials = "".join(f'; {name}="{server[name]}"' for name in ("username", "credential") if name in server)
        links += [f'<{url}>; rel="ice-server"{credentials}' for url in urls]
    return links
