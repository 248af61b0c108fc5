"""Composition: settings, the log, both routers, error handlers and the console, in one Ray Serve deployment.

``serve run serve_app:app`` serves it; ``geti-action serve`` does the same with a Ray of its own. Only the replicas
import what they are composed of: the process that starts them would spend seconds on what it never uses.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import orjson
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_redoc_html
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from ray import serve

from settings import LOOPBACK, PROJECT, Settings, settings

CONSOLE = PROJECT / "console"
OFFLINE = "/static-offline-docs"
_COPIED = (
    "Ray serves a temporary copy of the project, and what is recorded there would be lost. Start it with ./run.sh, or "
    "set RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 before `uv run serve run`."
)
EXPOSED = ["Location", "Link", "ETag", "X-Log-Position", "X-Total-Count", "Retry-After"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Bring the tables up to date, wake what was going on, and only then be ready."""
    from actors.as_of import Past
    from actors.care.opening import open_database
    from actors.entity import configure_logging
    from actors.gateway import Gateway
    from actors.housekeeping import keep_house
    from actors.live.stream import Live
    from actors.log import Log
    from actors.sample import make_sample

    if "working_dir_files" in PROJECT.parts:
        raise RuntimeError(_COPIED)
    configure_logging()
    config = settings()
    config.storage_dir.mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread(open_database, config.database_url, config.storage_dir)
    log = Log(config.database_url)
    app.state.engine = log.engine
    app.state.gateway = Gateway(log)
    app.state.past, app.state.live = Past(log), Live(log)
    housekeeping = asyncio.create_task(keep_house(log))
    if config.seed_db:
        await make_sample(app.state.gateway)
    app.state.gateway.resume()
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
    from actors.routes import document, paths, problems

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
    app.add_api_route("/api/openapi.json", _openapi, include_in_schema=False)
    app.add_api_route("/redoc", _redoc, include_in_schema=False)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/console", StaticFiles(directory=CONSOLE), name="console")
    return app


def _guard(app: FastAPI, config: Settings) -> None:
    from actors.routes.as_of import AsOf
    from actors.routes.guard import Guard
    from actors.routes.position import LogPosition

    app.add_middleware(AsOf)
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


async def _openapi(request: Request) -> Response:
    return Response(media_type="application/json", content=orjson.dumps(request.app.openapi()))


async def _redoc(request: Request) -> Response:
    """ReDoc, without the logo that it would fetch from its makers."""
    page = get_redoc_html(
        openapi_url="/openapi.json",
        title=request.app.title,
        redoc_js_url=f"{OFFLINE}/redoc.standalone.js",
        redoc_favicon_url=f"{OFFLINE}/favicon.png",
        with_google_fonts=False,
    )
    page.headers["Content-Security-Policy"] = "img-src 'self' data:"
    return page


async def _page() -> FileResponse:
    return FileResponse(CONSOLE / "index.html", headers={"Cache-Control": "no-cache"})


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
