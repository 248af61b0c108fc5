"""The plain GETs: what the tables answer without asking any owner. ``app.state.engine`` is the engine they read."""

from fastapi import APIRouter

from projections.routes import devices, learning, projects

router = APIRouter()
for part in (projects, devices, learning):
    router.include_router(part.router)
