"""The HTTP API from the outside: JSON in, JSON out, and a problem document raised as an error a person can read."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx

BUSY = (503,)
RETRY_S = 60.0


class Refused(Exception):
    """The server said no; the text is its ``detail``."""


class Api:
    """Talks to one server. Waits and tries again while an owner restarts (503 with Retry-After): by one key a POST, so
    that nothing is done twice."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=f"{url}/api", timeout=90)

    def get(self, path: str) -> Any:
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._call("POST", path, body or {})

    def delete(self, path: str) -> None:
        self._call("DELETE", path, None)

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def is_up(self) -> bool:
        """Whether a server answers there and is ready."""
        try:
            return self._http.get("/ready", timeout=2).status_code == 204
        except httpx.TransportError:
            return False

    def until(self, path: str, done: Callable[[Any], bool], tell: Callable[[Any], None], every_s: float = 0.5) -> Any:
        """Poll ``path`` until ``done`` of it; ``tell`` sees every answer."""
        while True:
            found = self.get(path)
            tell(found)
            if done(found):
                return found
            time.sleep(every_s)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        deadline = time.monotonic() + RETRY_S
        headers = {"Idempotency-Key": str(uuid4())} if method == "POST" else {}
        while True:
            reply = self._http.request(method, path, json=body, headers=headers)
            if reply.status_code not in BUSY or "Retry-After" not in reply.headers or time.monotonic() > deadline:
                break
            time.sleep(float(reply.headers["Retry-After"]))
        if reply.is_error:
            raise Refused(f"{method} {path}: {_detail(reply)}")
        return reply.json() if reply.content else None


def _detail(reply: httpx.Response) -> str:
    try:
        return str(reply.json()["detail"])
    except (ValueError, KeyError):
        return f"HTTP {reply.status_code}"
