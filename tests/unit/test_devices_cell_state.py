import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.devices.cell_state import CellPublisher, CellReader, CellState, _path
from domain.errors import Invalid


@pytest.fixture
def cell_id() -> Iterator[str]:
    name = str(uuid.uuid4())
    yield name
    _path(name).unlink(missing_ok=True)


def state(sequence: int) -> CellState:
    return CellState(1.5, 2.5, 3.5, 4.5, 0.5, sequence, time.monotonic_ns())


def test_readers_see_the_newest_state(cell_id: str) -> None:
    publisher, reader = CellPublisher(cell_id), CellReader(cell_id)
    assert reader.latest() is None
    for shown in (state(1), state(2), state(3)):
        publisher.publish(shown)
        assert reader.latest() == CellReader(cell_id).latest() == shown
    publisher.close()
    assert reader.latest() is None
    assert not _path(cell_id).exists()


def test_a_reader_may_come_first_and_finds_the_next_publisher_too(cell_id: str) -> None:
    reader = CellReader(cell_id)
    assert reader.latest() is None
    killed = CellPublisher(cell_id)
    killed.publish(state(7))
    seen = reader.latest()
    assert seen is not None
    assert seen.sequence == 7
    after = CellPublisher(cell_id)
    after.publish(shown := state(1))
    assert reader.latest() == shown
    killed.close()  # it is not its file any more
    assert reader.latest() == shown
    after.close()


@pytest.mark.parametrize("damaged_byte", [0, 20, 55])
def test_a_half_written_state_is_never_shown(cell_id: str, damaged_byte: int) -> None:
    publisher, reader = CellPublisher(cell_id), CellReader(cell_id)
    publisher.publish(whole := state(1))
    publisher.publish(state(2))
    data = bytearray(_path(cell_id).read_bytes())
    data[damaged_byte] ^= 0xFF  # an even sequence lies in the first slot
    with _path(cell_id).open("r+b") as file:
        file.write(data)
    assert reader.latest() == whole
    publisher.close()


@pytest.mark.parametrize("torn", [{1}, {0, 1}])
def test_a_reader_that_meets_torn_slots_never_goes_back_in_time(cell_id: str, torn: set[int]) -> None:
    publisher, reader = CellPublisher(cell_id), CellReader(cell_id)
    for shown in (state(4), state(5)):
        publisher.publish(shown)
    assert reader.latest() == shown
    with _path(cell_id).open("r+b") as file:
        for slot in torn:
            file.seek(slot * 64)
            file.write(b"\xff" * 8)
    assert reader.latest() == shown
    publisher.close()


def test_a_state_from_before_the_last_boot_is_not_shown(cell_id: str) -> None:
    publisher, reader = CellPublisher(cell_id), CellReader(cell_id)
    publisher.publish(CellState(1, 2, 3, 4, 0, 1, time.monotonic_ns() + 10**12))
    assert reader.latest() is None
    publisher.close()


@pytest.mark.parametrize("name", ["", "../escape", "a/b", "x" * 101])
def test_ids_that_are_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        CellReader(name)


def test_only_its_user_can_enter_the_folder(cell_id: str) -> None:
    publisher = CellPublisher(cell_id)
    folder: Path = _path(cell_id).parent
    assert folder.stat().st_mode & 0o077 == 0
    publisher.close()
