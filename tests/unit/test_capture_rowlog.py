import pytest

from actors.capture.report import summarise
from actors.capture.rowlog import RowLog, read_rows
from domain.errors import Conflict


def row(number: int, **flags: bool) -> dict[str, object]:
    marks = {"repeated": False, "stale": False, "dropped": False} | flags
    return {"row": number, "captured_ns": number * 10**8, "age_ns": 5 * number, "sequence": number * 3, **marks}


def written(path, rows: int) -> None:
    log = RowLog(path)
    for number in range(rows):
        log.append(row(number, stale=number == 2))
    log.close()


def numbers(path) -> list[int]:
    return [row["row"] for row in read_rows(path)]


def test_every_row_is_there_before_the_log_is_closed(tmp_path):
    log = RowLog(tmp_path / "log")
    log.append(row(0))
    assert read_rows(tmp_path / "log") == [row(0)]
    log.close()


def test_a_log_is_never_written_over(tmp_path):
    written(tmp_path / "log", 1)
    with pytest.raises(FileExistsError):
        RowLog(tmp_path / "log")


def test_torn_at_any_byte_a_log_has_all_whole_rows(tmp_path):
    written(tmp_path / "log", 2)
    whole = (tmp_path / "log").read_bytes()
    for size in range(len(whole) + 1):
        (tmp_path / "torn").write_bytes(whole[:size])
        assert numbers(tmp_path / "torn") == list(range(whole[:size].count(b"\n")))


def test_rows_after_a_gap_do_not_count(tmp_path):
    written(tmp_path / "log", 4)
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    (tmp_path / "log").write_bytes(b"".join([lines[0], lines[1], lines[3]]))
    assert numbers(tmp_path / "log") == [0, 1]


def test_no_log_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "none") == []


def test_a_report_counts_only_the_rows_it_is_asked_for(tmp_path):
    written(tmp_path / "log", 6)
    report = summarise("top", tmp_path / "log", 5)
    assert (report.rows, report.stale, report.dropped, report.max_age_s) == (5, 1, 0, 20e-9)
    assert report.measured_fps == pytest.approx(30)
    assert summarise("top", tmp_path / "log", 2).stale == 0
    with pytest.raises(Conflict, match="6 of 7"):
        summarise("top", tmp_path / "log", 7)
