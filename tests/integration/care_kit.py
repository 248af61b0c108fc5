"""What the tests of the care for a system share: a database that holds the golden log, and all that follows from it."""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Table

from actors.capture.lerobot_v3 import publish
from actors.care import lines
from actors.care.adopting import Wish, adopt
from actors.care.importing import import_log
from actors.learning.export import folder_digest
from actors.log import Log
from domain.dataset import Dataset
from domain.model import ExportFacts, Model
from domain.training import Job, Train
from projections import schema, tables
from tests.integration.log_kit import AT
from tests.integration.test_capture_kit import INFO, record
from tests.story import named

GOLDEN = Path(__file__).parents[1] / "golden"
OLDEST = GOLDEN / "0.1.0.jsonl"
LASTING = [table for table in tables.metadata.sorted_tables if table.name not in ("idempotency", "snapshots")]
"""The tables that hold what the log says."""


def _as_now(golden: bytes) -> bytes:
    """As this release writes it."""
    body, _, end = golden.rstrip(b"\n").rpartition(b"\n")
    body = re.sub(rb'"revision":"\d+"', b'"revision":"%s"' % schema.HEAD.encode(), body, count=1) + b"\n"
    body = body.replace(b"geti-action-log/1", lines.FORMAT.encode(), 1)
    end = end.replace(b"events", lines.COUNTED.encode())
    return body + re.sub(rb"[0-9a-f]{64}", hashlib.sha256(body).hexdigest().encode(), end) + b"\n"


WHOLE = _as_now(OLDEST.read_bytes())


@contextmanager
def opened(url: str) -> Iterator[Log]:
    """The log of a database, at the newest schema."""
    schema.upgrade(url)
    with closing(Log(url)) as log:
        yield log


def quiet(*_: object) -> None:
    """Somebody who does not want to know how far it is."""


def tell(log: Log, golden: Path = OLDEST) -> None:
    """Bring a golden log into an empty one."""
    with golden.open("rb") as file:
        import_log(log, file)


DATASET = UUID("5c1d1a6e-94a4-4a6d-8a7e-2f4c4c8f9a10")
JOB, MODEL = named("care job"), named("care model")
SIZES = {"top": (96, 64), "wrist": (64, 64)}


def record_lost(folder: Path) -> list[UUID]:
    """Make the folder of ``DATASET`` as a lost system left it: three episodes, of which the first two are published."""
    ids = [record(folder, 5 + number, SIZES, first=100 * number, dataset_id=DATASET).episode_id for number in range(3)]
    publish(folder, 1, ids[:1], INFO)
    publish(folder, 2, ids[:2], INFO)
    return ids


def adopted(log: Log, storage: Path, lost: Path) -> list[UUID]:
    """Its three episodes, of 5, 6 and 7 rows, in version 3 of a dataset that the log knows again."""
    ids = record_lost(lost)
    adopt(log, storage, lost, Wish(), quiet)
    return ids


def make_system(log: Log, storage: Path, lost: Path) -> None:
    """A small whole one: the dataset, a job that trained on it, and its model, with all their files."""
    adopt(log, storage, lost, Wish(), quiet)
    dataset = log.load(Dataset, DATASET)
    exports = storage / "models" / str(MODEL) / "exports" / "torch"
    exports.mkdir(parents=True)
    (exports / "model.pt").write_bytes(b"weights")
    (storage / "jobs" / str(JOB)).mkdir(parents=True)
    (storage / "jobs" / str(JOB) / "metrics.jsonl").write_text('{"step": 1}\n')
    train = Train(project_id=dataset.project_id, dataset_id=DATASET, model_name="act-1")
    job = Job.train(JOB, MODEL, train, dataset, AT)
    job.start(named("run"), "node-1", AT)
    ids = {"id": MODEL, "project_id": dataset.project_id, "dataset_id": DATASET, "train_job_id": JOB}
    known = [
        ExportFacts(backend="torch", size_bytes=7, sha256=folder_digest(exports)),
        ExportFacts(backend="onnx", reason="x"),
    ]
    model = Model.create(
        **ids, name="act-1", policy="act", dataset_version=3, steps=1, metrics={}, exports=known, at=AT
    )
    job.complete({}, AT)
    asyncio.run(log.append(model, job))


def rows(log: Log, *of: Table) -> dict[str, list[dict[str, Any]]]:
    """What lasts (or these tables), in the order of the primary keys: equal on both databases."""
    with log.engine.connect() as connection:
        return {
            table.name: sorted(map(Row._asdict, connection.execute(table.select())), key=_key(table))
            for table in of or LASTING
        }


def _key(table: Table) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    return lambda row: tuple(row[column.name] for column in table.primary_key)
