"""Datasets are merged and split over HTTP, in process, on both databases: the sources stay, nothing is copied, and what
is made is there whole or not at all."""

import asyncio
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from actors.capture import compose
from actors.capture.lerobot_v3 import current_version, publish
from actors.capture.reader import list_episodes
from actors.care.adopting import Wish, adopt
from actors.care.check import check_log
from actors.care.check_files import check_files
from actors.log import Log
from actors.rebuild import rebuild
from domain.dataset import Dataset
from domain.errors import StorageFull
from tests.integration.care_kit import DATASET, SIZES, opened, quiet, rows
from tests.integration.log_kit import AT
from tests.integration.operation_kit import Client, Owner, content, cut, episode
from tests.integration.test_capture_kit import INFO, decoded, number_of, record

OTHER = UUID("5c1d1a6e-94a4-4a6d-8a7e-2f4c4c8f9a11")


def add_other(log: Log, storage: Path, lost: Path, sizes: dict[str, tuple[int, int]] = SIZES) -> list[UUID]:
    """Another dataset of the same project, of 4 and 3 rows."""
    ids = [record(lost, rows, sizes, "pull", 300 + rows, OTHER).episode_id for rows in (4, 3)]
    publish(lost, 1, ids, INFO)
    adopt(log, storage, lost, Wish(name="other"), quiet)
    return ids


@pytest.fixture
async def others(log: Log, storage: Path, ids: list[UUID], tmp_path: Path) -> list[UUID]:
    return await asyncio.to_thread(add_other, log, storage, tmp_path / "other")


def merge(**more: Any) -> dict[str, Any]:
    return {"dataset_ids": [str(OTHER)], "name": "both", **more}


async def listed(client: Client, dataset: object) -> list[tuple[int, str, int]]:
    """Index, id and rows of each."""
    shown = await client.get(f"/dataset/{dataset}/episodes")
    return [(each["episode_index"], each["id"], each["length"]) for each in shown]


async def test_a_merged_dataset_has_all_episodes_and_no_file_of_its_own(
    client: Client, log: Log, storage: Path, ids: list[UUID], others: list[UUID]
) -> None:
    await client.http.patch(f"/dataset/{OTHER}/episodes/{others[0]}", json={"rating": 5, "task": "Turn."})
    before = content(storage)
    (made,) = (await client.result("merge", merge()))["datasets"]
    assert (made["name"], made["episodes"], made["frames"]) == ("both", 5, 25)
    new, folder = made["dataset_id"], storage / "datasets" / made["dataset_id"]
    lengths = (5, 6, 7, 4, 3)
    assert await listed(client, new) == [
        (index, str(id), rows) for index, (id, rows) in enumerate(zip([*ids, *others], lengths, strict=True))
    ]
    one = await client.get(f"/dataset/{new}/episodes/{others[0]}")
    assert (one["rating"], one["tasks"]) == (5, ["Turn."])
    for source, chosen in ((DATASET, ids), (OTHER, others)):
        for id in chosen:
            for path in (each for each in episode(storage, id, source).rglob("*") if each.is_file()):
                assert path.samefile(episode(storage, id, new) / path.relative_to(episode(storage, id, source)))
    assert [each.length for each in list_episodes(folder)] == [*lengths]
    assert current_version(folder) == log.load(Dataset, UUID(new)).content_version == 5
    shown = folder / list_episodes(folder)[3].videos["observation.images.top"].path
    assert [number_of(each) for each in decoded(shown)] == [304, 305, 306, 307]
    assert {name: data for name, data in content(storage).items() if new not in name} == before
    assert (await client.result("verify", dataset=UUID(new)))["ok"]
    assert list(check_log(log, quiet)) == list(check_files(log, storage, quiet)) == []
    told = rows(log)
    rebuild(log)
    assert rows(log) == told


async def test_what_is_recorded_otherwise_is_refused_with_the_difference(
    client: Client, log: Log, storage: Path, tmp_path: Path
) -> None:
    await asyncio.to_thread(add_other, log, storage, tmp_path / "other", {"top": (96, 64), "wrist": (128, 64)})
    reply = await client.post("merge", merge())
    assert reply.status_code == 409
    assert "'other' does not fit" in reply.json()["detail"]
    assert "cameras top 96x64, wrist 128x64, not top 96x64, wrist 64x64" in reply.json()["detail"]


async def test_bad_input_leaves_nothing_behind(
    client: Client, log: Log, storage: Path, ids: list[UUID], others: list[UUID]
) -> None:
    before, position = content(storage), log.position()
    part = {"name": "x", "episodes": [str(ids[0])]}
    for verb, body, status in (
        ("merge", None, 422),
        ("merge", {"name": "x", "dataset_ids": []}, 422),
        ("merge", {"name": "x", "dataset_ids": [str(DATASET)]}, 422),
        ("merge", {"name": "x", "dataset_ids": [str(uuid4())]}, 422),
        ("merge", {"name": " ", "dataset_ids": [str(OTHER)]}, 422),
        ("merge", {"name": "OTHER", "dataset_ids": [str(OTHER)]}, 409),
        ("merge", merge(id=str(OTHER)), 409),
        ("merge", merge(id="../x"), 422),
        ("split", {}, 422),
        ("split", {"parts": [part, {"name": "y", "episodes": [str(ids[0])]}]}, 422),
        ("split", {"parts": [{"name": "x", "episodes": [str(others[0])]}]}, 404),
        ("split", {"parts": [{"name": "x", "episodes": [0]}]}, 428),
        ("split", {"parts": [part | {"name": "other"}]}, 409),
        ("split", {"fractions": {"x": 0.01}}, 422),
        ("split", {"fractions": {"x": 2}}, 422),
    ):
        reply = await client.post(verb, body)
        assert reply.status_code == status, (verb, body, reply.text)
        assert reply.headers["content-type"] == "application/problem+json"
    assert (await client.post("merge", merge(), dataset=uuid4())).status_code == 404
    assert (content(storage), log.position(), client.gateway.woken) == (before, position, [])


async def test_a_chosen_id_makes_a_merge_repeatable(client: Client, others: list[UUID]) -> None:
    body = merge(id=str(uuid4()))
    operation = await client.done("merge", body)
    again = await client.post("merge", body)
    assert (again.status_code, again.json()) == (202, operation)
    other = await client.post("merge", body | {"name": "else"})
    assert (other.status_code, "choose another" in other.json()["detail"]) == (409, True)
    assert operation["result"]["datasets"][0]["dataset_id"] == body["id"]


async def test_an_episode_that_two_have_is_taken_once(
    client: Client, storage: Path, ids: list[UUID], others: list[UUID]
) -> None:
    (made,) = (await client.result("split", {"parts": [{"name": "one", "episodes": [str(ids[1])]}]}))["datasets"]
    body = {"name": "all", "dataset_ids": [made["dataset_id"], str(OTHER)]}
    (merged,) = (await client.result("merge", body))["datasets"]
    assert [id for _, id, _ in await listed(client, merged["dataset_id"])] == [str(id) for id in (*ids, *others)]


async def test_a_split_makes_its_parts_and_leaves_the_whole(client: Client, storage: Path, ids: list[UUID]) -> None:
    before, seen = content(storage), (await client.http.get(f"/dataset/{DATASET}")).headers["ETag"]
    body = {"parts": [{"name": "ends", "episodes": [2, str(ids[0])]}, {"name": "middle", "episodes": [1]}]}
    reply = await client.post("split", body, **{"If-Match": seen})
    assert reply.status_code == 202
    await client.gateway.work()
    ended = await client.get(f"/operations/{reply.json()['id']}")
    ends, middle = ended["result"]["datasets"]
    assert await listed(client, ends["dataset_id"]) == [(0, str(ids[2]), 7), (1, str(ids[0]), 5)]
    assert await listed(client, middle["dataset_id"]) == [(0, str(ids[1]), 6)]
    for part, lengths in ((ends, [7, 5]), (middle, [6])):
        folder = storage / "datasets" / part["dataset_id"]
        assert [each.length for each in list_episodes(folder)] == lengths
        assert (await client.result("verify", dataset=UUID(part["dataset_id"])))["ok"]
    made = (ends["dataset_id"], middle["dataset_id"])
    assert {name: data for name, data in content(storage).items() if name.split("/")[1] not in made} == before


async def test_a_split_by_fractions_draws_every_episode(client: Client, ids: list[UUID]) -> None:
    result = await client.result("split", {"fractions": {"train": 0.67, "test": 0.33}, "seed": 3})
    drawn = [[id for _, id, _ in await listed(client, each["dataset_id"])] for each in result["datasets"]]
    assert [len(each) for each in drawn] == [2, 1]
    assert sorted([*drawn[0], *drawn[1]]) == sorted(str(id) for id in ids)


async def test_a_name_is_taken_from_the_start_and_free_again_after_a_failure(
    client: Client, log: Log, storage: Path, others: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFull("No space left.")

    before = content(storage)
    assert (await client.post("merge", merge())).status_code == 202
    assert (await client.post("merge", merge())).json()["error_code"] == "name_taken"
    with monkeypatch.context() as disk:
        disk.setattr(compose, "publish", full)
        await client.gateway.work()
    (ended,) = await client.get("/operations")
    assert (ended["status"], ended["message"]) == ("failed", "No space left.")
    assert content(storage) == before
    assert (await client.post("merge", merge())).status_code == 202


async def test_a_damaged_episode_is_not_taken_over(client: Client, storage: Path, others: list[UUID]) -> None:
    cut(episode(storage, others[1], OTHER) / "episode.json", 0.9)
    before = content(storage)
    ended = await client.done("merge", merge())
    assert (ended["status"], "repair its dataset" in ended["message"]) == ("failed", True)
    assert content(storage) == before


async def test_the_files_that_a_lost_process_made_become_the_dataset(
    client: Client, log: Log, storage: Path, others: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost between the two new datasets' files: nobody sees the first; the next process goes on."""
    body = {"parts": [{"name": name, "episodes": [str(id)]} for name, id in zip("ab", others, strict=True)]}
    id = UUID((await client.post("split", body, OTHER)).json()["id"])
    client.gateway.woken.clear()
    first, made = Owner(log, id), 0
    await first.decide(lambda found: found.start(first.run, first.node, AT))

    def lost(*_: object) -> None:
        nonlocal made
        made += 1
        if made == 2:
            raise KeyboardInterrupt

    first._tell = lost  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        await first._make()
    project = log.load(Dataset, OTHER).project_id
    assert len(await client.get(f"/projects/{project}/datasets")) == 2
    await Owner(log, id)._work()
    ended = await client.get(f"/operations/{id}")
    assert [each["name"] for each in ended["result"]["datasets"]] == ["a", "b"]
    assert len(await client.get(f"/projects/{project}/datasets")) == 4
    assert list(check_files(log, storage, quiet)) == []


async def test_a_merged_dataset_whose_log_is_lost_is_adopted(
    client: Client, storage: Path, others: list[UUID], tmp_path: Path
) -> None:
    (made,) = (await client.result("merge", merge()))["datasets"]
    found, new = tmp_path / "found", made["dataset_id"]
    shutil.copytree(storage / "datasets" / new, found / "datasets" / new, symlinks=True)

    def adopted() -> int:
        with opened(f"sqlite+aiosqlite:///{tmp_path / 'anew.db'}") as log:
            return adopt(log, found, found / "datasets" / new, Wish(), quiet).episodes

    assert await asyncio.to_thread(adopted) == 5
