"""HTTP to commands: parse ─► command ─► gateway ─► reply."""

from fastapi import APIRouter

from actors.routes import cameras, jobs, projects, recordings, system

router = APIRouter()
for room in (projects, cameras, recordings, jobs, system):
    router.include_router(room.router)
