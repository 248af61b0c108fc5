"""What lies in the Hugging Face cache and what does not, with a cache of our own."""

from pathlib import Path

import pytest

from actors.learning import policies, weights
from actors.learning.weights import Weights, advice, missing
from domain.errors import Invalid

BASE, VLM = "lerobot/smolvla_base", "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
PINNED = "7b375e1b73b11138ff12fe22c8f2822d8fe03467"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(cache: Path, repo: str, commit: str, *, newest: bool = True) -> None:
    """As ``hf download`` leaves it."""
    home = cache / f"models--{repo.replace('/', '--')}"
    (home / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
    (home / "snapshots" / commit / "config.json").write_text("{}")
    if newest:
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / "main").write_text(commit)


def test_a_policy_without_weights_needs_none() -> None:
    assert missing("act", policies.validate("act", {})) == []


def test_what_is_not_in_the_cache_is_missing(cache: Path) -> None:
    args = policies.validate("smolvla", {})
    assert missing("smolvla", args) == [Weights(BASE), Weights(VLM), Weights(VLM, PINNED)]
    put(cache, BASE, "a" * 40)
    assert missing("smolvla", args) == [Weights(VLM), Weights(VLM, PINNED)]
    put(cache, VLM, "b" * 40)
    assert missing("smolvla", args) == [Weights(VLM, PINNED)]
    put(cache, VLM, PINNED, newest=False)
    assert missing("smolvla", args) == []
    weights.check("smolvla", args)


def test_ones_own_weights_may_be_a_folder(cache: Path, tmp_path: Path) -> None:
    put(cache, VLM, PINNED)
    for name, absent in ((str(tmp_path), []), (None, []), ("my/own", [Weights("my/own")])):
        args = policies.validate("smolvla", {"pretrained_name_or_path": name})
        assert missing("smolvla", args) == absent


def test_every_policy_of_the_catalogue_names_what_it_lists(cache: Path) -> None:
    for entry in policies.catalogue():
        required = {"embodiment": "arm"} if entry["args_schema"].get("required") else {}
        absent = missing(entry["name"], policies.validate(entry["name"], required))
        assert (entry["weights"] in [each.repo for each in absent]) == (not entry["offline"])


def test_it_is_refused_with_the_commands_that_fetch_them(cache: Path) -> None:
    put(cache, VLM, "b" * 40)
    with pytest.raises(Invalid, match=BASE) as refused:
        weights.check("smolvla", policies.validate("smolvla", {}))
    commands = [f"hf download {BASE}", f"hf download {VLM} --revision {PINNED}"]
    assert refused.value.error_code == "weights_missing"
    assert refused.value.extra == {"commands": commands}
    assert " && ".join(commands) in refused.value.detail
    assert len(advice([Weights(BASE), Weights(VLM), Weights(VLM, PINNED)])) <= 500  # a job's reason is cut there
