"""HTTP to commands: parse ─► command ─► gateway ─► reply."""

from actors.routes import audit, cameras, jobs, projects, recordings, system

routers = (projects.router, cameras.router, recordings.router, jobs.router, system.router, audit.router)
