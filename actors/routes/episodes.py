"""Curation: what people say of the saved episodes of a dataset, and which of them it holds. No file of an episode is
touched: each change is a new version."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Response
from pydantic import Field

from actors.log import now
from actors.publishing import try_to_publish
from actors.routes.answers import Purged, answers
from actors.routes.write import Read, Writing, carried_through
from domain.dataset import Dataset, PurgeDataset, RestoreEpisodes
from domain.episode import UpdateEpisode
from domain.errors import NotFound, PreconditionRequired
from projections import queries, shapes
from settings import settings

MAX_INDEX_DIGITS = 9
BY_INDEX = (
    "An index moves when episodes before it go: send If-Match with the dataset's ETag, or name episodes by their ids."
)

router = APIRouter(prefix="/api/dataset/{dataset_id}", tags=["datasets"])

Index = Annotated[int, Field(strict=True, ge=0)]
Chosen = Annotated[list[Index | UUID], Body(min_length=1, max_length=10_000, description="indices or ids")]


@router.patch(
    "/episodes/{n}",
    summary="Change what is said of an episode",
    **answers(200, shapes.EpisodeFacts, PreconditionRequired),
)
async def update_episode(dataset_id: UUID, n: str, command: UpdateEpisode, write: Writing) -> Response:
    """Its task, tags, note, rating and verdict. Another task is a new version of the dataset."""
    which = episode_key(n)
    check_condition(write, dataset_id, [which])
    read = partial(queries.episode, dataset_id=dataset_id, n=which)
    return await _curated(write, dataset_id, lambda dataset: dataset.update_episode(which, command, now()), read)


@router.delete("/episodes", summary="Delete some episodes", **answers(200, shapes.Dataset, PreconditionRequired))
async def delete_episodes(dataset_id: UUID, chosen: Chosen, write: Writing) -> Response:
    """All of them or none. They can be restored until the trash is emptied; indices close up."""
    check_condition(write, dataset_id, chosen)
    read = partial(queries.dataset, id=dataset_id)
    return await _curated(write, dataset_id, lambda dataset: dataset.delete_episodes(chosen, now()), read)


@router.post("/episodes:restore", summary="Restore deleted episodes", **answers(200, shapes.Dataset))
async def restore_episodes(dataset_id: UUID, command: RestoreEpisodes, write: Writing) -> Response:
    """All of them or none. Each gets back the place it had among the others."""
    read = partial(queries.dataset, id=dataset_id)
    return await _curated(write, dataset_id, lambda dataset: dataset.restore_episodes(command.episode_ids, now()), read)


@router.post(":purge", summary="Empty a dataset's trash", **answers(200, Purged))
async def purge_dataset(dataset_id: UUID, write: Writing, command: PurgeDataset | None = None) -> Response:
    """Frees the space of its deleted episodes, which cannot be restored then, and of its older versions. What a model
    was trained on is kept with the episodes in it, unless `also_used`; what a job still needs, or is just being
    downloaded, in any case. Works on a full disk too."""
    from actors.purging import purge

    write.load(Dataset, dataset_id)
    used = dict[int, str]()
    if command is None or not command.also_used:
        with write.gateway.log.engine.connect() as connection:
            used = {
                version: models[0]["name"] for version, models in queries.trained_on(connection, dataset_id).items()
            }
    return await write.ask(
        200,
        lambda: purge(write.gateway, dataset_id, settings().datasets_dir, used),
        version=lambda: write.gateway.load(Dataset, dataset_id).version,
    )


@carried_through
async def _curated(write: Writing, dataset_id: UUID, decision: Callable[[Dataset], object], read: Read) -> Response:
    """Answers when the newest version shows it; what the disk has no room to show now is shown later."""
    reply = await write.change(Dataset, dataset_id, decision, read)
    dataset = write.gateway.load(Dataset, dataset_id)
    await asyncio.to_thread(try_to_publish, settings().datasets_dir, dataset)
    return reply


def check_condition(write: Writing, dataset_id: UUID, chosen: Iterable[int | UUID]) -> None:
    """Raises PreconditionRequired when some are named by index, and nobody knows at which version."""
    write.gateway.load(Dataset, dataset_id)
    if write.if_match is None and any(isinstance(which, int) for which in chosen):
        raise PreconditionRequired(BY_INDEX)


def episode_key(n: str) -> int | UUID:
    """The index or the id that a path names. Raises NotFound."""
    if n.isascii() and n.isdecimal() and len(n) <= MAX_INDEX_DIGITS:
        return int(n)
    try:
        return UUID(n)
    except ValueError:
        raise NotFound(
            f"There is no episode {n[:40]!r}: name one by its index or its id.", code="episode_not_found"
        ) from None
