"""What the training libraries may say on a server's console: from warnings on, but for those known to be harmless.

All that they say from INFO on is in the job's log, where whoever looks for it looks. Imports nothing heavy.
"""

import logging
import os
import warnings

_HARMLESS_WARNINGS = (
    # lightning asks torch's tree library in its old way.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # physicalai's policies move batches themselves, and its data module is a LightningDataModule.
    r"You have overridden `transfer_batch_to_device`",
    # physicalai logs its loss without saying of how many samples; all batches but the last are alike.
    r"Trying to infer the `batch_size` from an ambiguous collection",
    # Where it goes on after an interruption, an epoch begins anew: rows are drawn at random, so nothing is lost.
    r"You're resuming from a checkpoint that ended before the epoch ended",
)
# Says for each Split of a policy that it stays as it is in the ONNX graph.
_HARMLESS_LOGGER = "onnxscript.optimizer._constant_folding"


def before_imports() -> None:
    """For a process that only trains, whose root logger Ray Train has set up to say everything from INFO on."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.WARNING)
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    logging.getLogger(_HARMLESS_LOGGER).setLevel(logging.ERROR)
    physicalai()


def physicalai() -> None:
    """Its inference logs by loguru, which reads this when it is imported."""
    os.environ.setdefault("LOGURU_LEVEL", "WARNING")


def after_imports() -> None:
    """Lightning brings a console handler of its own, which would repeat what the root logger's says."""
    logging.getLogger("lightning").handlers.clear()
