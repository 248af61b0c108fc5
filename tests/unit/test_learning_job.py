import json
import zipfile
from pathlib import Path

import pytest

from actors.learning.export import ExportFacts
from actors.learning.job import JobFolder, Progress, checkpoint_step
from actors.learning.telemetry import Telemetry


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path / "job")
    folder.prepare()
    return folder


def whole(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "weights")
    return path


def test_newest_checkpoint_skips_what_is_torn_or_unfinished(job: JobFolder) -> None:
    assert job.newest_checkpoint() is None
    good = whole(job.checkpoint(20))
    whole(job.checkpoint(10))
    job.checkpoint(30).write_bytes(good.read_bytes()[:-30])
    whole(job.checkpoint(40).with_suffix(".partial"))
    assert job.newest_checkpoint() == good
    assert checkpoint_step(good) == 20


def test_pruning_keeps_the_newest(job: JobFolder) -> None:
    paths = [whole(job.checkpoint(step)) for step in (5, 100, 20, 9)]
    job.prune_checkpoints(2)
    assert sorted(job.checkpoints.iterdir()) == sorted([paths[2], paths[1]])


def test_a_new_attempt_forgets_how_the_last_one_ended_and_keeps_what_it_learned(job: JobFolder) -> None:
    checkpoint = whole(job.checkpoint(20))
    job.checkpoint(30).with_suffix(".partial").touch()
    job.ask_to_stop()
    job.record_failure("ValueError", "broken")
    job.write_progress(Progress("training", 20, 30))
    job.record_exports([ExportFacts("onnx", 1, "a", 2.0)])
    assert job.stop_asked()
    assert job.is_exported()
    job.prepare()
    assert not job.stop_asked()
    assert not job.is_exported()
    assert job.failure() is None
    assert job.progress() is None
    assert list(job.checkpoints.iterdir()) == [checkpoint]


def test_what_was_not_finished_is_removed_and_the_rest_stays(job: JobFolder) -> None:
    checkpoint = whole(job.checkpoint(20))
    for name in ("torch", "openvino.partial"):
        (job.exports / name).mkdir(parents=True)
        (job.exports / name / "model.bin").touch()
    job.checkpoint(30).with_suffix(".partial").touch()
    (job.root / "dataset.partial" / "meta").mkdir(parents=True)
    job.remove_partials()
    assert not list(job.root.rglob("*.partial"))
    assert sorted(each.name for each in job.root.iterdir()) == ["checkpoints", "exports"]
    assert [checkpoint, job.exports / "torch"] == [*job.checkpoints.iterdir(), *job.exports.iterdir()]


def test_the_first_failure_is_the_reason(job: JobFolder) -> None:
    job.record_failure("ValueError", "the cause")
    job.record_failure("RuntimeError", "connection closed by peer")
    assert job.failure() == "the cause"


def test_exports_come_back_as_they_were(job: JobFolder) -> None:
    facts = (ExportFacts("onnx", 7, "ab", 1.5), ExportFacts("openvino", error="no such operation"))
    assert job.export_facts() == ()
    job.record_exports(list(facts))
    assert job.export_facts() == facts


def test_a_torn_last_row_is_left_out(job: JobFolder) -> None:
    job.metrics.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert job.rows() == [{"step": 1, "loss": 2.0}]
    job.metrics.write_bytes(b'{"step": 1}\n{"step": 2, "lo\n\x00\x00\xff\n7\n{"step": 3}\n{"step": 4')
    assert job.rows() == [{"step": 1}, {"step": 3}]


def test_a_resume_writes_each_step_once(job: JobFolder) -> None:
    first = Telemetry(job, 10, writes=True)
    for step in range(1, 6):
        first.step(step, 1.0 / step, 1e-4, 8)
    second = Telemetry(job, 10, writes=True)
    second.resume_at(3)
    for step in range(4, 11):
        second.step(step, 1.0 / step, 1e-4, 8)
    assert [row["step"] for row in job.rows()] == list(range(1, 11))
    assert job.progress() == Progress("training", 10, 10, 0.1)


def test_long_curves_are_thinned_and_keep_their_end(job: JobFolder) -> None:
    telemetry = Telemetry(job, 100_000, writes=True)
    for step in (1, 19, 20, 21, 40, 100_000):
        telemetry.step(step, 1.0, 1e-4, 8)
    assert [row["step"] for row in job.rows()] == [20, 40, 100_000]


def test_only_the_first_rank_writes(job: JobFolder) -> None:
    Telemetry(job, 10, writes=False).step(10, 1.0, 1e-4, 8)
    assert job.rows() == []
    assert job.progress() is None


def test_rows_carry_rate_and_time(job: JobFolder) -> None:
    telemetry = Telemetry(job, 10, writes=True)
    telemetry.step(1, 1.0, 1e-4, 8)
    telemetry.step(2, 0.5, 1e-4, 8)
    first, second = [json.loads(line) for line in job.metrics.read_text().splitlines()]
    assert first["samples_per_s"] is None
    assert second["samples_per_s"] > 0
    assert second["time"].endswith("Z")
