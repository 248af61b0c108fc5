from pathlib import Path

import pytest
from fastapi import FastAPI

import serve_app


async def test_a_temporary_copy_of_the_project_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray makes one for whoever starts it by ``uv run``: what is recorded there would be gone with it."""
    monkeypatch.setattr(serve_app, "PROJECT", Path("/tmp/ray/runtime_resources/working_dir_files/_ray_pkg_1"))
    with pytest.raises(RuntimeError, match=r"./run\.sh"):
        async with serve_app.lifespan(FastAPI()):
            pass
