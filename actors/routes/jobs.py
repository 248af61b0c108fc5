"""Training and evaluation jobs, and what can be trained."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from actors import disk
from actors.gateway import Gateway
from actors.log import now
from actors.routes.answers import answers
from actors.routes.write import Writing
from actors.training import model_id_of
from domain.dataset import Dataset
from domain.errors import Invalid
from domain.model import Model
from domain.training import Evaluate, InterruptJob, Job, Train
from projections import queries, shapes
from projections.paging import Rows
from projections.routes.replies import COUNTED, many, plain
from settings import settings

router = APIRouter(prefix="/api", tags=["jobs"])


@router.get("/policies", response_model=list[dict[str, Any]], summary="List what can be trained", openapi_extra=COUNTED)
async def policies(request: Request) -> Response:
    """What can be trained, with the JSON schema of each policy's arguments."""
    from actors.learning.policies import catalogue

    entries = catalogue()
    return many(request, Rows(entries, len(entries)))


@router.post("/jobs:train", summary="Train a policy", **answers(202, shapes.Job))
async def train(command: Train, write: Writing) -> Response:
    """Checked at submit: the policy is known and its weights are here, the dataset has episodes, the cluster has the
    device and room for the workers, and the disk has room (507). The job is watched at /api/jobs/{id}."""
    from actors.learning import weights
    from actors.learning.cluster import nodes, place
    from actors.learning.policies import validate

    disk.check_training()
    args = validate(command.policy, command.policy_args)
    cluster = await asyncio.to_thread(nodes)
    if len(cluster) == 1:  # of several, which will train is not known yet, and each has a cache of its own
        await asyncio.to_thread(weights.check, command.policy, args)
    write.gateway.refer(command.project_id, Dataset, [command.dataset_id])
    dataset = write.gateway.load(Dataset, command.dataset_id)
    place(cluster, command.train_workers, command.resources_per_worker, command.device)
    return await _submit(write, command.id, lambda id: Job.train(id, model_id_of(id), command, dataset, now()))


@router.post("/models/{model_id}:evaluate", summary="Evaluate a model", **answers(202, shapes.Job))
async def evaluate(model_id: UUID, command: Evaluate, write: Writing) -> Response:
    """Rollouts of the model, of the scripted expert and of a random policy on the same seeds."""
    model = write.gateway.load(Model, model_id)
    if not any(export.reason is None for export in model.exports):
        raise Invalid("This model has no export that can act; train it with export=['torch'] at least.")
    return await _submit(write, command.id, lambda id: Job.evaluate(id, command, model, now()))


@router.post("/jobs/{job_id}:interrupt", summary="Interrupt a job", **answers(200, shapes.Job))
async def interrupt(job_id: UUID, write: Writing, command: InterruptJob | None = None) -> Response:
    """Ends the job as canceled, with a checkpoint kept; answers once it has ended."""
    write.load(Job, job_id).check_live()
    ask = partial(write.command, Job, job_id, "interrupt", timeout_s=30)
    return await write.ask(200, ask, partial(queries.job, id=job_id))


@router.get("/jobs/{job_id}/metrics", response_model=list[dict[str, Any]], summary="Get a job's curve")
async def metrics(job_id: UUID, request: Request) -> Response:
    """The whole curve: one row each time the training logged (step, loss, …)."""
    gateway: Gateway = request.app.state.gateway
    gateway.load(Job, job_id)
    return plain(await asyncio.to_thread(_rows, settings().jobs_dir / str(job_id)))


async def _submit(write: Writing, chosen: UUID | None, job: Callable[[UUID], Job]) -> Response:
    write.must_be_new()

    async def submitted(id: UUID) -> None:
        await write.gateway.create(job(id))
        write.gateway.wake(Job, id)

    return await write.make(202, chosen, submitted, lambda id: partial(queries.job, id=id))


def _rows(job_folder: Path) -> list[dict[str, Any]]:
    from actors.learning.job import JobFolder

    return JobFolder(job_folder).rows()
