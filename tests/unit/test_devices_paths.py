from pathlib import Path

import pytest

from actors.devices.paths import confined
from domain.errors import Invalid


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    for name in ("first", "second", "first-but-longer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "film.mp4").touch()
    (tmp_path / "second" / "only.mp4").touch()
    return [tmp_path / "first", tmp_path / "second"]


def test_a_relative_path_means_the_first_root_that_has_it(roots: list[Path]) -> None:
    assert confined(roots, "film.mp4") == roots[0] / "film.mp4"
    assert confined(roots, "only.mp4") == roots[1] / "only.mp4"
    assert confined(roots, "not-yet.mp4") == roots[0] / "not-yet.mp4"


def test_an_absolute_path_inside_a_root_is_fine(roots: list[Path]) -> None:
    assert confined(roots, str(roots[1] / "only.mp4")) == roots[1] / "only.mp4"


def test_a_link_inside_the_root_may_be_followed(roots: list[Path]) -> None:
    (roots[0] / "link.mp4").symlink_to("film.mp4")
    assert confined(roots, "link.mp4") == roots[0] / "film.mp4"


@pytest.mark.parametrize(
    "path", ["../outside.mp4", "a/../../x", "/etc/passwd", "/", "nul\0.mp4", "../first-but-longer/film.mp4"]
)
def test_escapes_are_refused(roots: list[Path], path: str) -> None:
    with pytest.raises(Invalid, match=r"media folders|not a path"):
        confined(roots, path)


def test_links_that_lead_outside_or_nowhere_are_refused(roots: list[Path]) -> None:
    (roots[0] / "out").symlink_to("/etc")
    (roots[0] / "loop").symlink_to("loop")
    for path in ("out/passwd", "loop"):
        with pytest.raises(Invalid):
            confined(roots, path)


def test_without_roots_nothing_is_playable() -> None:
    with pytest.raises(Invalid, match="MEDIA_ROOTS"):
        confined([], "film.mp4")
