"""The cameras, each with what its owner last said of the device."""

from collections.abc import Iterable

from domain.aggregate import DomainEvent
from domain.camera import Camera, CameraStatus
from projections.changes import Change, Drop, Patch, Put, Row, patch, touched
from projections.tables import cameras, rfc3339

LISTENS_TO = (Camera.Event,)
TABLES = (cameras,)


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Camera.Created():
            ids = {"id": str(event.originator_id), "project_id": str(event.project_id)}
            row = ids | _configuration(event) | _state(event, CameraStatus.OFFLINE)
            yield Put(cameras, row | {"created_at": rfc3339(event.timestamp)} | touched(position, event))
        case Camera.Changed():
            yield patch(cameras, position, event, **_configuration(event))
        case Camera.Deleted():
            yield Drop(cameras, {"id": str(event.originator_id)})
        case _:
            yield _reported(position, event)


def _reported(position: int, event: DomainEvent) -> Patch:
    match event:
        case Camera.Connecting(node=node):
            state = _state(event, CameraStatus.CONNECTING, node=node)
        case Camera.Streaming(node=node, width=width, height=height):
            state = _state(event, CameraStatus.STREAMING, node=node, width=width, height=height)
        case Camera.Lost(status=status, reason=reason):
            state = _state(event, status, reason=reason)
            del state["node"]  # the device is lost to the node that had it, which goes on looking for it
        case Camera.Disconnected(reason=reason):
            state = _state(event, CameraStatus.OFFLINE, reason=reason)
        case _:
            state = {}
    return patch(cameras, position, event, **state)


def _configuration(event: Camera.Created | Camera.Changed) -> Row:
    said = {"name": event.name, "driver": event.driver, "fingerprint": event.fingerprint, "payload": event.payload}
    return said | {"updated_at": rfc3339(event.timestamp)}


def _state(event: DomainEvent, status: CameraStatus, **known: str | int) -> Row:
    nothing: Row = {"reason": None, "width": None, "height": None, "node": None}
    return nothing | known | {"status": status.value, "since": rfc3339(event.timestamp)}
