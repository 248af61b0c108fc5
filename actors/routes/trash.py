"""What was deleted as a whole, listed and purged."""

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from actors.gateway import Gateway
from actors.routes.answers import answers, fails
from actors.routes.write import Writing
from actors.trash import Trash
from domain.aggregate import Command
from domain.errors import Unavailable
from projections.paging import Rows
from projections.routes.replies import COUNTED, many
from settings import settings

router = APIRouter(prefix="/api/trash", tags=["trash"])


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
    rows = await asyncio.to_thread(Trash(gateway.log, settings().storage_dir).listed)
    return many(request, Rows(rows, len(rows)))


@router.post(":purge", summary="Empty the trash", **answers(200, Emptied, versioned=False))
async def purge_trash(write: Writing, command: PurgeTrash | None = None) -> Response:
    """Removes their files, which frees their space, on a full disk too. Nothing can bring them back then."""
    wanted = None if command is None or command.ids is None else set(command.ids)
    trash = Trash(write.gateway.log, settings().storage_dir)
    return await write.ask(200, lambda: asyncio.to_thread(trash.purge, wanted))
