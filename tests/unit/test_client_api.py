"""The client on loopback: what it repeats, and that it never asks for the same thing twice."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from client.api import Api, Refused

Said = list[tuple[str, str | None]]


@pytest.fixture
def answers() -> list[tuple[int, dict[str, str]]]:
    """What the server says next: status and headers."""
    return []


@pytest.fixture
def said() -> Said:
    """What it was asked: method and key."""
    return []


@pytest.fixture
def api(answers: list[tuple[int, dict[str, str]]], said: Said) -> Iterator[Api]:
    class Server(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said.append((self.command, self.headers.get("Idempotency-Key")))
            status, headers = answers.pop(0)
            body = json.dumps({"detail": "said so"}).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Not to the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        api = Api(f"http://127.0.0.1:{server.server_port}")
        yield api
        api.close()
        server.shutdown()
        serving.join()


def test_a_busy_server_is_asked_again_for_the_same(
    api: Api, answers: list[tuple[int, dict[str, str]]], said: Said
) -> None:
    busy = (503, {"Retry-After": "0"})
    answers += [busy, busy, (201, {}), (201, {}), busy, (200, {})]
    api.post("/projects", {"name": "lab"})
    first = {key for _, key in said}
    assert (len(said), len(first)) == (3, 1)
    assert None not in first
    api.post("/projects", {"name": "lab"})
    assert said[-1][1] not in first, "another wish has another key"
    api.get("/projects")
    assert [method for method, _ in said[-2:]] == ["GET", "GET"]


def test_what_will_not_pass_is_told_at_once(api: Api, answers: list[tuple[int, dict[str, str]]], said: Said) -> None:
    answers += [(503, {})]
    with pytest.raises(Refused, match="said so"):
        api.post("/recordings")
    assert len(said) == 1
