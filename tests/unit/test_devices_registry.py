import pytest

from actors.devices import camera_driver, robot_driver, teleoperator
from domain.errors import Invalid


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(Invalid, match="simulated, file"):
        camera_driver("kinect", {}, cell_id=None, media_roots=[])
    with pytest.raises(Invalid, match="PushT"):
        robot_driver("R2D2", {}, cell_id="x")
    with pytest.raises(Invalid, match="scripted, random"):
        teleoperator("telepathy", seed=0)


def test_an_unknown_scene_is_refused() -> None:
    payload = {"scene": "moon", "width": 320, "height": 240, "fps": 30, "seed": 0}
    with pytest.raises(Invalid, match="testcard, pusht"):
        camera_driver("simulated", payload, cell_id=None, media_roots=[]).open()


def test_a_file_outside_the_media_roots_is_refused(tmp_path) -> None:
    with pytest.raises(Invalid, match="outside"):
        camera_driver("file", {"path": "../film.mp4", "loop": True}, cell_id=None, media_roots=[tmp_path])
