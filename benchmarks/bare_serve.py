"""The least that Ray Serve can do: one deployment with the query and the JSON by hand. ``python -m
benchmarks.bare_serve PORT DATABASE`` serves it with a Ray of its own, started as ours is."""

import logging
import sys
import threading
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks import bare


@serve.deployment(
    max_ongoing_requests=1000,
    ray_actor_options={"num_cpus": 0},
    logging_config={"log_level": "WARNING", "enable_access_log": False},
)
class Bare:
    """GET lists the projects, POST makes one."""

    def __init__(self, database: str) -> None:
        self._connection = bare.connect(Path(database))

    async def __call__(self, request: Request) -> Response:
        if request.method == "GET":
            return Response(bare.listed(self._connection), media_type="application/json")
        return Response(bare.inserted(self._connection, await request.body()), 201, media_type="application/json")


def application(database: Path) -> Any:
    """The deployment for ``serve.run``."""
    return Bare.bind(str(database))  # type: ignore[attr-defined]


def start_ray() -> None:
    """A Ray of its own on loopback, with the dashboard that Serve users have."""
    import ray

    from launch.server import OBJECT_STORE_BYTES

    ray.init(
        address="local",
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=0,
        object_store_memory=OBJECT_STORE_BYTES,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )


def start_proxy(port: int) -> None:
    serve.start(
        http_options={"host": "127.0.0.1", "port": port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )


if __name__ == "__main__":
    start_ray()
    start_proxy(int(sys.argv[1]))
    serve.run(application(Path(sys.argv[2])), name="bare", route_prefix="/")
    threading.Event().wait()
