"""geti-action: the command line tool."""

import signal
import sys


def main() -> None:
    """The console script. Its imports take seconds, in which Ctrl-C ends it at once, without a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cli import commands

    signal.signal(signal.SIGINT, before)
    try:
        commands.main()
    except KeyboardInterrupt:
        sys.exit(130)
