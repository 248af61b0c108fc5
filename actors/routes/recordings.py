"""Recording sessions: opened here, then every command goes to the session's owner."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID, uuid4, uuid5

from fastapi import APIRouter, Query, Request, Response

from actors.gateway import Gateway
from actors.log import now
from actors.routes.answers import EpisodeNamed, LiveRecording, SavedEpisode, answers
from actors.routes.write import Writing
from domain.camera import Camera
from domain.dataset import Dataset
from domain.environment import Environment
from domain.errors import DeviceLocked
from domain.project import Project
from domain.recording import (
    CloseRecording,
    DiscardEpisode,
    KeepEpisode,
    OpenRecording,
    Recording,
    RecordingState,
    SaveEpisode,
    StartEpisode,
)
from domain.robot import Robot
from projections import queries, shapes
from projections.paging import Rows
from projections.routes.replies import ONE, PAGED, is_past, many, one, page, reading

OPEN_S = 60.0
SAVE_S = 60.0

router = APIRouter(prefix="/api/projects/{project_id}/recordings", tags=["recordings"])


@router.post("", summary="Open a recording session", **answers(201, shapes.Recording, DeviceLocked))
async def open_recording(project_id: UUID, command: OpenRecording, write: Writing) -> Response:
    """Opens a session and answers once every device delivers; 423 when another session has one of them."""
    write.must_be_new()
    gateway = write.gateway
    gateway.load(Project, project_id)
    gateway.refer(project_id, Environment, [command.environment_id])
    environment = gateway.load(Environment, command.environment_id)
    task = "practice"
    if command.dataset_id is not None:
        gateway.refer(project_id, Dataset, [command.dataset_id])
        dataset = gateway.load(Dataset, command.dataset_id)
        dataset.accepts(command.environment_id, command.fps)
        task = dataset.default_task

    async def opened(id: UUID) -> None:
        recording = Recording.open(id, project_id, command, environment, task, now())
        await gateway.create(recording)
        # All processes start at once: the session's owner would wake the others, but only when it is up itself.
        gateway.wake(Robot, recording.robot_id)
        for camera_id in recording.camera_ids:
            gateway.wake(Camera, camera_id)
        await gateway.ask(Recording, id, "opened", timeout_s=OPEN_S, repeatable=True)

    return await write.make(
        201, command.id, opened, lambda id: partial(queries.recording, project_id=project_id, id=id)
    )


@router.get("", response_model=list[LiveRecording], summary="List the recording sessions", openapi_extra=PAGED)
async def list_recordings(
    project_id: UUID, request: Request, state: Annotated[RecordingState | None, Query()] = None
) -> Response:
    """The sessions of a project, oldest first, with live numbers of the open ones."""
    with reading(request) as connection:
        rows = queries.recordings(connection, project_id, state, page(request))
    return many(request, Rows([await _with_live(request, row) for row in rows], rows.total, rows.cursor))


@router.get("/{recording_id}", response_model=LiveRecording, summary="Get a recording session", openapi_extra=ONE)
async def get_recording(project_id: UUID, recording_id: UUID, request: Request) -> Response:
    with reading(request) as connection:
        found = queries.recording(connection, project_id=project_id, id=recording_id)
    found.update(await _with_live(request, found))
    return one(found)


@router.post("/{recording_id}:start_episode", summary="Start an episode", **answers(201, EpisodeNamed, versioned=False))
async def start_episode(
    project_id: UUID, recording_id: UUID, write: Writing, command: StartEpisode | None = None
) -> Response:
    # A repeated request with the same key names the same episode, so that it cannot start a second one.
    episode = uuid5(recording_id, write.key) if write.key else uuid4()
    return await _ask(
        write, project_id, recording_id, "start_episode", command or StartEpisode(), str(episode), status=201
    )


@router.post(
    "/{recording_id}:save_episode", summary="Save the open episode", **answers(200, SavedEpisode, versioned=False)
)
async def save_episode(project_id: UUID, recording_id: UUID, command: SaveEpisode, write: Writing) -> Response:
    """Answers once the episode is durable and the dataset's newest version shows it."""
    return await _ask(write, project_id, recording_id, "save_episode", command)


@router.post(
    "/{recording_id}:discard_episode", summary="Discard an episode", **answers(200, EpisodeNamed, versioned=False)
)
async def discard_episode(project_id: UUID, recording_id: UUID, command: DiscardEpisode, write: Writing) -> Response:
    """The open one, or an interrupted one, also of a session that has ended."""
    return await _clear(write, project_id, recording_id, command.episode_id, "discard_episode", str(command.episode_id))


@router.post(
    "/{recording_id}:keep", summary="Keep an interrupted episode", **answers(200, SavedEpisode, versioned=False)
)
async def keep_episode(project_id: UUID, recording_id: UUID, command: KeepEpisode, write: Writing) -> Response:
    """Saves what is whole of an interrupted episode, also of a session that has ended."""
    return await _clear(write, project_id, recording_id, command.episode_id, "keep_episode", command)


@router.post("/{recording_id}:pause", summary="Let no episode start by itself", **answers(200, shapes.Recording))
async def pause_recording(project_id: UUID, recording_id: UUID, write: Writing) -> Response:
    """Where episodes follow one another, none starts until ``:start_episode`` does; the open one goes on."""
    write.load(Recording, recording_id, project_id).check_open()
    paused = partial(write.command, Recording, recording_id, "pause", timeout_s=SAVE_S)
    return await write.ask(200, paused, partial(queries.recording, project_id=project_id, id=recording_id))


@router.post("/{recording_id}:close", summary="Close a recording session", **answers(200, shapes.Recording))
async def close_recording(
    project_id: UUID, recording_id: UUID, write: Writing, command: CloseRecording | None = None
) -> Response:
    """Ends the session; an open episode is kept as interrupted, never discarded. Closing again changes nothing."""
    recording = write.load(Recording, recording_id, project_id)

    async def close() -> None:
        if not recording.ended:
            await write.command(Recording, recording_id, "close", "closed on request", timeout_s=SAVE_S)

    return await write.ask(200, close, partial(queries.recording, project_id=project_id, id=recording_id))


async def _ask(
    write: Writing, project_id: UUID, recording_id: UUID, method: str, *args: Any, status: int = 200
) -> Response:
    """A session that has ended refuses here: its owner would be woken only to say the same."""
    write.load(Recording, recording_id, project_id).check_open()
    return await _told(write, recording_id, method, *args, status=status)


async def _clear(
    write: Writing, project_id: UUID, recording_id: UUID, episode_id: UUID, method: str, *args: Any
) -> Response:
    """Of a session that has ended, what was interrupted in it; the process that ends with it may just be met."""
    session = write.load(Recording, recording_id, project_id)
    if not session.takes.knows(episode_id):
        session.check_open()
    return await _told(write, recording_id, method, *args, repeatable=True)


async def _told(
    write: Writing, recording_id: UUID, method: str, *args: Any, status: int = 200, repeatable: bool = False
) -> Response:
    return await write.ask(
        status,
        partial(write.command, Recording, recording_id, method, *args, timeout_s=SAVE_S, repeatable=repeatable),
        version=lambda: write.gateway.load(Recording, recording_id).version,
    )


async def _with_live(request: Request, row: dict[str, Any]) -> dict[str, Any]:
    """``episode`` as the log knows it, with the live numbers of the take that is open; between episodes that follow one
    another, when the next one starts."""
    shown = {**row, "next_episode_in_s": None}
    has_more = row["episode"] is not None or (row["reset_time_s"] is not None and row["state"] == RecordingState.READY)
    if is_past(request) or not has_more:
        return shown
    gateway: Gateway = request.app.state.gateway
    live = await gateway.ask_if_awake(Recording, UUID(row["id"]), "live")
    if live is None:
        return shown
    if row["episode"] is not None and live["episode"] is not None:
        shown["episode"] = {**row["episode"], **live["episode"]}
    return shown | {"next_episode_in_s": live["next_episode_in_s"]}
