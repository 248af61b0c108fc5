"""A sealed episode's row logs as parquet, for whoever analyses them and for the dataset versions made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.capture.rowlog import Row

STATE, ACTION = "observation.state", "action"
TRUTH = "ground_truth"
TYPES: Mapping[str, pa.DataType] = {
    "row": pa.int64(),
    "captured_ns": pa.int64(),
    "age_ns": pa.int64(),
    "sequence": pa.int64(),
    "repeated": pa.bool_(),
    "stale": pa.bool_(),
    "dropped": pa.bool_(),
    "device_ns": pa.int64(),
    "success": pa.bool_(),
}


def warm_up() -> None:
    """Load what the first save needs (pyarrow's first conversion imports pandas: up to seconds). Call it beforehand."""
    pa.scalar(0)


def write_log(rows: Sequence[Row], path: Path) -> None:
    """A part's log as a table: the columns of TYPES that it has, and a robot's vectors and ground truth."""
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items() if name in rows[0]}
    if "state" in rows[0]:
        columns |= {STATE: vector_column(rows, "state"), ACTION: vector_column(rows, "action"), **_truths(rows)}
    pq.write_table(pa.table(columns), path)


def vectors(rows: Sequence[Row], name: str) -> NDArray[np.float32]:
    """(rows, n) float32 of a robot's ``state`` or ``action``."""
    return np.array([row[name] for row in rows], np.float32)


def vector_column(rows: Sequence[Row], name: str) -> pa.FixedSizeListArray:
    values = vectors(rows, name)
    return pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])


def _truths(rows: Sequence[Row]) -> dict[str, Any]:
    """Every quantity of the ground truth in a column of its own, null where a row does not tell it."""
    names = sorted({name for row in rows for name in row[TRUTH]})
    return {f"{TRUTH}.{name}": pa.array([row[TRUTH].get(name) for row in rows], pa.float64()) for name in names}
