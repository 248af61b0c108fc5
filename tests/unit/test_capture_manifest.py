import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from actors.capture.manifest import CameraKey, feature_keys

KEY = TypeAdapter(CameraKey)


def test_names_become_keys():
    assert feature_keys(["Top view", "Wrist (left)", "top-view", "カメラ", "Robot", "Été"]) == [
        "top_view",
        "wrist_left",
        "top_view_2",
        "camera",
        "robot_2",
        "ete",
    ]


@given(st.lists(st.text(max_size=80), max_size=8))
def test_keys_are_valid_unique_and_the_same_every_time(names):
    keys = feature_keys(names)
    assert [KEY.validate_python(key) for key in keys] == keys
    assert len(set(keys)) == len(names)
    assert feature_keys(names) == keys


@pytest.mark.parametrize("key", ["robot", "", "../x", "a/b", "a.b", "x" * 65])
def test_other_keys_are_refused(key):
    with pytest.raises(ValidationError):
        KEY.validate_python(key)
