import subprocess
import sys

import pytest

from actors.learning import policies
from domain.errors import Invalid


def test_catalogue_lists_what_can_be_trained() -> None:
    listed = {entry["name"]: entry for entry in policies.catalogue()}
    assert {"act", "smolvla", "pi05"} <= set(listed)
    assert listed["act"]["offline"]
    assert not listed["pi05"]["offline"]
    assert listed["pi05"]["weights"] == "lerobot/pi05_base"
    assert listed["act"]["args_schema"]["properties"]["chunk_size"]["maximum"] == 1000


def test_defaults_of_every_policy_with_none_required_are_valid() -> None:
    for entry in policies.catalogue():
        if not entry["args_schema"].get("required"):
            args = policies.validate(entry["name"], {})
            assert set(args) == set(entry["args_schema"]["properties"])


def test_arguments_are_kept_and_defaults_filled_in() -> None:
    args = policies.validate("act", {"chunk_size": 10, "image_size": [96, 128]})
    assert args["chunk_size"] == 10
    assert args["image_size"] == [96, 128]
    assert args["dim_model"] == 128


def test_unknown_policy_names_the_known_ones() -> None:
    assert not policies.known("dreamer")
    with pytest.raises(Invalid, match="smolvla") as caught:
        policies.validate("dreamer", {})
    assert caught.value.error_code == "unknown_policy"


@pytest.mark.parametrize(
    ("args", "loc"),
    [
        ({"chunk_size": 0}, "policy_args.chunk_size"),
        ({"chunk_size": "many"}, "policy_args.chunk_size"),
        ({"surprise": 1}, "policy_args.surprise"),
        ({"chunk_size": 5, "n_action_steps": 6}, "policy_args"),
        ({"dim_model": 66, "n_heads": 4}, "policy_args"),
        ({"optimizer_lr": float("nan")}, "policy_args.optimizer_lr"),
        ({"image_size": [96]}, "policy_args.image_size.1"),
        ({"pretrained_backbone_weights": "DEFAULT"}, "policy_args.pretrained_backbone_weights"),
    ],
)
def test_wrong_arguments_are_named(args: dict, loc: str) -> None:
    with pytest.raises(Invalid) as caught:
        policies.validate("act", args)
    assert [each["loc"] for each in caught.value.extra["errors"]] == [loc]


def test_what_the_api_imports_is_light() -> None:
    code = (
        "import sys, actors.learning, actors.learning.policies, actors.learning.install, actors.learning.job;"
        "heavy = {'torch', 'lightning', 'physicalai', 'lerobot', 'ray', 'openvino', 'av', 'cv2'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
