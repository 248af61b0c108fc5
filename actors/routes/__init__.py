"""HTTP to commands: parse ─► command ─► gateway ─► reply."""

from actors.routes import audit, cameras, datasets, episodes, jobs, live, projects, recordings, system

_owners = (projects.router, datasets.router, episodes.router, cameras.router, recordings.router, jobs.router)
routers = (*_owners, live.router, system.router, audit.router)
