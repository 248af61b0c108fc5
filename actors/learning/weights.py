"""The pretrained weights that a policy starts from: which those are, whether this machine has them, how to fetch them.

A training never goes to a hub, so what it needs must lie in the Hugging Face cache before. Imports nothing heavy.
"""

import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.errors import Invalid

# Those of an argument are the person's choice; a tokenizer's revision is the one that physicalai-train 0.3.0 pins.
_FROM_ARGUMENTS = ("pretrained_name_or_path", "pretrained_model_name_or_path", "vlm_model_id")
_SMOLVLM, _PALIGEMMA = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "google/paligemma-3b-pt-224"
_HUB_ADDRESS = re.compile(r"huggingface\.co/([\w.-]+/[\w.-]+)/(?:resolve|raw)/([\w.-]+)")


@dataclass(frozen=True, slots=True)
class Weights:
    """A repository of a hub at a revision (None: its newest), or a folder of this machine."""

    repo: str
    revision: str | None = None

    @property
    def fetch(self) -> str:
        """The command that puts them into the cache."""
        return f"hf download {self.repo}" + (f" --revision {self.revision}" if self.revision else "")


_BESIDE = {
    "smolvla": (Weights(_SMOLVLM), Weights(_SMOLVLM, "7b375e1b73b11138ff12fe22c8f2822d8fe03467")),
    "pi05": (Weights(_PALIGEMMA, "35e4f46485b4d07967e7e9935bc3786aad50687c"),),
}


def needed(policy: str, args: Mapping[str, Any]) -> Iterator[Weights]:
    """All that is known to be read from the cache by a policy with these (validated) arguments."""
    for name in _FROM_ARGUMENTS:
        if chosen := args.get(name):
            yield Weights(chosen)
    yield from _BESIDE.get(policy, ())


def missing(policy: str, args: Mapping[str, Any]) -> list[Weights]:
    """Those that this machine has not got. Needs the train extra, if the policy needs any."""
    return [weights for weights in needed(policy, args) if not _is_here(weights)]


def advice(absent: Iterable[Weights]) -> str:
    """What to tell the person who wants to train with them."""
    absent = list(absent)
    names = " and ".join(dict.fromkeys(weights.repo for weights in absent))
    commands = " && ".join(weights.fetch for weights in absent)
    return (
        f"Weights are missing here and training never downloads: {names}. "
        f"Fetch them first (hf lies in .venv/bin): {commands}"
    )


def check(policy: str, args: Mapping[str, Any]) -> None:
    """Raises Invalid when weights are missing on this machine. Without the train extra nobody can tell: the job will.

    Takes a second the first time, which an event loop has not got.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        return
    if absent := missing(policy, args):
        raise Invalid(advice(absent), code="weights_missing", commands=[weights.fetch for weights in absent])


def asked_for(text: str) -> Weights | None:
    """Those that a hub's address in an error's text is about."""
    found = _HUB_ADDRESS.search(text)
    return Weights(found[1], None if found[2] == "main" else found[2]) if found else None


def _is_here(weights: Weights) -> bool:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError, LocalEntryNotFoundError

    if Path(weights.repo).is_dir():
        return True
    try:
        return bool(snapshot_download(weights.repo, revision=weights.revision, local_files_only=True))
    except IncompleteSnapshotError:  # maybe all that is needed: whoever reads it will see
        return True
    except (LocalEntryNotFoundError, HFValidationError):  # a path that is no folder is no name of the hub's either
        return False
