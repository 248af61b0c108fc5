import errno
import threading
import time

import pytest

from actors.capture.durable import BackgroundSync, exclusive, storage_errors, write_json
from domain.errors import StorageFull, Unavailable


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EFBIG, StorageFull), (errno.EIO, Unavailable)],
)
def test_a_disks_error_becomes_the_domains_and_names_no_path(number, kind):
    with pytest.raises(kind) as caught, storage_errors("save"):
        raise OSError(number, "x", "/secret/place")
    assert "secret" not in caught.value.detail


def test_the_lock_keeps_others_out_until_it_is_free(tmp_path):
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(tmp_path / "lock"):
            inside.set()
            leave.wait(5)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(5)
    with pytest.raises(Unavailable), exclusive(tmp_path / "lock", timeout_s=0.05):
        raise AssertionError("two holders")
    leave.set()
    with exclusive(tmp_path / "lock", timeout_s=5):
        holder.join(5)


def test_json_is_replaced_whole(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    write_json(tmp_path / "a.json", {"b": 2})
    assert (tmp_path / "a.json").read_text() == '{\n "b": 2\n}'
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_background_flush_is_told_at_the_next_one(tmp_path):
    sync = BackgroundSync(tmp_path / "gone", interval_s=0)

    def poll_a_second() -> None:
        for _ in range(100):
            sync.poll()
            time.sleep(0.01)

    with pytest.raises(FileNotFoundError):
        poll_a_second()
