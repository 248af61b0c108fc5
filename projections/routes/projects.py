"""GET of the projects and of what lives in one."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from projections import queries, shapes
from projections.routes.replies import AS_OF, ONE, PAGED, many, one, page, plain, reading

router = APIRouter(prefix="/api/projects", tags=["projects"])


@router.get(
    "", response_model=list[shapes.Project], summary="List the projects with their datasets", openapi_extra=PAGED
)
async def list_projects(request: Request) -> Response:
    with reading(request) as connection:
        return many(request, queries.projects(connection, page(request)))


@router.get(
    "/{project_id}", response_model=shapes.Project, summary="Get a project with its datasets", openapi_extra=ONE
)
async def get_project(request: Request, project_id: UUID) -> Response:
    with reading(request) as connection:
        return one(queries.project(connection, project_id))


@router.get(
    "/{project_id}/datasets",
    response_model=list[shapes.Dataset],
    summary="List a project's datasets",
    openapi_extra=PAGED,
)
async def list_datasets(request: Request, project_id: UUID) -> Response:
    with reading(request) as connection:
        return many(request, queries.datasets(connection, project_id, page(request)))


@router.get(
    "/{project_id}/models", response_model=list[shapes.Model], summary="List a project's models", openapi_extra=PAGED
)
async def list_models(request: Request, project_id: UUID) -> Response:
    with reading(request) as connection:
        return many(request, queries.models(connection, project_id, page(request)))


@router.get("/{project_id}/jobs", response_model=list[shapes.Job], summary="List a project's jobs", openapi_extra=PAGED)
async def list_jobs(request: Request, project_id: UUID) -> Response:
    with reading(request) as connection:
        return many(request, queries.jobs(connection, project_id, page(request)))


@router.get(
    "/{project_id}/tasks",
    summary="List a project's recorded tasks by dataset",
    response_model=dict[str, list[str]],
    openapi_extra=AS_OF,
)
async def list_tasks(request: Request, project_id: UUID) -> Response:
    with reading(request) as connection:
        return plain(queries.tasks(connection, project_id))
