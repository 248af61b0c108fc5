"""GET of the cameras, robots and environments of a project, as the log knows them."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from projections import queries, shapes
from projections.routes.replies import ONE, PAGED, many, one, page, reading

_PROJECT = "/api/projects/{project_id}"
_cameras = APIRouter(prefix=f"{_PROJECT}/cameras", tags=["cameras"])
_robots = APIRouter(prefix=f"{_PROJECT}/robots", tags=["robots"])
_environments = APIRouter(prefix=f"{_PROJECT}/environments", tags=["environments"])


@_cameras.get("", response_model=list[shapes.Camera], summary="List the cameras", openapi_extra=PAGED)
async def list_cameras(request: Request, project_id: UUID) -> Response:
    with reading(request) as connection:
        return many(request, queries.cameras(connection, project_id, page(request)))


@_cameras.get("/{camera_id}", response_model=shapes.Camera, summary="Get a camera and its state", openapi_extra=ONE)
async def get_camera(request: Request, project_id: UUID, camera_id: UUID) -> Response:
    with reading(request) as connection:
        return one(queries.camera(connection, project_id, camera_id))


@_robots.get("", response_model=list[shapes.Robot], summary="List the robots", openapi_extra=PAGED)
@_robots.get(
    "/online",
    response_model=list[shapes.Robot],
    summary="List the robots with their connection status",
    openapi_extra=PAGED,
)
async def list_robots(request: Request, project_id: UUID) -> Response:
    with reading(request) as connection:
        return many(request, queries.robots(connection, project_id, page(request)))


@_robots.get("/{robot_id}", response_model=shapes.Robot, summary="Get a robot", openapi_extra=ONE)
async def get_robot(request: Request, project_id: UUID, robot_id: UUID) -> Response:
    with reading(request) as connection:
        return one(queries.robot(connection, project_id, robot_id))


@_environments.get("", response_model=list[shapes.Environment], summary="List the environments", openapi_extra=PAGED)
async def list_environments(request: Request, project_id: UUID) -> Response:
    with reading(request) as connection:
        return many(request, queries.environments(connection, project_id, page(request)))


@_environments.get(
    "/{environment_id}", response_model=shapes.EnvironmentWithDevices, summary="Get an environment", openapi_extra=ONE
)
async def get_environment(request: Request, project_id: UUID, environment_id: UUID) -> Response:
    with reading(request) as connection:
        return one(queries.environment(connection, project_id, environment_id))


routers = (_cameras, _robots, _environments)
