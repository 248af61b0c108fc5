"""Folding and asking, on both databases."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import batched
from typing import Any

import pytest
from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine, update

from domain.errors import NotFound
from domain.recording import Recording
from projections import database, queries, schema, shapes, tables
from projections.bulk import write
from projections.fold import changes_of, fold
from projections.paging import Page, Rows
from projections.views import VIEWS
from tests.story import everything, named

STORY = everything()
LAST = STORY[-1][0]
LAB, GONE = named("lab"), named("gone")
Held = dict[str, set[str]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine of a database that holds the whole story."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('story') / 'geti_action.db'}"
        else:
            url = stack.enter_context(request.getfixturevalue("new_postgresql")())
        schema.upgrade(url)
        made = database.engine(url)
        stack.callback(made.dispose)
        with made.connect() as connection, database.begin_immediate(connection):
            fold(connection, STORY)
        yield made


@pytest.fixture
def folded(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that is rolled back after the test."""
    with engine.connect() as connection:
        database.begin_immediate(connection)
        yield connection


@pytest.fixture
def empty(folded: Connection) -> Connection:
    _empty(folded)
    return folded


def _empty(connection: Connection) -> None:
    for view in VIEWS.values():
        for table in view.tables:
            connection.execute(table.delete())
    connection.execute(update(tables.positions).values(position=0))


def _rows(connection: Connection) -> Held:
    """Every row of every view, and the positions."""
    kept = (*(table for view in VIEWS.values() for table in view.tables), tables.positions)
    return {table.name: {repr(row) for row in connection.execute(table.select())} for table in kept}


@pytest.mark.parametrize("size", [1, 7])
def test_however_the_log_is_cut_the_rows_are_the_same(folded: Connection, size: int) -> None:
    at_once = _rows(folded)
    _empty(folded)
    for batch in batched(STORY, size):
        fold(folded, batch)
    assert _rows(folded) == at_once


def test_an_event_said_twice_changes_nothing(folded: Connection) -> None:
    before = _rows(folded)
    write(folded, changes_of(STORY, VIEWS))
    assert _rows(folded) == before


def test_folding_nothing_changes_nothing(folded: Connection) -> None:
    before = _rows(folded)
    fold(folded, [])
    assert _rows(folded) == before


def test_a_rollback_takes_the_rows_and_the_positions_back(engine: Engine) -> None:
    with engine.connect() as connection:
        before = _rows(connection)
        connection.rollback()
        database.begin_immediate(connection)
        _empty(connection)
        fold(connection, STORY[:9])
        assert _rows(connection) != before
        connection.rollback()
        assert _rows(connection) == before


def test_every_view_says_how_far_it_is_and_a_parked_one_stays(empty: Connection) -> None:
    fold(empty, STORY[:5])
    parked = update(tables.positions).where(tables.positions.c.view == "jobs")
    empty.execute(parked.values(parked_reason="poison"))
    fold(empty, STORY[5:])
    reached = {row.view: row.position for row in empty.execute(tables.positions.select())}
    assert reached == dict.fromkeys(VIEWS, LAST) | {"jobs": 5}


def test_nothing_of_a_deleted_project_is_left(folded: Connection) -> None:
    left = [row for name, rows in _rows(folded).items() for row in rows if str(GONE) in row]
    assert left == []
    assert [project["name"] for project in queries.projects(folded)] == ["Lab"]


Ask = Callable[[Connection], Any]
SHAPES: list[tuple[Any, Ask]] = [
    (list[shapes.Project], queries.projects),
    (shapes.Project, lambda c: queries.project(c, LAB)),
    (list[shapes.Camera], lambda c: queries.cameras(c, LAB)),
    (shapes.Camera, lambda c: queries.camera(c, LAB, named("top"))),
    (list[shapes.Robot], lambda c: queries.robots(c, LAB)),
    (shapes.Robot, lambda c: queries.robot(c, LAB, named("arm"))),
    (list[shapes.Environment], lambda c: queries.environments(c, LAB)),
    (shapes.EnvironmentWithDevices, lambda c: queries.environment(c, LAB, named("cell"))),
    (list[shapes.Dataset], lambda c: queries.datasets(c, LAB)),
    (shapes.Dataset, lambda c: queries.dataset(c, named("pushes"))),
    (list[shapes.Episode], lambda c: queries.episodes(c, named("pushes"))),
    (shapes.EpisodeFacts, lambda c: queries.episode(c, named("pushes"), 1)),
    (shapes.EpisodeFacts, lambda c: queries.episode(c, named("pushes"), named("first"))),
    (dict[str, list[str]], lambda c: queries.tasks(c, LAB)),
    (list[shapes.Recording], lambda c: queries.recordings(c, LAB)),
    (shapes.Recording, lambda c: queries.recording(c, LAB, named("session"))),
    (shapes.Recording, lambda c: queries.recording(c, LAB, named("busy"))),
    (list[shapes.Job], queries.jobs),
    (list[shapes.Job], lambda c: queries.jobs(c, LAB)),
    (shapes.Job, lambda c: queries.job(c, named("training"))),
    (list[shapes.Model], lambda c: queries.models(c, LAB)),
    (shapes.Model, lambda c: queries.model(c, named("model"))),
]


@pytest.mark.parametrize(("shape", "ask"), SHAPES)
def test_an_answer_has_the_shape_that_the_document_says(folded: Connection, shape: Any, ask: Ask) -> None:
    answer = ask(folded)
    assert answer
    TypeAdapter(shape).validate_python(answer)


LISTED: list[Callable[[Connection, Page | None], Rows]] = [
    queries.projects,
    lambda c, page: queries.cameras(c, LAB, page),
    lambda c, page: queries.robots(c, LAB, page),
    lambda c, page: queries.environments(c, LAB, page),
    lambda c, page: queries.datasets(c, LAB, page),
    lambda c, page: queries.episodes(c, named("pushes"), page),
    lambda c, page: queries.recordings(c, LAB, None, page),
    lambda c, page: queries.recordings(c, LAB, "closed", page),
    lambda c, page: queries.jobs(c, None, page),
    lambda c, page: queries.jobs(c, LAB, page),
    lambda c, page: queries.models(c, LAB, page),
]


@pytest.mark.parametrize("ask", LISTED)
def test_the_pages_of_a_list_are_the_list(folded: Connection, ask: Callable[[Connection, Page | None], Rows]) -> None:
    whole = ask(folded, None)
    for limit in (1, 2, len(whole) + 1):
        shown, cursor = list[Any](), None
        while True:
            rows = ask(folded, Page(limit, cursor))
            shown += rows
            assert rows.total == whole.total == len(whole)
            if (cursor := rows.cursor) is None:
                break
        assert shown == whole


MISSING: list[tuple[str, Ask]] = [
    ("project_not_found", lambda c: queries.project(c, GONE)),
    ("project_not_found", lambda c: queries.cameras(c, GONE)),
    ("project_not_found", lambda c: queries.tasks(c, GONE)),
    ("project_not_found", lambda c: queries.recordings(c, GONE)),
    ("project_not_found", lambda c: queries.jobs(c, GONE)),
    ("camera_not_found", lambda c: queries.camera(c, LAB, named("gone camera"))),
    ("camera_not_found", lambda c: queries.camera(c, GONE, named("top"))),
    ("robot_not_found", lambda c: queries.robot(c, GONE, named("arm"))),
    ("environment_not_found", lambda c: queries.environment(c, GONE, named("cell"))),
    ("recording_not_found", lambda c: queries.recording(c, GONE, named("session"))),
    ("dataset_not_found", lambda c: queries.dataset(c, named("gone dataset"))),
    ("dataset_not_found", lambda c: queries.episodes(c, named("gone dataset"))),
    ("episode_not_found", lambda c: queries.episode(c, named("pushes"), 2)),
    ("job_not_found", lambda c: queries.job(c, named("gone job"))),
    ("model_not_found", lambda c: queries.model(c, named("gone model"))),
]


@pytest.mark.parametrize(("code", "ask"), MISSING)
def test_what_is_not_there_is_not_found(folded: Connection, code: str, ask: Ask) -> None:
    with pytest.raises(NotFound) as refused:
        ask(folded)
    assert refused.value.error_code == code


def test_an_empty_list_of_a_project_is_no_error(empty: Connection) -> None:
    fold(empty, STORY[:1])
    assert queries.cameras(empty, LAB) == queries.recordings(empty, LAB) == []
    assert queries.tasks(empty, LAB) == {}


def test_a_session_is_what_its_open_episode_does(folded: Connection) -> None:
    session, failed, busy = queries.recordings(folded, LAB)
    assert (session["state"], session["episodes_saved"], session["reason"]) == ("closed", 2, "on request")
    assert [(take["episode_id"], take["rows"], take["reason"]) for take in session["interrupted"]] == [
        (str(named("fourth")), 12, "camera lost")
    ]
    assert (failed["state"], failed["episode"]) == ("failed", None)
    assert busy["state"] == "recording"
    assert busy["episode"]["episode_id"] == str(named("open"))
    assert [row["id"] for row in queries.recordings(folded, LAB, "recording")] == [busy["id"]]


def test_an_episode_of_an_ended_session_that_is_being_kept_is_shown(folded: Connection) -> None:
    (said,) = [
        event for _, event in STORY if isinstance(event, Recording.Closed) and event.originator_id == named("session")
    ]
    fold(folded, [(LAST + 1, _ended(said, "fourth", 12))])
    session = queries.recording(folded, LAB, named("session"))
    assert (session["state"], session["interrupted"]) == ("closed", [])
    assert (session["episode"]["episode_id"], session["episode"]["row"]) == (str(named("fourth")), 12)


def _ended(after: Recording.Event, episode: str, rows: int) -> Recording.EpisodeEnded:
    return Recording.EpisodeEnded(
        originator_id=after.originator_id,
        originator_version=after.originator_version + 1,
        timestamp=after.timestamp,
        episode_id=named(episode),
        rows=rows,
        success=None,
    )


def test_the_episode_of_a_session_is_the_one_that_is_recorded_else_one_that_is_saved(folded: Connection) -> None:
    *_, said = (event for _, event in STORY if event.originator_id == named("busy"))
    assert isinstance(said, Recording.Event)
    fold(folded, [(LAST + 1, ended := _ended(said, "open", 7))])
    session = queries.recording(folded, LAB, named("busy"))
    assert (session["state"], session["episode"]["episode_id"]) == ("saving", str(named("open")))
    following = Recording.EpisodeStarted(
        originator_id=ended.originator_id,
        originator_version=ended.originator_version + 1,
        timestamp=ended.timestamp,
        episode_id=named("next"),
        number=3,
        task="Again.",
    )
    fold(folded, [(LAST + 2, following)])
    (session,) = (row for row in queries.recordings(folded, LAB) if row["id"] == str(named("busy")))
    assert (session["state"], session["episode"]["episode_id"]) == ("recording", str(named("next")))


def test_a_dataset_and_its_episodes_agree(folded: Connection) -> None:
    dataset = queries.dataset(folded, named("pushes"))
    episodes = queries.episodes(folded, named("pushes"))
    assert (dataset["episodes"], dataset["frames"], dataset["fps"]) == (2, sum(row["length"] for row in episodes), 30)
    assert [(row["episode_index"], row["tasks"], row["tags"]) for row in episodes] == [
        (0, ["Push the T."], ["good"]),
        (1, ["Again."], []),
    ]
    assert queries.episode(folded, named("pushes"), 0)["success"] is True
    assert queries.tasks(folded, LAB) == {"Pushes": ["Again.", "Push the T."]}


def test_a_camera_shows_its_state(folded: Connection) -> None:
    top, film = queries.cameras(folded, LAB)
    assert (top["name"], top["state"]["status"], top["state"]["reason"]) == ("Top", "offline", "nobody watches")
    state = film["state"]
    assert (state["status"], state["width"], state["height"], state["node"]) == ("streaming", 320, 240, "node-1")
    assert state["since"].endswith("Z")


def test_jobs_end_as_they_ended_and_name_the_model_once_there_is_one(folded: Connection) -> None:
    shown = {row["id"]: row for row in queries.jobs(folded)}
    trained = shown[str(named("training"))]
    assert (trained["status"], trained["progress"], trained["attempt"]) == ("completed", 100, 2)
    assert trained["model_id"] == str(named("model"))
    assert trained["start_time"] < trained["end_time"]
    assert (shown[str(named("failed job"))]["status"], shown[str(named("failed job"))]["model_id"]) == ("failed", None)
    assert shown[str(named("canceled job"))]["status"] == "canceled"


def test_an_etag_is_the_version_of_the_aggregate(folded: Connection) -> None:
    versions = {event.originator_id: event.originator_version for _, event in STORY}
    assert queries.project(folded, LAB).version == versions[LAB]
    assert queries.camera(folded, LAB, named("top")).version == versions[named("top")]
    assert queries.job(folded, named("training")).version == versions[named("training")]
