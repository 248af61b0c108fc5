"""Health, readiness, and the settings a client may know."""

from typing import Any

from fastapi import APIRouter, Request, Response

from actors import disk
from actors.entity import roll_call
from actors.gateway import Gateway
from actors.log import Log
from actors.routes.answers import fails
from domain.errors import Unavailable
from projections.fold import Standing
from projections.tables import rfc3339
from settings import settings

router = APIRouter(prefix="/api", tags=["system"])


@router.get("/health", summary="Get the state of the server")
async def health(request: Request) -> dict[str, Any]:
    """{status ok|degraded, problems [{what, since, detail}], log, views, actors, disk_free_bytes}."""
    gateway: Gateway = request.app.state.gateway
    views = gateway.log.views()
    actors = await roll_call()
    problems = [_stale(gateway.log, name, view) for name, view in views.items() if view.is_behind]
    problems += [
        {"what": f"event {position}", "since": rfc3339(met.since), "detail": met.error.detail}
        for position, met in gateway.log.unread.still().items()
    ]
    problems += [
        {"what": actor["name"], "since": None, "detail": f"its process is {actor['state'].lower()}"}
        for actor in actors
        if actor["state"] not in ("ALIVE", "DEPENDENCIES_UNREADY", "PENDING_CREATION")
    ]
    if (warning := disk.warning()) is not None:
        problems.append({"what": "disk", "since": None, "detail": warning})
    return {
        "status": "degraded" if problems else "ok",
        "problems": problems,
        "log": {"position": gateway.log.position()},
        "views": {name: view.position for name, view in views.items()},
        "actors": actors,
        "disk_free_bytes": disk.free_bytes(),
    }


def _stale(log: Log, name: str, view: Standing) -> dict[str, Any]:
    """A view that shows things as they were: it lacks what happened ``since``."""
    moment = log.moment_behind(view.position)
    why = f"is parked, because it cannot take in {view.parked_reason}" if view.parked_reason else "is not built yet"
    todo = f"Its answers are of position {view.position}, until you mend it and run: geti-action rebuild {name}"
    return {"what": f"view {name}", "since": moment and rfc3339(moment), "detail": f"{why}. {todo}"}


@router.get("/ready", status_code=204, summary="Ask whether commands are served", responses=fails(Unavailable))
async def ready(request: Request) -> Response:
    """204 once commands can be served, 503 until then."""
    if not getattr(request.app.state, "ready", False):
        raise Unavailable("Starting; ask again in a moment.")
    return Response(status_code=204)


@router.get("/settings", summary="Get the public settings")
async def public_settings() -> dict[str, Any]:
    """What a client may know of the server's settings; no secrets, no paths."""
    return settings().model_dump(mode="json", include={"log_level", "cors_origins", "max_viewers", "port"})
