"""HTTP to commands: parse ─► command ─► gateway ─► reply."""

from actors.routes import (
    audit,
    cameras,
    datasets,
    episodes,
    jobs,
    live,
    operations,
    projects,
    recordings,
    reference,
    system,
    trash,
)

_owners = (projects.router, datasets.router, episodes.router, cameras.router, recordings.router, jobs.router)
routers = (*_owners, operations.router, trash.router, reference.router, live.router, system.router, audit.router)
