"""Datasets are verified over HTTP, in process, on both databases; only Ray is missing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from actors import answers
from actors.answers import KEPT
from actors.capture.reader import newest
from actors.log import Log
from domain.dataset import Dataset
from domain.operation import MAX_ATTEMPTS, Operation
from tests.integration.care_kit import DATASET
from tests.integration.log_kit import AT
from tests.integration.operation_kit import Client, Owner, content, cut, episode, flip


async def test_a_whole_dataset_is_found_whole_and_left_as_it_is(client: Client, storage: Path) -> None:
    before = content(storage)
    ended = await client.done("verify")
    assert ended["result"] == {
        "dataset_id": str(DATASET),
        "version": 3,
        "ok": True,
        "episodes": 3,
        "damaged": [],
        "version_problems": [],
    }
    assert (ended["kind"], ended["status"], ended["progress"], ended["message"]) == ("verify", "completed", 100, "")
    assert ended["ended_at"] > ended["created_at"]
    assert (await client.get("/operations")) == [ended]
    assert content(storage) == before


def _other_rows(folder: Path) -> None:
    flip(folder / "rows.parquet", 0.3)


def _no_times(folder: Path) -> None:
    (folder / "times/wrist.parquet").unlink()


DAMAGES: dict[str, tuple[Callable[[Path], None], str, range]] = {
    "a video is cut": (lambda folder: cut(folder / "videos/top.mp4", 0.98), "videos/top.mp4 shows", range(1, 7)),
    "a video is gone": (lambda folder: (folder / "videos/top.mp4").unlink(), "videos/top.mp4 is missing", range(1)),
    "a video is empty": (lambda folder: cut(folder / "videos/top.mp4", 0), "not what was saved", range(1)),
    "rows are others": (_other_rows, "rows.parquet is not what was saved", range(1)),
    "rows are cut": (lambda folder: cut(folder / "rows.parquet", 0.5), "rows.parquet is not what", range(1)),
    "times are gone": (_no_times, "times/wrist.parquet is missing", range(7, 8)),
    "the manifest is cut": (lambda folder: cut(folder / "episode.json", 0.5), "cannot be understood", range(1)),
    "the manifest is gone": (lambda folder: (folder / "episode.json").unlink(), "is missing", range(1)),
    "the manifest is another": (
        lambda folder: (folder / "episode.json").write_bytes((folder / "episode.json").read_bytes() + b"\n"),
        "episode.json is not what was saved",
        range(7, 8),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_wrong_with_an_episode_is_said_of_it(
    client: Client, storage: Path, ids: list[UUID], damage: str
) -> None:
    do, says, rows = DAMAGES[damage]
    do(episode(storage, ids[2]))
    before = content(storage)
    found = await client.result("verify")
    (wrong,) = found["damaged"]
    assert (found["ok"], wrong["episode_index"], wrong["episode_id"], wrong["rows"]) == (False, 2, str(ids[2]), 7)
    assert any(says in problem for problem in wrong["problems"]), wrong
    assert wrong["whole_rows"] in rows
    assert content(storage) == before


def _later(path: Path) -> None:
    """One column of the table with other values."""
    table = pq.read_table(path)
    at = table.schema.get_field_index("timestamp")
    path.unlink()
    pq.write_table(table.set_column(at, "timestamp", pc.add(table["timestamp"], pa.scalar(1, pa.float32()))), path)


VERSION_DAMAGES: dict[str, Callable[[Path], None]] = {
    "data/chunk-000/file-001.parquet": lambda version: _later(version / "data/chunk-000/file-001.parquet"),
    "data/chunk-000/file-002.parquet": lambda version: (version / "data/chunk-000/file-002.parquet").unlink(),
    "meta/info.json": lambda version: cut(version / "meta/info.json", 0.5),
    "meta/stats.json": lambda version: (version / "meta/stats.json").unlink(),
    "meta/episodes": lambda version: cut(version / "meta/episodes/chunk-000/file-000.parquet", 0.5),
    "videos/observation.images.top/chunk-000/file-000.mp4": lambda version: cut(
        version / "videos/observation.images.top/chunk-000/file-000.mp4", 0.5
    ),
    "the current version is": lambda version: (version.parents[1] / "current").unlink(),
}


@pytest.mark.parametrize("damage", VERSION_DAMAGES)
async def test_what_is_wrong_with_the_newest_version_is_said_of_it(client: Client, storage: Path, damage: str) -> None:
    VERSION_DAMAGES[damage](newest(storage / "datasets" / str(DATASET)))
    found = await client.result("verify")
    assert (found["ok"], found["damaged"]) == (False, [])
    assert any(damage in problem for problem in found["version_problems"]), found


async def test_what_is_not_there_is_not_verified(client: Client, log: Log) -> None:
    position = log.position()
    assert (await client.post("verify", dataset=uuid4())).status_code == 404
    assert (await client.post("verify", {"deep": True})).status_code == 422
    assert (await client.post("verify", **{"If-Match": '"99"'})).status_code == 412
    assert (await client.http.get(f"/operations/{uuid4()}")).json()["error_code"] == "operation_not_found"
    assert (await client.http.get("/operations/nonsense")).status_code == 422
    assert log.position() == position


async def test_a_repeated_request_is_one_operation(client: Client) -> None:
    replies = [await client.post("verify", **{"Idempotency-Key": "once"}) for _ in range(2)]
    assert replies[0].json() == replies[1].json()
    assert len(await client.get("/operations")) == 1


async def test_a_day_later_the_same_key_is_another_operation(client: Client, log: Log) -> None:
    first = await client.post("verify", **{"Idempotency-Key": "once"})
    await client.gateway.work()
    a_day_later = datetime.now(UTC) + KEPT + timedelta(minutes=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answers, "_now", lambda: a_day_later)
        await log.forget_old_keys()
        second = await client.post("verify", **{"Idempotency-Key": "once"})
    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]


async def test_a_dataset_stays_while_it_is_worked_on(client: Client, log: Log) -> None:
    await client.post("verify")
    dataset = log.load(Dataset, DATASET)
    dataset.delete(AT)
    with pytest.raises(Exception, match="wait until it has ended first"):
        await log.append(dataset)
    await client.gateway.work()
    dataset = log.load(Dataset, DATASET)
    dataset.delete(AT)
    await log.append(dataset)


async def test_the_next_process_begins_again_and_gives_up_in_the_end(client: Client, log: Log) -> None:
    id = UUID((await client.post("verify")).json()["id"])
    assert (Operation, id) in log.running()
    for _ in range(MAX_ATTEMPTS):
        lost = Owner(log, id)
        await lost.decide(lambda found, by=lost: found.start(by.run, by.node, AT))  # type: ignore[misc]
    await Owner(log, id)._work()
    ended = await client.get(f"/operations/{id}")
    assert (ended["status"], ended["message"][:28]) == ("failed", "Its process was lost 5 times")
    assert log.running() == []


async def test_an_unforeseen_failure_is_an_end_too(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr("actors.curating.verified", broken)
    ended = await client.done("verify")
    assert (ended["status"], ended["message"], ended["result"]) == ("failed", "RuntimeError: no such thing", None)
