"""What a training's process says where, tried in a process of its own."""

import subprocess
import sys
from pathlib import Path

from settings import PROJECT

# Ray Train's root logger says all from INFO on, lightning brings a handler of its own when it is imported.
_SAY = """
import logging, pathlib, sys, warnings
from actors.learning import quiet
from actors.learning.job import JobFolder
from actors.learning.loop import _logging_to
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
lightning = logging.getLogger("lightning")
lightning.addHandler(logging.StreamHandler(sys.stdout))
quiet.before_imports()
quiet.after_imports()
with _logging_to(JobFolder(pathlib.Path(sys.argv[1]))):
    logging.getLogger("lightning.pytorch").info("a tip")
    logging.getLogger("lightning.pytorch").warning("a mistake")
    logging.getLogger("onnxscript.optimizer._constant_folding").warning("Skipping")
    warnings.showwarning = lambda message, *more: print(message)
    warnings.warn("You have overridden `transfer_batch_to_device` in `LightningModule`")
    warnings.warn("Your own warning")
"""


def test_the_console_hears_warnings_once_and_the_log_everything(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SAY, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, text=True, capture_output=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["a mistake", "Your own warning"]
    logged = (tmp_path / "log.txt").read_text()
    assert [words in logged for words in ("a tip", "a mistake", "Skipping")] == [True, True, False]
