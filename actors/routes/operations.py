"""What takes longer on a dataset than an answer may: each is answered with an operation that can be watched."""

from functools import partial
from uuid import UUID

from fastapi import APIRouter, Request, Response

from actors.gateway import Gateway
from actors.log import now
from actors.routes.answers import answers
from actors.routes.write import Writing
from domain.dataset import Dataset
from domain.operation import Operation, OperationStatus, RepairDataset, VerifyDataset
from projections import queries, shapes
from projections.routes.replies import ONE, PAGED, is_past, many, one, page, reading

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
    return await _submit(write, Operation.verify(write.new_id(None), dataset, now()))


@router.post("/dataset/{dataset_id}:repair", summary="Repair a dataset", **answers(202, shapes.Operation))
async def repair_dataset(dataset_id: UUID, write: Writing, command: RepairDataset | None = None) -> Response:
    """What `:verify` finds is mended: in the place of a damaged episode comes a new one of its rows up to the first
    that is damaged, marked as suspect; one of which nothing is whole is taken out. The damaged ones are deleted, and
    can be restored. A new version shows it; whole episodes are left as they are. The operation's result: `repaired` and
    `taken_out` as `damaged` of `:verify`, with `new_episode_id`, `kept_rows` and `dropped_rows`; `version`."""
    dataset = write.load(Dataset, dataset_id)
    return await _submit(write, Operation.repair(write.new_id(None), dataset, now()))


async def _submit(write: Writing, operation: Operation) -> Response:
    async def submitted() -> None:
        await write.gateway.create(operation)
        write.gateway.wake(Operation, operation.id)

    return await write.ask(202, submitted, partial(queries.operation, id=operation.id))
