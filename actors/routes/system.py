"""Health, readiness, and the settings a client may know."""

import shutil
from typing import Any

from fastapi import APIRouter, Request, Response

from actors.entity import roll_call
from actors.gateway import Gateway
from domain.errors import Unavailable
from settings import settings

LOW_DISK_BYTES = 2_000_000_000

router = APIRouter(prefix="/api", tags=["system"])


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """{status ok|degraded, problems [{what, since, detail}], log, views, actors, disk_free_bytes}."""
    gateway: Gateway = request.app.state.gateway
    free = shutil.disk_usage(settings().storage_dir).free
    position, views = gateway.log.position(), gateway.log.view_positions()
    actors = await roll_call()
    problems = [
        {"what": f"view {view}", "since": None, "detail": f"is at {at} of {position}; run geti-action rebuild"}
        for view, at in views.items()
        if at > position
    ]
    problems += [
        {"what": actor["name"], "since": None, "detail": f"its process is {actor['state'].lower()}"}
        for actor in actors
        if actor["state"] not in ("ALIVE", "DEPENDENCIES_UNREADY", "PENDING_CREATION")
    ]
    if free < LOW_DISK_BYTES:
        problems.append(
            {"what": "disk", "since": None, "detail": f"only {free / 1e9:.1f} GB are free; delete something"}
        )
    return {
        "status": "degraded" if problems else "ok",
        "problems": problems,
        "log": {"position": position},
        "views": views,
        "actors": actors,
        "disk_free_bytes": free,
    }


@router.get("/ready")
async def ready(request: Request) -> Response:
    """204 once commands can be served, 503 until then."""
    if not getattr(request.app.state, "ready", False):
        raise Unavailable("Starting; ask again in a moment.")
    return Response(status_code=204)


@router.get("/settings")
async def public_settings() -> dict[str, Any]:
    """What a client may know of the server's settings; no secrets, no paths."""
    return settings().model_dump(mode="json", include={"log_level", "cors_origins", "max_viewers", "port"})
