"""The pages that people open: the console, ReDoc, and the document that it shows. All of it is served from here, for a
robot's bench may have no internet."""

import orjson
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from settings import PROJECT

CONSOLE = PROJECT / "console"
OFFLINE = "/static-offline-docs"


def install(app: FastAPI) -> None:
    app.add_api_route("/api/openapi.json", _openapi, include_in_schema=False)
    app.add_api_route("/redoc", _redoc, include_in_schema=False)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/console", StaticFiles(directory=CONSOLE), name="console")


async def _openapi(request: Request) -> Response:
    return Response(media_type="application/json", content=orjson.dumps(request.app.openapi()))


async def _redoc(request: Request) -> Response:
    """ReDoc, without the logo that it would fetch from its makers."""
    page = get_redoc_html(
        openapi_url="/openapi.json",
        title=request.app.title,
        redoc_js_url=f"{OFFLINE}/redoc.standalone.js",
        redoc_favicon_url=f"{OFFLINE}/favicon.png",
        with_google_fonts=False,
    )
    page.headers["Content-Security-Policy"] = "img-src 'self' data:"
    return page


async def _page() -> FileResponse:
    return FileResponse(CONSOLE / "index.html", headers={"Cache-Control": "no-cache"})
