"""What every test starts from: no display, model hub or usage statistics; no deadline that a slow machine misses."""

import os

from hypothesis import settings

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

settings.register_profile("ours", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("ours")
