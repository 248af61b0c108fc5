"""What was deleted and still takes room: datasets and models as a whole, whose files go when they are purged. The
deleted episodes of a dataset that is there are in its own trash."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from actors.codec import Unreadable
from actors.gateway import Gateway
from actors.log import Log
from actors.routes.answers import answers, fails
from actors.routes.write import Writing
from domain.aggregate import Aggregate, Command
from domain.dataset import Dataset
from domain.errors import NotFound, Unavailable
from domain.model import Model
from projections.paging import Rows
from projections.routes.replies import COUNTED, many
from projections.tables import rfc3339
from settings import settings

router = APIRouter(prefix="/api/trash", tags=["trash"])

_KINDS: dict[str, tuple[type[Dataset | Model], str]] = {"dataset": (Dataset, "datasets"), "model": (Model, "models")}


class Deleted(BaseModel):
    """``size_bytes`` are what purging it frees: files that others have too do not count."""

    kind: str
    id: UUID
    name: str
    project_id: UUID
    deleted_at: AwareDatetime
    size_bytes: int


class PurgeTrash(Command):
    """``ids`` of the things to purge; all that are in the trash without."""

    ids: Annotated[list[UUID], Field(min_length=1, max_length=10_000)] | None = None


class Emptied(BaseModel):
    ids: list[UUID]
    freed_bytes: int


@router.get(
    "", response_model=list[Deleted], summary="List the trash", responses=fails(Unavailable), openapi_extra=COUNTED
)
async def list_trash(request: Request) -> Response:
    """Datasets and models that were deleted, alone or with their project, and whose files are still there."""
    gateway: Gateway = request.app.state.gateway
    rows = await asyncio.to_thread(lambda: list(_listed(gateway.log)))
    return many(request, Rows(rows, len(rows)))


@router.post(":purge", summary="Empty the trash", **answers(200, Emptied, versioned=False))
async def purge_trash(write: Writing, command: PurgeTrash | None = None) -> Response:
    """Removes their files, which frees their space, on a full disk too. Nothing can bring them back then."""
    wanted = None if command is None or command.ids is None else set(command.ids)
    return await write.ask(200, lambda: asyncio.to_thread(_purge, write.gateway.log, wanted))


def _purge(log: Log, wanted: set[UUID] | None) -> dict[str, Any]:
    from actors.capture.durable import storage_errors
    from actors.capture.purge import remove_all

    found = {aggregate.id: place for aggregate, _, place in _trash(log)}
    for id in wanted or ():
        if id not in found:
            raise NotFound(f"There is no {id} in the trash.", code="trash_not_found")
    chosen = [id for id in found if wanted is None or id in wanted]
    with storage_errors("empty the trash"):
        freed = remove_all([found[id] for id in chosen])
    return {"ids": [str(id) for id in chosen], "freed_bytes": freed}


def _listed(log: Log) -> Iterator[dict[str, Any]]:
    from actors.capture.purge import would_free

    for aggregate, kind, place in _trash(log):
        yield {
            "kind": kind,
            "id": str(aggregate.id),
            "name": aggregate.name,
            "project_id": str(aggregate.project_id),
            "deleted_at": rfc3339(log.stream(aggregate.id, after=aggregate.version - 1)[0].timestamp),
            "size_bytes": would_free(place),
        }


def _trash(log: Log) -> Iterator[tuple[Dataset | Model, str, Path]]:
    """What the log itself says is deleted, for a view may be parked; with the folder that is left of it."""
    for kind, (owner, name) in _KINDS.items():
        root = settings().storage_dir / name
        for place in sorted(root.iterdir()) if root.is_dir() else ():
            aggregate = _deleted(log, owner, place.name)
            if aggregate is not None:
                yield aggregate, kind, place


def _deleted[A: Aggregate](log: Log, kind: type[A], name: str) -> A | None:
    """Nothing is known to be deleted whose events cannot be read."""
    try:
        aggregate = log.load(kind, UUID(name))
    except (NotFound, Unreadable, ValueError):
        return None
    return aggregate if aggregate.deleted else None
