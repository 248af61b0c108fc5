"""Changes written in bulk leave the tables as changes written one by one do."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, create_engine

from projections.bulk import write
from projections.changes import Change, Drop, Patch, Put

metadata = MetaData()
pairs = Table(
    "pairs",
    metadata,
    Column("parent", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("a", Integer),
    Column("b", Integer),
    Column("kin", Text),
)
names, numbers = st.sampled_from("xyz"), st.integers(0, 9)
keys = st.tuples(names, names)
puts = st.builds(
    lambda key, a, b, kin: Put(pairs, {"parent": key[0], "key": key[1], "a": a, "b": b, "kin": kin}),
    keys,
    numbers,
    numbers,
    names,
)
patches = st.builds(
    lambda key, values: Patch(pairs, key, values),
    keys,
    st.dictionaries(st.sampled_from("ab"), numbers, min_size=1),
)
columns = st.sampled_from(("parent", "key", "kin"))
drops = st.builds(lambda where: Drop(pairs, where), st.dictionaries(columns, names, min_size=1))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", paramstyle="named")
    metadata.create_all(made)
    yield made
    made.dispose()


def _after(engine: Engine, *steps: list[Change]) -> set[Any]:
    """The rows after these steps on an empty table."""
    with engine.connect() as connection:
        for changes in steps:
            write(connection, changes)
        return {tuple(row) for row in connection.execute(pairs.select())}


changes = st.one_of(puts, patches, drops)


@given(st.lists(changes), st.lists(changes, max_size=30))
def test_bulk_equals_one_by_one(engine: Engine, before: list[Change], then: list[Change]) -> None:
    singly = [[change] for change in (*before, *then)]
    assert _after(engine, before, then) == _after(engine, *singly)


@pytest.mark.parametrize("change", [Patch(pairs, ("x", "y"), {"a": 1}), Drop(pairs, {"parent": "x"})])
def test_what_is_not_there_is_left_alone(engine: Engine, change: Change) -> None:
    assert _after(engine, [change]) == set()


def test_a_put_is_a_whole_row_and_a_patch_a_part_of_it(engine: Engine) -> None:
    put = Put(pairs, {"parent": "x", "key": "y", "a": 1, "b": 2, "kin": "z"})
    assert _after(engine, [put, Patch(pairs, ("x", "y"), {"b": 3})]) == {("x", "y", 1, 3, "z")}
    assert _after(engine, [put, Drop(pairs, {"parent": "x"})]) == set()
    assert _after(engine, [Drop(pairs, {"parent": "x"}), put]) == {("x", "y", 1, 2, "z")}


def test_changes_of_nothing_send_nothing() -> None:
    with create_engine("sqlite://").connect() as without_tables:
        write(without_tables, [])


def test_a_drop_means_rows_as_they_are_and_not_as_they_were(engine: Engine) -> None:
    was, now = ({"parent": "x", "key": "y", "a": 1, "b": 2, "kin": kin} for kin in "xz")
    drop = Drop(pairs, {"kin": "x"})
    assert _after(engine, [drop, Put(pairs, was), Put(pairs, now), drop]) == {("x", "y", 1, 2, "z")}


def test_a_drop_of_a_row_that_was_just_put_takes_the_older_one_under_its_key(engine: Engine) -> None:
    was, now = ({"parent": "x", "key": "y", "a": 1, "b": 2, "kin": kin} for kin in "xz")
    assert _after(engine, [Put(pairs, was)], [Put(pairs, now), Drop(pairs, {"kin": "z"})]) == set()
