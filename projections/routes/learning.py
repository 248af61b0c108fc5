"""GET of datasets, jobs and models by their own ids."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from projections import queries, shapes
from projections.routes.replies import ONE, PAGED, many, one, page, reading

router = APIRouter(prefix="/api")


@router.get(
    "/dataset/{dataset_id}",
    response_model=shapes.Dataset,
    summary="Get a dataset",
    tags=["datasets"],
    openapi_extra=ONE,
)
async def get_dataset(request: Request, dataset_id: UUID) -> Response:
    with reading(request) as connection:
        return one(queries.dataset(connection, dataset_id))


@router.get(
    "/dataset/{dataset_id}/episodes",
    response_model=list[shapes.Episode],
    summary="List a dataset's episodes",
    tags=["datasets"],
    openapi_extra=PAGED,
)
async def list_episodes(request: Request, dataset_id: UUID) -> Response:
    with reading(request) as connection:
        return many(request, queries.episodes(connection, dataset_id, page(request)))


@router.get(
    "/dataset/{dataset_id}/trash",
    response_model=list[shapes.DeletedEpisode],
    summary="List a dataset's deleted episodes",
    tags=["datasets"],
    openapi_extra=PAGED,
)
async def list_trash(request: Request, dataset_id: UUID) -> Response:
    """Those that can be restored until they are purged; `size_bytes` of each are what that may free."""
    with reading(request) as connection:
        return many(request, queries.deleted_episodes(connection, dataset_id, page(request)))


@router.get("/jobs", response_model=list[shapes.Job], summary="List the jobs", tags=["jobs"], openapi_extra=PAGED)
async def list_jobs(request: Request) -> Response:
    with reading(request) as connection:
        return many(request, queries.jobs(connection, page=page(request)))


@router.get("/jobs/{job_id}", response_model=shapes.Job, summary="Get a job", tags=["jobs"], openapi_extra=ONE)
async def get_job(request: Request, job_id: UUID) -> Response:
    with reading(request) as connection:
        return one(queries.job(connection, job_id))


@router.get(
    "/models/{model_id}", response_model=shapes.Model, summary="Get a model", tags=["models"], openapi_extra=ONE
)
async def get_model(request: Request, model_id: UUID) -> Response:
    with reading(request) as connection:
        return one(queries.model(connection, model_id))
