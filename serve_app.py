"""Composition: settings, the log, both routers, error handlers and the console, in one Ray Serve deployment.

``serve run serve_app:app`` serves it; ``geti-action serve`` does the same with a Ray of its own. Only the replicas
import what they are composed of: the process that starts them would spend seconds on what it never uses.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import cast

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from ray import serve

from launch.claims import share
from settings import LOOPBACK, PROJECT, Settings, settings

_COPIED = (
    "Ray serves a temporary copy of the project, and what is recorded there would be lost. Start it with ./run.sh, or "
    "set RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 before `uv run serve run`."
)
EXPOSED = ["Location", "Link", "ETag", "X-Log-Position", "X-Total-Count", "Retry-After"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Bring the tables up to date, wake what was going on, and only then be ready."""
    from actors.entity import configure_logging

    if "working_dir_files" in PROJECT.parts:
        raise RuntimeError(_COPIED)
    configure_logging()
    config = settings()
    with ExitStack() as stack:
        share(config, stack)
        async with _serving(app, config):
            yield


@asynccontextmanager
async def _serving(app: FastAPI, config: Settings) -> AsyncIterator[None]:
    from actors.as_of import Past
    from actors.care.opening import open_database
    from actors.gateway import Gateway
    from actors.housekeeping import keep_house
    from actors.live.stream import Live
    from actors.live.telemetry import Telemetry
    from actors.log import Log
    from actors.sample import make_sample

    await asyncio.to_thread(open_database, config.database_url, config.storage_dir)
    log = Log(config.database_url, pooled=True)
    app.state.engine = log.engine
    app.state.gateway = Gateway(log)
    app.state.past = Past(log)
    app.state.live = Live(log, Telemetry(app.state.gateway, config.jobs_dir).look)
    housekeeping = asyncio.create_task(keep_house(log, config.datasets_dir))
    if config.seed_db:
        await make_sample(app.state.gateway)
    await app.state.gateway.resume()
    app.state.ready = True
    logging.getLogger(__name__).info("ready: the log is at position %d", log.position())
    yield
    app.state.live.stop()
    housekeeping.cancel()
    log.close()


def build() -> FastAPI:
    """The HTTP application, made anew in each replica."""
    gc.disable()  # until all is imported: what that makes stays, and is never looked through again
    try:
        return _composed()
    finally:
        gc.freeze()
        gc.enable()


def _composed() -> FastAPI:
    from fastapi_offline import FastAPIOffline

    import actors.routes
    import projections.routes
    from actors.routes import document, pages, paths, problems

    app = FastAPIOffline(
        redoc_url=None,
        title="Geti Action Backend",
        description="Record robot demonstrations, keep them safe, train policies on them.",
        version="0.1.0",
        lifespan=lifespan,
        strict_content_type=False,  # a body without a type is JSON; foreign pages are kept out by the guard
    )
    problems.install(app)
    document.install(app)
    paths.end_ids_at_colons()
    _guard(app, settings())
    # Routes are tried one after the other: GETs, which are many, come first, and no router lies in another.
    for router in (*projections.routes.routers, *actors.routes.routers):
        app.include_router(router)
    pages.install(app)
    return app


def _guard(app: FastAPI, config: Settings) -> None:
    from actors.routes.as_of import AsOf
    from actors.routes.guard import Guard
    from actors.routes.position import LogPosition
    from actors.routes.single import Single

    app.add_middleware(AsOf)
    app.add_middleware(Single)
    app.add_middleware(LogPosition)
    hosts = frozenset({*LOOPBACK, config.host}) if config.host in LOOPBACK else frozenset[str]()
    app.add_middleware(Guard, config.address, hosts=hosts, origins=frozenset(config.cors_origins))
    app.add_middleware(
        CORSMiddleware,
        allow_origins=config.cors_origins,
        allow_credentials=True,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )


@serve.deployment(
    name="api",
    max_ongoing_requests=1000,
    graceful_shutdown_timeout_s=5,
    graceful_shutdown_wait_loop_s=0.5,
    ray_actor_options={"num_cpus": 0},
    logging_config={"log_level": "WARNING", "enable_access_log": False},
)
@serve.ingress(build)
class Api:
    """The HTTP face. Holds nothing: any replica can answer any request."""

    async def end_streams(self) -> None:
        """Called before the end, which waits for requests that are going on."""
        cast("FastAPI", self.app).state.live.stop()  # type: ignore[attr-defined]


app = cast("serve.Deployment", Api).options(num_replicas=settings().replicas).bind()
