"""Commands to projects and to what lives in them without owning a device of its own."""

from functools import partial
from uuid import UUID, uuid4

from fastapi import APIRouter, Response

from actors.devices.paths import confined
from actors.log import now
from actors.routes.answers import answers, creates
from actors.routes.write import Writing
from domain.camera import Camera, CreateCamera, FilePayload, UpdateCamera
from domain.dataset import CreateDataset, Dataset, UpdateDataset
from domain.environment import CreateEnvironment, Environment, UpdateEnvironment
from domain.errors import DeviceLocked
from domain.model import Model
from domain.project import CreateProject, Project, UpdateProject
from domain.robot import CreateRobot, Robot, UpdateRobot
from projections import queries, shapes
from settings import settings

router = APIRouter(prefix="/api")


@router.post("/projects", tags=["projects"], summary="Create a project", **creates(shapes.Project))
async def create_project(command: CreateProject, write: Writing) -> Response:
    project = Project.create(command.id or uuid4(), command, now())
    return await write.create(project, partial(queries.project, id=project.id))


@router.put("/projects/{project_id}", tags=["projects"], summary="Change a project", **answers(200, shapes.Project))
async def update_project(project_id: UUID, command: UpdateProject, write: Writing) -> Response:
    read = partial(queries.project, id=project_id)
    return await write.change(Project, project_id, lambda project: project.update(command, now()), read)


@router.delete(
    "/projects/{project_id}",
    tags=["projects"],
    summary="Delete a project and all that lives in it",
    **answers(204, None),
)
async def delete_project(project_id: UUID, write: Writing) -> Response:
    """The project and all that lives in it; 409 while a session or job runs."""
    return await write.delete_project(project_id)


@router.post("/projects/{project_id}/cameras", tags=["cameras"], summary="Create a camera", **creates(shapes.Camera))
async def create_camera(project_id: UUID, command: CreateCamera, write: Writing) -> Response:
    write.gateway.load(Project, project_id)
    _check_reachable(command)
    camera = Camera.create(command.id or uuid4(), project_id, command, now())
    return await write.create(camera, partial(queries.camera, project_id=project_id, id=camera.id))


@router.put(
    "/projects/{project_id}/cameras/{camera_id}",
    tags=["cameras"],
    summary="Change a camera",
    **answers(200, shapes.Camera, DeviceLocked),
)
async def update_camera(project_id: UUID, camera_id: UUID, command: UpdateCamera, write: Writing) -> Response:
    _check_reachable(command)
    read = partial(queries.camera, project_id=project_id, id=camera_id)
    return await write.change(Camera, camera_id, lambda camera: camera.update(command, now()), read, project_id)


@router.delete(
    "/projects/{project_id}/cameras/{camera_id}",
    tags=["cameras"],
    summary="Delete a camera",
    **answers(204, None, DeviceLocked),
)
async def delete_camera(project_id: UUID, camera_id: UUID, write: Writing) -> Response:
    return await write.delete(Camera, camera_id, lambda camera: camera.delete(now()), project_id)


@router.post("/projects/{project_id}/robots", tags=["robots"], summary="Create a robot", **creates(shapes.Robot))
async def create_robot(project_id: UUID, command: CreateRobot, write: Writing) -> Response:
    write.gateway.load(Project, project_id)
    robot = Robot.create(command.id or uuid4(), project_id, command, now())
    return await write.create(robot, partial(queries.robot, project_id=project_id, id=robot.id))


@router.put(
    "/projects/{project_id}/robots/{robot_id}",
    tags=["robots"],
    summary="Change a robot",
    **answers(200, shapes.Robot, DeviceLocked),
)
async def update_robot(project_id: UUID, robot_id: UUID, command: UpdateRobot, write: Writing) -> Response:
    read = partial(queries.robot, project_id=project_id, id=robot_id)
    return await write.change(Robot, robot_id, lambda robot: robot.update(command, now()), read, project_id)


@router.delete(
    "/projects/{project_id}/robots/{robot_id}",
    tags=["robots"],
    summary="Delete a robot",
    **answers(204, None, DeviceLocked),
)
async def delete_robot(project_id: UUID, robot_id: UUID, write: Writing) -> Response:
    return await write.delete(Robot, robot_id, lambda robot: robot.delete(now()), project_id)


@router.post(
    "/projects/{project_id}/environments",
    tags=["environments"],
    summary="Create an environment",
    **creates(shapes.EnvironmentWithDevices),
)
async def create_environment(project_id: UUID, command: CreateEnvironment, write: Writing) -> Response:
    """Names a robot and cameras of the same project; unknown ids are 422."""
    write.gateway.load(Project, project_id)
    write.gateway.refer(project_id, Robot, (robot.robot_id for robot in command.robots))
    write.gateway.refer(project_id, Camera, command.camera_ids)
    environment = Environment.create(command.id or uuid4(), project_id, command, now())
    return await write.create(environment, partial(queries.environment, project_id=project_id, id=environment.id))


@router.put(
    "/projects/{project_id}/environments/{environment_id}",
    tags=["environments"],
    summary="Change an environment",
    **answers(200, shapes.EnvironmentWithDevices, DeviceLocked),
)
async def update_environment(
    project_id: UUID, environment_id: UUID, command: UpdateEnvironment, write: Writing
) -> Response:
    write.gateway.load(Environment, environment_id, project_id)
    write.gateway.refer(project_id, Robot, (robot.robot_id for robot in command.robots))
    write.gateway.refer(project_id, Camera, command.camera_ids)
    read = partial(queries.environment, project_id=project_id, id=environment_id)
    return await write.change(
        Environment, environment_id, lambda environment: environment.update(command, now()), read, project_id
    )


@router.delete(
    "/projects/{project_id}/environments/{environment_id}",
    tags=["environments"],
    summary="Delete an environment",
    **answers(204, None, DeviceLocked),
)
async def delete_environment(project_id: UUID, environment_id: UUID, write: Writing) -> Response:
    return await write.delete(Environment, environment_id, lambda environment: environment.delete(now()), project_id)


@router.post("/dataset", tags=["datasets"], summary="Create a dataset", **creates(shapes.Dataset))
async def create_dataset(command: CreateDataset, write: Writing) -> Response:
    write.gateway.refer(command.project_id, Environment, [command.environment_id])
    dataset = Dataset.create(command.id or uuid4(), command, now())
    return await write.create(dataset, partial(queries.dataset, id=dataset.id))


@router.put("/dataset/{dataset_id}", tags=["datasets"], summary="Change a dataset", **answers(200, shapes.Dataset))
async def update_dataset(dataset_id: UUID, command: UpdateDataset, write: Writing) -> Response:
    read = partial(queries.dataset, id=dataset_id)
    return await write.change(Dataset, dataset_id, lambda dataset: dataset.update(command, now()), read)


@router.delete("/dataset/{dataset_id}", tags=["datasets"], summary="Delete a dataset", **answers(204, None))
async def delete_dataset(dataset_id: UUID, write: Writing) -> Response:
    return await write.delete(Dataset, dataset_id, lambda dataset: dataset.delete(now()))


@router.delete("/models/{model_id}", tags=["models"], summary="Delete a model", **answers(204, None))
async def delete_model(model_id: UUID, write: Writing) -> Response:
    return await write.delete(Model, model_id, lambda model: model.delete(now()))


def _check_reachable(command: CreateCamera | UpdateCamera) -> None:
    """A film must lie in a media folder; its driver asks again when it opens the file, as links may change."""
    if isinstance(command.payload, FilePayload):
        confined(settings().media_roots, command.payload.path)
