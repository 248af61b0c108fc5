"""What is told and refused as the disk runs full."""

from types import SimpleNamespace

import pytest

from actors import disk
from domain.errors import StorageFull

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("free_gb", "is_told", "trains", "records"),
    [(7, False, True, True), (5, True, True, True), (2.9, True, False, True), (0.9, True, False, False)],
)
def test_training_stops_before_recording_and_people_are_told_before_both(
    monkeypatch: pytest.MonkeyPatch, free_gb: float, is_told: bool, trains: bool, records: bool
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=int(free_gb * GB)))
    assert (disk.warning() is not None) is is_told
    assert (disk.short_for_training() is None) is trains
    assert (disk.short_for_recording() is None) is records
    for check, goes_on in ((disk.check_training, trains), (disk.check_recording, records)):
        if goes_on:
            check()
            continue
        with pytest.raises(StorageFull, match=r"stops at .* \(MIN_FREE_"):
            check()


def test_how_long_the_disk_lasts_follows_from_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=5 * GB))
    assert disk.recordable_s(0, 60.0) is None
    assert disk.recordable_s(1000, 0.1) is None
    assert disk.recordable_s(2 * GB, 10.0) == pytest.approx(20.0)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=GB // 2))
    assert disk.recordable_s(2 * GB, 10.0) == 0
