"""What takes longer on a dataset than an answer may: each is answered with an operation that can be watched."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from uuid import UUID, uuid5

from fastapi import APIRouter, Request, Response

from actors.gateway import Gateway
from actors.log import now
from actors.routes.answers import answers
from actors.routes.episodes import check_condition
from actors.routes.write import Writing
from domain.aggregate import Command
from domain.dataset import Dataset
from domain.errors import Conflict, NotFound, PreconditionRequired
from domain.operation import (
    MergeDatasets,
    Operation,
    OperationKind,
    OperationStatus,
    RepairDataset,
    SplitDataset,
    VerifyDataset,
)
from projections import queries, shapes
from projections.routes.replies import ONE, PAGED, is_past, many, one, page, reading
from settings import settings

router = APIRouter(prefix="/api", tags=["operations"])


@router.get("/operations", response_model=list[shapes.Operation], summary="List the operations", openapi_extra=PAGED)
async def list_operations(request: Request) -> Response:
    """Of all datasets, oldest first. How far one is that runs, it says when it is asked for alone."""
    with reading(request) as connection:
        return many(request, queries.operations(connection, page(request)))


@router.get(
    "/operations/{operation_id}", response_model=shapes.Operation, summary="Get an operation", openapi_extra=ONE
)
async def get_operation(operation_id: UUID, request: Request) -> Response:
    """How far it is while it runs, and what came of it."""
    with reading(request) as connection:
        found = queries.operation(connection, operation_id)
    if found["status"] == OperationStatus.RUNNING and not is_past(request):
        gateway: Gateway = request.app.state.gateway
        found |= await gateway.ask_if_awake(Operation, operation_id, "progress") or {}
    return one(found)


@router.post("/dataset/{dataset_id}:verify", summary="Verify a dataset", **answers(202, shapes.Operation))
async def verify_dataset(dataset_id: UUID, write: Writing, command: VerifyDataset | None = None) -> Response:
    """Every file of every episode against what was saved (sizes, sha256, each video decoded to its end), and the newest
    version against the log. Changes nothing. The operation's result: `ok`, `damaged` (`episode_index`,
    `episode_id`, `rows`, `whole_rows`, `problems`) and `version_problems`."""
    dataset = write.load(Dataset, dataset_id)
    return await _submit(write, lambda id: Operation.verify(id, dataset, now()))


@router.post("/dataset/{dataset_id}:repair", summary="Repair a dataset", **answers(202, shapes.Operation))
async def repair_dataset(dataset_id: UUID, write: Writing, command: RepairDataset | None = None) -> Response:
    """What `:verify` finds is mended: in the place of a damaged episode comes a new one of its rows up to the first
    that is damaged, marked as suspect; one of which nothing is whole is taken out. The damaged ones are deleted, and
    can be restored. A new version shows it; whole episodes are left as they are. The operation's result: `repaired` and
    `taken_out` as `damaged` of `:verify`, with `new_episode_id`, `kept_rows` and `dropped_rows`; `version`."""
    dataset = write.load(Dataset, dataset_id)
    return await _submit(write, lambda id: Operation.repair(id, dataset, now()))


@router.post("/dataset/{dataset_id}:merge", summary="Merge a dataset with others", **answers(202, shapes.Operation))
async def merge_datasets(dataset_id: UUID, command: MergeDatasets, write: Writing) -> Response:
    """Makes a new dataset `name` with the episodes of this one, and then of those in `dataset_ids`, which must have
    been recorded alike (fps, joints, cameras and their sizes). These stay as they are. An episode keeps its id in every
    dataset that holds it, and is taken once when several of these have it. The operation's result: `datasets` made
    (`dataset_id`, `name`, `episodes`, `frames`)."""
    first = write.load(Dataset, dataset_id)
    ids = dict.fromkeys([dataset_id, *command.dataset_ids])
    write.gateway.refer(first.project_id, Dataset, ids)
    sources = [write.gateway.load(Dataset, each) for each in ids]

    async def submitted(new_id: UUID) -> None:
        id = _merging(new_id)
        if _came_before(write, id, OperationKind.MERGE, ids, command):
            return
        operation = Operation.merge(id, new_id, command, sources, now())
        await asyncio.to_thread(_check_merge, write, new_id, sources)
        await _begin(write, operation)

    return await write.make(202, command.id, submitted, lambda new_id: partial(queries.operation, id=_merging(new_id)))


@router.post(
    "/dataset/{dataset_id}:split", summary="Split a dataset", **answers(202, shapes.Operation, PreconditionRequired)
)
async def split_dataset(dataset_id: UUID, command: SplitDataset, write: Writing) -> Response:
    """Makes new datasets, each with some of this one's episodes, which stays as it is: `parts`, each with a name and
    with episodes by their ids (or by index, with If-Match); or `fractions` by name, such as `{"train": 0.8, "test":
    0.2}`, drawn by `seed`. The operation's result: `datasets` made (`dataset_id`, `name`, `episodes`, `frames`)."""
    check_condition(write, dataset_id, [which for part in command.parts for which in part.episodes])
    dataset = write.load(Dataset, dataset_id)
    return await _submit(write, lambda id: Operation.split(id, command, dataset, now()))


def _check_merge(write: Writing, new_id: UUID, sources: Sequence[Dataset]) -> None:
    """Raises Conflict when they do not fit together, or when the new one's id is taken."""
    from actors.capture.compose import refuse_misfits

    datasets = settings().datasets_dir
    if write.gateway.log.stream(new_id) or (datasets / str(new_id)).exists():
        raise Conflict(f"The id {new_id} is already taken by something else; choose another.")
    refuse_misfits(datasets, sources)


def _came_before(write: Writing, id: UUID, kind: OperationKind, datasets: Iterable[UUID], command: Command) -> bool:
    """Whether just this was asked for before. Raises Conflict when the id was another's."""
    try:
        known = write.gateway.load(Operation, id)
    except NotFound:
        return False
    said = command.model_dump(mode="json", exclude={"id"})
    if (known.type, known.dataset_ids, known.payload) != (kind, tuple(datasets), said):
        raise Conflict("The id is already taken by another operation; choose another.")
    return True


def _merging(new_id: UUID) -> UUID:
    """The operation that makes a merged dataset."""
    return uuid5(new_id, "operation")


async def _submit(write: Writing, operation: Callable[[UUID], Operation]) -> Response:
    async def submitted(id: UUID) -> None:
        await _begin(write, operation(id))

    return await write.make(202, None, submitted, lambda id: partial(queries.operation, id=id))


async def _begin(write: Writing, operation: Operation) -> None:
    await write.gateway.create(operation)
    write.gateway.wake(Operation, operation.id)
