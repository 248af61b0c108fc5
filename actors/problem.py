"""The form of every error that goes out: application/problem+json (RFC 9457)."""

from typing import Any

import orjson
from starlette.responses import Response

AGAIN = {"Retry-After": "2"}
"""Header of an answer that says that it will be better in a few seconds."""


def problem(
    path: str, status: int, code: str, title: str, detail: str, headers: dict[str, str] | None = None, **extra: Any
) -> Response:
    """A problem document, with the older clients' error_code, message and http_status in it."""
    document = {
        "type": f"urn:geti-action:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": path,
        "error_code": code,
        "message": detail,
        "http_status": status,
        **extra,
    }
    return Response(orjson.dumps(document), status, headers, "application/problem+json")
