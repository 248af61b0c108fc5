"""What is whole of a damaged episode becomes an episode of its own. The damaged one is not touched."""

from pathlib import Path
from uuid import UUID

import pyarrow.parquet as pq

from actors.capture.describe import describe
from actors.capture.durable import fsync_path, link_or_copy, staged, storage_errors, write_bytes
from actors.capture.episode import ROWS_FILE
from actors.capture.manifest import EPISODE_FILE, EpisodeManifest, read_facts, times_of, videos_of
from actors.capture.rowlog import Row
from actors.capture.rows import PART
from actors.capture.tables import ACTION, STATE
from actors.capture.verify import Verdict
from actors.capture.video import cut
from domain.episode import EpisodeFacts

MOST_REASONS = 3


def keep_whole(damaged: Path, id: UUID, verdict: Verdict) -> EpisodeFacts:
    """Make an episode ``id`` beside the ``damaged`` one, of its first ``verdict.rows`` rows, at least one. Nothing is
    encoded anew; capture times that are damaged are left out. Repeatable; a kill in between leaves nothing that counts.

    Raises Invalid or Conflict when not even those rows are whole, StorageFull, Unavailable."""
    target = damaged.with_name(str(id))
    with storage_errors("repair the episode"):
        if not target.exists():
            with staged(target) as staging:
                _build(damaged, staging, id, verdict)
        return read_facts(target)


def _build(damaged: Path, staging: Path, id: UUID, verdict: Verdict) -> None:
    old = verdict.manifest
    assert old is not None
    tables = {PART: ROWS_FILE} | {key: name for key, name in times_of(old).items() if name not in verdict.damaged}
    logs = {part: _keep_rows(damaged, staging, name, verdict.rows, old) for part, name in tables.items()}
    for name in videos_of(old).values():
        _keep_video(damaged, staging, name, verdict, old)
    meta = old.meta.model_copy(update={"episode_id": id})
    manifest = describe(staging, meta, logs, interrupted=True).model_copy(update={"repaired": _why(verdict, old)})
    for name in manifest.files:
        fsync_path(staging / name)
    write_bytes(staging / EPISODE_FILE, manifest.model_dump_json(indent=1).encode())


def _why(verdict: Verdict, old: EpisodeManifest) -> str:
    return f"repaired, {verdict.rows} of {old.rows} rows kept: {'; '.join(verdict.problems[:MOST_REASONS])}"


def _keep_rows(damaged: Path, staging: Path, name: str, rows: int, old: EpisodeManifest) -> list[Row]:
    """The first rows of a table, which is whole; as its log had them."""
    (staging / name).parent.mkdir(exist_ok=True)
    table = pq.read_table(damaged / name).slice(0, rows)
    if rows == old.rows:
        link_or_copy(damaged / name, staging / name)
    else:
        pq.write_table(table, staging / name)
    names = {STATE: "state", ACTION: "action"}
    logged: list[Row] = table.rename_columns([names.get(each, each) for each in table.column_names]).to_pylist()
    return logged


def _keep_video(damaged: Path, staging: Path, name: str, verdict: Verdict, old: EpisodeManifest) -> None:
    (staging / name).parent.mkdir(exist_ok=True)
    if verdict.rows == old.rows and name not in verdict.damaged:
        link_or_copy(damaged / name, staging / name)
    else:
        cut(damaged / name, staging / name, verdict.rows, old.meta.fps)
