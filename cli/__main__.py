"""``python -m cli`` is ``geti-action``."""

from cli import main

main()
