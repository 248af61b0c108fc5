import io
import re

import pytest
from rich.console import Console

from client.bars import BAR_WIDTH, Bars

BAR = re.compile(f"[━╸╺]{{{BAR_WIDTH}}}| {{{BAR_WIDTH}}}")
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def terminal() -> Console:
    """As the command line tool has it, 80 columns wide."""
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=24, highlight=False, soft_wrap=True)


def lines(terminal: Console) -> list[str]:
    """What stands there in the end, from the last line upwards."""
    assert isinstance(terminal.file, io.StringIO)
    return [line for line in ANSI.sub("", terminal.file.getvalue()).replace("\r", "\n").splitlines() if line.strip()]


def test_long_words_are_cut_and_the_bar_is_not(terminal: Console) -> None:
    with Bars(terminal) as bars, bars.line("training", "starts") as line:
        line.tell("installs libraries: 1.2 of 3.0 GB · Downloaded nvidia-cudnn-cu12 " * 3, 47)
    shown = lines(terminal)[-1]
    assert BAR.search(shown)
    assert len(shown.rstrip()) <= 80
    assert re.match(r"training +\S+ +47 % 0:00:0\d installs libraries: 1.2 of 3.0 GB", shown)
    assert shown.rstrip().endswith("…")


def test_each_line_ends_with_its_last_words(terminal: Console) -> None:
    with Bars(terminal) as bars:
        bars.say("Made a project.")
        with bars.line("recording", "opens the session", 5) as recording:
            recording.tell("row 12", 2)
            recording.end("saved 5 episodes")
        with bars.line("training", "submits the job") as training:
            training.end("200 steps")
    first, *_ = lines(terminal)
    *_, above, below = lines(terminal)
    assert first == "Made a project."
    assert re.fullmatch(r"recording  ━{20} +5/5 0:00:0\d saved 5 episodes *", above)
    assert re.fullmatch(r"training   ━{20} 100 % 0:00:0\d 200 steps *", below)


def test_a_bar_sweeps_and_gives_no_figure_while_nothing_is_known(terminal: Console) -> None:
    with Bars(terminal) as bars:
        bars.line("training", "submits the job").tell("loads the training libraries")
    assert re.search(r"training +━{20} +0:00:0\d loads the training libraries", lines(terminal)[-1])


def test_an_error_leaves_the_line_where_it_was(terminal: Console) -> None:
    def fails() -> None:
        with Bars(terminal) as bars, bars.line("training", "starts", 5) as line:
            line.tell("step 3", 3)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fails()
    assert re.search(r"training +━{12}\S*━+ +3/5 0:00:0\d step 3", lines(terminal)[-1])


def test_without_a_terminal_each_new_thing_is_a_line_and_numbers_alone_are_none() -> None:
    pipe = Console(file=io.StringIO(), force_terminal=False, width=80)
    with Bars(pipe) as bars, bars.line("training", "submits the job") as line:
        for step in range(50):
            line.tell(f"step {step} of 50 · loss 0.{step:02}", step)
        line.end("50 steps")
    assert isinstance(pipe.file, io.StringIO)
    said = pipe.file.getvalue().splitlines()
    assert said[:2] == ["training: step 0 of 50 · loss 0.00", "training: 50 steps"]
