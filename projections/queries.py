"""One function a GET: the views' rows in the shapes of the API. Nothing here writes, and nothing waits.

Ids come as UUIDs or as their canonical text. What is not there raises NotFound, and so does a child that is asked for
under another project than its own. Lists are oldest first.
"""

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, FromClause, ScalarSelect, Select, and_, bindparam, case, func, or_, select

from domain.episode import Limits, Quality
from domain.errors import NotFound
from domain.plan import Plan
from domain.recording import RecordingState
from projections import tables as t
from projections.changes import Row
from projections.histogram import lengths
from projections.kinds import Found, Id, Kind, by_age, found, listing, pick, project_exists, query
from projections.paging import Listing, Page, Rows
from projections.statements import Query
from projections.views.recordings import TakeState

_PROJECT = ("id", "name", "created_at", "updated_at", "version")
_CAMERA = ("id", "driver", "name", "fingerprint", "payload", "created_at", "updated_at")
_STATE = ("status", "reason", "width", "height", "node", "since")
_ROBOT = ("id", "name", "type", "payload", "connection_status")
_ENVIRONMENT = ("id", "name", "robots", "camera_ids")
_DATASET = ("id", "project_id", "environment_id", "name", "default_task", "episodes", "frames", "fps", "size_bytes")
_EPISODE_SAID = ("task", "tags", "rating", "success", "suspect")
_EPISODE = ("episode_index", "id", "length", "fps", "duration_s", "dropped", "stale", *_EPISODE_SAID)
_FACTS = ("recording_id", "measured_fps", "repeated", "size_bytes", "sha256", "note")
_SESSION = ("id", "project_id", "environment_id", "dataset_id", "fps", "task", "reason", "source", "created_at")
_RECORDING = (*_SESSION, "options")
_OPTIONS = Plan().model_dump() | Limits().model_dump() | Quality().model_dump(mode="json")
_TAKE = ("recording_id", "id", "number", "task", "rows", "reason", "started_at")
_JOB_WORK = ("id", "project_id", "type", "status", "progress", "message", "reason", "attempt", "extra_info", "payload")
_JOB = (*_JOB_WORK, "created_at", "start_time", "end_time", "model_id")
_OPERATION_WORK = ("id", "project_id", "kind", "dataset_ids", "status", "progress", "message", "result")
_OPERATION = (*_OPERATION_WORK, "created_at", "ended_at")
_MODEL_ORIGIN = ("id", "project_id", "name", "policy", "dataset_id", "dataset_version", "train_job_id", "created_at")
_MODEL = (*_MODEL_ORIGIN, "metrics", "exports")
_EVALUATION = ("model_id", "job_id", "environment", "rollouts", "created_at")
_OPEN = (TakeState.RECORDING, TakeState.SAVING)


def _camera(row: Row) -> Row:
    row["state"] = {name: row.pop(name) for name in _STATE}
    return row | {"hardware_name": None}


def _robot(row: Row) -> Row:
    return row | {"active_calibration_id": None}


def _dataset(row: Row) -> Row:
    """``path`` counts from the storage root; the server alone chooses it."""
    row["path"] = f"datasets/{row['id']}"
    return row


def _job(row: Row) -> Row:
    return row | {"parent_job_id": None}


def _model(row: Row) -> Row:
    return row | {"version": 1, "parent_model_id": None, "snapshot_id": None, "evaluations": []}


_cameras = Kind("camera", t.cameras, (*_CAMERA, *_STATE), _camera)
_robots = Kind("robot", t.robots, _ROBOT, _robot)
_environments = Kind("environment", t.environments, _ENVIRONMENT)
_datasets = Kind("dataset", t.datasets, _DATASET, _dataset)
_jobs = Kind("job", t.jobs, _JOB, _job)
_operations = Kind("operation", t.operations, _OPERATION)
_models = Kind("model", t.models, _MODEL, _model)
_projects, _project = listing(t.projects, _PROJECT), query(t.projects, _PROJECT, "id")


def projects(connection: Connection, page: Page | None = None) -> Rows:
    """Every project with its datasets."""
    within: defaultdict[str, list[Row]] = defaultdict(list)
    for dataset in _datasets.every(connection):
        within[dataset["project_id"]].append(dataset)
    rows = _projects.rows(connection, page)
    for row in rows:
        del row["version"]
        row["datasets"] = within[row["id"]]
    return rows


def project(connection: Connection, id: Id) -> Found:
    """One project with its datasets."""
    rows = _project.rows(connection, id=str(id))
    if not rows:
        raise NotFound.of("project", id)
    version = rows[0].pop("version")
    return found(rows[0] | {"datasets": _datasets.of(connection, id)}, version)


def cameras(connection: Connection, project_id: Id, page: Page | None = None) -> Rows:
    return _cameras.of(connection, project_id, page)


def camera(connection: Connection, project_id: Id, id: Id) -> Found:
    return _cameras.one(connection, id, project_id)


def robots(connection: Connection, project_id: Id, page: Page | None = None) -> Rows:
    return _robots.of(connection, project_id, page)


def robot(connection: Connection, project_id: Id, id: Id) -> Found:
    return _robots.one(connection, id, project_id)


def environments(connection: Connection, project_id: Id, page: Page | None = None) -> Rows:
    return _environments.of(connection, project_id, page)


def environment(connection: Connection, project_id: Id, id: Id) -> Found:
    """One environment with its robots and cameras as they are now, beside their ids; without those that a parked view
    does not know."""
    shown = _environments.one(connection, id, project_id)
    robots = {robot["id"]: robot for robot in _robots.of(connection, project_id)}
    cameras = {camera["id"]: camera for camera in _cameras.of(connection, project_id)}
    known = (used for used in shown["robots"] if used["robot_id"] in robots)
    shown["robots"] = [used | {"robot": robots[used["robot_id"]]} for used in known]
    shown["cameras"] = [cameras[id] for id in shown["camera_ids"] if id in cameras]
    return shown


def datasets(connection: Connection, project_id: Id, page: Page | None = None) -> Rows:
    return _datasets.of(connection, project_id, page)


def dataset(connection: Connection, id: Id) -> Found:
    return _datasets.one(connection, id)


_in_dataset = (t.episodes.c.dataset_id == bindparam("dataset_id"), t.episodes.c.deleted_at.is_(None))
_episodes_of = select(*(t.episodes.c[name] for name in _EPISODE)).where(*_in_dataset)
_episodes = Listing(_episodes_of, [t.episodes.c.episode_index], first=(-1,))
_one_episode = select(*(t.episodes.c[name] for name in (*_EPISODE, *_FACTS)), t.datasets.c.version).join(
    t.datasets, t.datasets.c.id == t.episodes.c.dataset_id
)
_episode_by_id = Query(_one_episode.where(*_in_dataset, t.episodes.c.id == bindparam("id")))
_episode_by_index = Query(_one_episode.where(*_in_dataset, t.episodes.c.episode_index == bindparam("episode_index")))


def episodes(connection: Connection, dataset_id: Id, page: Page | None = None) -> Rows:
    """The saved episodes of a dataset by index. ``length`` is in rows; ``dropped`` and ``stale`` count rows."""
    rows = _episodes.rows(connection, page, dataset_id=str(dataset_id))
    if not rows:
        _datasets.one(connection, dataset_id)
    return rows.shaped(_episode)


def episode(connection: Connection, dataset_id: Id, n: int | Id) -> Found:
    """What the log knows of one saved episode, ``n`` its index or its id, with its dataset's version."""
    if isinstance(n, int):
        rows = _episode_by_index.rows(connection, dataset_id=str(dataset_id), episode_index=n)
    else:
        rows = _episode_by_id.rows(connection, dataset_id=str(dataset_id), id=str(n))
    if not rows:
        raise NotFound.of("episode", n)
    return found(_episode(rows[0]), rows[0].pop("version"))


_deleted = Listing(
    select(*(t.episodes.c[name] for name in (*_EPISODE, *_FACTS, "deleted_at"))).where(
        t.episodes.c.dataset_id == bindparam("dataset_id"), t.episodes.c.deleted_at.is_not(None)
    ),
    [t.episodes.c.deleted_at, t.episodes.c.id],
    first=("", ""),
)


def deleted_episodes(connection: Connection, dataset_id: Id, page: Page | None = None) -> Rows:
    """Those of a dataset that can be restored, or purged; the last one that was deleted comes last. Their index is the
    one that they had."""
    rows = _deleted.rows(connection, page, dataset_id=str(dataset_id))
    if not rows:
        _datasets.one(connection, dataset_id)
    return rows.shaped(_episode)


_counted = Query(
    select(*(t.episodes.c[name] for name in ("id", "length", "duration_s", "dropped", "stale")))
    .where(*_in_dataset)
    .order_by(t.episodes.c.episode_index)
)


def counted(connection: Connection, dataset_id: Id) -> tuple[Found, list[str]]:
    """What the log counts of a dataset's episodes (``frames``, ``dropped`` and ``stale`` in rows), and their ids by
    index. Those that were deleted do not count."""
    dataset = _datasets.one(connection, dataset_id)
    rows = _counted.rows(connection, dataset_id=str(dataset_id))
    shown: Row = {"episodes": len(rows), "frames": sum(row["length"] for row in rows)}
    shown |= {name: sum(row[name] for row in rows) for name in ("duration_s", "dropped", "stale")}
    shown["lengths"] = lengths([row["length"] for row in rows])
    return found(shown, dataset.version), [row["id"] for row in rows]


def _episode(row: Row) -> Row:
    row["tasks"] = [row.pop("task")]
    return row


_tasks = Query(
    select(t.datasets.c.name, t.episodes.c.task)
    .outerjoin(t.episodes, t.episodes.c.dataset_id == t.datasets.c.id)
    .where(t.datasets.c.project_id == bindparam("project_id"))
    .distinct()
    .order_by(t.datasets.c.name, t.episodes.c.task)
)


def tasks(connection: Connection, project_id: Id) -> dict[str, list[str]]:
    """The tasks of the recorded episodes, by the name of their dataset."""
    rows = _tasks.rows(connection, project_id=str(project_id))
    if not rows:
        project_exists(connection, project_id)
    known: dict[str, list[str]] = {row["name"]: [] for row in rows}
    for row in rows:
        if row["task"] is not None:
            known[row["name"]].append(row["task"])
    return known


def _sessions(by: str) -> Select[Any]:
    """Sessions, each with its open take, and how many it has saved. What the take does is what the session does."""
    r, take, counted = t.recordings, t.recording_episodes.alias("take"), t.recording_episodes.alias("counted")
    opened = and_(r.c.state == RecordingState.READY.value, take.c.state.is_not(None))
    saved = select(func.count()).where(counted.c.recording_id == r.c.id, counted.c.state == TakeState.SAVED.value)
    columns = (
        *(r.c[name] for name in _RECORDING),
        case((opened, take.c.state), else_=r.c.state).label("state"),
        r.c.version,
        saved.scalar_subquery().label("episodes_saved"),
        t.datasets.c.episodes.label("next_index"),
        *(take.c[name].label(f"take_{name}") for name in ("id", "task", "rows")),
    )
    joined = (
        select(*columns).select_from(r).outerjoin(take, and_(take.c.recording_id == r.c.id, take.c.id == _open_take(r)))
    )
    return joined.outerjoin(t.datasets, t.datasets.c.id == r.c.dataset_id).where(r.c[by] == bindparam(by))


def _open_take(session: FromClause) -> ScalarSelect[Any]:
    """The id of the take that a session is recording; of the newest that is being saved when it records none."""
    take = t.recording_episodes.alias("open")
    is_open = or_(*(take.c.state == state.value for state in _OPEN))
    first = case((take.c.state == TakeState.RECORDING.value, 0), else_=1), take.c.number.desc()
    chosen = select(take.c.id).where(take.c.recording_id == session.c.id, is_open).order_by(*first).limit(1)
    return chosen.scalar_subquery()


def _interrupted(by: str) -> Query:
    r, take = t.recordings, t.recording_episodes
    joined = select(*(take.c[name] for name in _TAKE)).join(r, r.c.id == take.c.recording_id)
    chosen = joined.where(r.c[by] == bindparam(by), take.c.state == TakeState.INTERRUPTED.value)
    return Query(chosen.order_by(take.c.number))


_sessions_of, _session = _sessions("project_id").subquery(), Query(_sessions("id"))
_every_session = by_age(select(_sessions_of), _sessions_of)
_sessions_in_state = by_age(select(_sessions_of).where(_sessions_of.c.state == bindparam("state")), _sessions_of)
_interrupted_of, _interrupted_in = _interrupted("project_id"), _interrupted("id")


def recordings(connection: Connection, project_id: Id, state: str | None = None, page: Page | None = None) -> Rows:
    """The sessions of a project, or those in one state, each with its interrupted episodes."""
    if state is None:
        rows = _every_session.rows(connection, page, project_id=str(project_id))
    else:
        rows = _sessions_in_state.rows(connection, page, project_id=str(project_id), state=state)
    if not rows:
        project_exists(connection, project_id)
    interrupted: defaultdict[str, list[Row]] = defaultdict(list)
    for take in _interrupted_of.rows(connection, project_id=str(project_id)):
        interrupted[take["recording_id"]].append(take)
    return rows.shaped(lambda row: _recording(row, interrupted[row["id"]]))


def recording(connection: Connection, project_id: Id, id: Id) -> Found:
    """One session. ``episode`` is the open one as the log knows it: live numbers are its owner's to add."""
    rows = _session.rows(connection, id=str(id))
    if not rows or rows[0]["project_id"] != str(project_id):
        raise NotFound.of("recording", id)
    return found(_recording(rows[0], _interrupted_in.rows(connection, id=str(id))), rows[0]["version"])


def _recording(row: Row, interrupted: list[Row]) -> Row:
    shown = pick(row, (*_RECORDING, "state", "episodes_saved"))
    shown["episode"] = None if row["take_id"] is None else _open_episode(row)
    shown["interrupted"] = [_take(take) for take in interrupted]
    options = shown.pop("options") or {}
    return shown | _OPTIONS | options


def _open_episode(row: Row) -> Row:
    index = row["episodes_saved"] if row["next_index"] is None else row["next_index"]
    unknown: Row = {"measured_fps": None, "dropped": None, "stale": None}
    return {
        "episode_id": row["take_id"],
        "episode_index": index,
        "task": row["take_task"],
        "row": row["take_rows"],
    } | unknown


def _take(row: Row) -> Row:
    return {"episode_id": row["id"]} | pick(row, ("number", "task", "rows", "reason", "started_at"))


def jobs(connection: Connection, project_id: Id | None = None, page: Page | None = None) -> Rows:
    """Every job, or those of a project."""
    return _jobs.every(connection, page) if project_id is None else _jobs.of(connection, project_id, page)


def job(connection: Connection, id: Id) -> Found:
    return _jobs.one(connection, id)


def operations(connection: Connection, page: Page | None = None) -> Rows:
    """Every operation."""
    return _operations.every(connection, page)


def operation(connection: Connection, id: Id) -> Found:
    """One operation. Its progress while it runs is its owner's to add."""
    return _operations.one(connection, id)


_rollouts = query(t.evaluations, _EVALUATION, "model_id", order=("created_at", "job_id"))
_rollouts_of = Query(
    select(*(t.evaluations.c[name] for name in _EVALUATION))
    .join(t.models, t.models.c.id == t.evaluations.c.model_id)
    .where(t.models.c.project_id == bindparam("project_id"))
    .order_by(t.evaluations.c.created_at, t.evaluations.c.job_id)
)


def models(connection: Connection, project_id: Id, page: Page | None = None) -> Rows:
    """The models of a project with their rollouts."""
    rows = _models.of(connection, project_id, page)
    by_id = {row["id"]: row for row in rows}
    for evaluation in _rollouts_of.rows(connection, project_id=str(project_id)):
        if model := by_id.get(evaluation.pop("model_id")):
            model["evaluations"].append(evaluation)
    return rows


_trained_on = query(t.models, ("id", "name", "dataset_version"), "dataset_id")


def trained_on(connection: Connection, dataset_id: Id) -> defaultdict[int, list[Row]]:
    """The models that were trained on a dataset, by its version."""
    by_version: defaultdict[int, list[Row]] = defaultdict(list)
    for row in _trained_on.rows(connection, dataset_id=str(dataset_id)):
        by_version[row.pop("dataset_version")].append(row)
    return by_version


def model(connection: Connection, id: Id) -> Found:
    """One model with its rollouts."""
    shown = _models.one(connection, id)
    rows = _rollouts.rows(connection, model_id=str(id))
    shown["evaluations"] = [pick(row, _EVALUATION[1:]) for row in rows]
    return shown
