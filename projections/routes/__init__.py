"""The plain GETs: what the tables answer without asking any owner. ``app.state.engine`` is the engine they read."""

from projections.routes import devices, learning, projects

routers = (projects.router, *devices.routers, learning.router)
