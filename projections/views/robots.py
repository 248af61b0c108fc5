"""The robots, each with whether its owner has it."""

from collections.abc import Iterable

from domain.aggregate import DomainEvent
from domain.robot import Robot, RobotStatus
from projections.changes import Change, Drop, Put, Row, patch, touched
from projections.tables import rfc3339, robots

LISTENS_TO = (Robot.Event,)
TABLES = (robots,)


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Robot.Created():
            ids = {"id": str(event.originator_id), "project_id": str(event.project_id)}
            state = {"connection_status": RobotStatus.OFFLINE.value, "created_at": rfc3339(event.timestamp)}
            yield Put(robots, ids | _configuration(event) | state | touched(position, event))
        case Robot.Changed():
            yield patch(robots, position, event, **_configuration(event))
        case Robot.Connected():
            yield patch(robots, position, event, connection_status=RobotStatus.ONLINE.value)
        case Robot.Failed():
            yield patch(robots, position, event, connection_status=RobotStatus.ERROR.value)
        case Robot.Disconnected():
            yield patch(robots, position, event, connection_status=RobotStatus.OFFLINE.value)
        case Robot.Deleted():
            yield Drop(robots, {"id": str(event.originator_id)})
        case _:
            yield patch(robots, position, event)


def _configuration(event: Robot.Configured) -> Row:
    return {"name": event.name, "type": event.type, "payload": event.payload}
