"""What happened: the events of all, those of one thing, and (``?at=``) how things stood at a position of the log."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from actors import codec
from actors.gateway import Gateway
from actors.history import Wanted, find
from actors.log import KINDS
from actors.routes.position import AT
from domain.errors import Invalid, NotFound
from projections.paging import MAX_LIMIT, Rows
from projections.routes.replies import AS_OF, COUNTED, SHOWS_PAST, many

RESOURCES = {
    "projects": "project",
    "cameras": "camera",
    "robots": "robot",
    "environments": "environment",
    "dataset": "dataset",
    "recordings": "recording",
    "jobs": "job",
    "models": "model",
    "operations": "operation",
}
NEWEST_ID = 2**63 - 1

Start = Annotated[int, Query(alias="from", ge=0, le=NEWEST_ID, description="log position to begin at")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]

router = APIRouter(prefix="/api", tags=["audit"])


@router.get("/events", response_model=list[dict[str, Any]], summary="List what happened", openapi_extra=COUNTED | AS_OF)
async def list_events(
    request: Request,
    aggregate: Annotated[str | None, Query(max_length=64, description="a thing's id")] = None,
    type: Annotated[str | None, Query(max_length=64, description="such as `camera` or `camera.lost`")] = None,
    start: Start = 0,
    limit: Limit = 100,
) -> Response:
    """Oldest first: `position`, `type`, whose it is (`aggregate`, `aggregate_id`, `version`), `at`, `by`, what
    led to it (`correlation_id`, `causation_id`, `traceparent`), and `data`, the event's own fields."""
    return await _listed(request, Wanted(_id(aggregate), _known(type)), start, limit)


def _history_of(kind: str) -> Callable[..., Awaitable[Response]]:
    async def history(request: Request, id: UUID, start: Start = 0, limit: Limit = MAX_LIMIT) -> Response:
        """Like `/api/events`, of this one thing, which may be deleted."""
        return await _listed(request, Wanted(id, kind), start, limit, else_missing=NotFound.of(kind, id))

    return history


for _resource, _kind in RESOURCES.items():
    router.add_api_route(
        f"/{_resource}/{{id}}/history",
        _history_of(_kind),
        response_model=list[dict[str, Any]],
        operation_id=f"{_kind}_history",
        summary=f"List what happened to one {_kind}",
        openapi_extra=COUNTED | AS_OF,
    )


async def _listed(
    request: Request, wanted: Wanted, start: int, limit: int, else_missing: NotFound | None = None
) -> Response:
    gateway: Gateway = request.app.state.gateway
    until = request.scope.get("state", {}).get(AT)
    if until is not None:
        request.scope["state"][SHOWS_PAST] = True
    rows = await asyncio.to_thread(_found, gateway, wanted._replace(until=until), start, limit)
    if else_missing is not None and not rows.total:
        raise else_missing
    return many(request, rows, cursor="from")


def _found(gateway: Gateway, wanted: Wanted, start: int, limit: int) -> Rows:
    with gateway.log.engine.connect() as connection:
        return find(connection, wanted, start, limit)


def _id(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise Invalid("`aggregate` takes the id of a project, a camera, a job …", code="invalid_id") from None


def _known(type: str | None) -> str | None:
    if type is not None and type not in KINDS and not codec.knows(type):
        raise Invalid(
            f"There are no events of {type!r}; all begin with one of {', '.join(KINDS)}.", code="unknown_event_type"
        )
    return type
