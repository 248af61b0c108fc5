"""Every setting, read from the environment or `.env` in the base folder, here and nowhere else."""

import re
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from dotenv import dotenv_values
from pydantic import ByteSize, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PROJECT = Path(__file__).resolve().parent
"""Where the code is: a checkout, or the packages of an environment, which whoever removes that removes too."""
BASE = PROJECT if (PROJECT / "pyproject.toml").exists() else Path.home() / "geti-action"
"""Where data and `.env` are, unless told otherwise: the checkout, or a folder of the user's own."""
ENV_FILE = BASE / ".env"
EMBEDDED_POSTGRES = "embedded-postgres"
_ORIGIN = re.compile(r"https?://[^/?#\s]+")
_RELAY = re.compile(r"(stun|turn)s?:[^\s]")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class NotText(Exception):
    """The file of settings cannot be read, and what to do."""


class Settings(BaseSettings):
    """Relative paths count from the base folder, never from the current one."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", env_ignore_empty=True, frozen=True)

    database_url: str = Field(
        "sqlite+aiosqlite:///./geti_action.db",
        description="SQLite file, postgresql+asyncpg://user:pass@host/name, or embedded-postgres",
    )
    storage_dir: Path = Field(Path("data/storage"), description="Episodes, datasets, checkpoints and models")
    host: str = Field("127.0.0.1", description="Address to listen on; not a loopback one needs ALLOW_INSECURE=true")
    port: int = Field(8000, ge=1, le=65535, description="HTTP port")
    dashboard_port: int = Field(8265, ge=0, le=65535, description="Port of the Ray dashboard")
    cors_origins: Annotated[list[str], NoDecode] = Field(
        ["http://localhost:3000"], description="Browser origins that may call; JSON list or comma separated"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field("INFO", description="Verbosity")
    seed_db: bool = Field(False, description="Put a sample project there at the start (repeating changes nothing)")
    allow_insecure: bool = Field(False, description="Serve without authentication on an address others can reach")
    ice_servers: Annotated[list[dict[str, str | list[str]]], NoDecode] = Field(
        default_factory=list, description="STUN and TURN servers, JSON as in RTCIceServer (urls, username, credential)"
    )
    media_roots: Annotated[list[Path], NoDecode] = Field(
        [Path("data/media")], description="Folders whose videos a file camera may play; JSON list or comma separated"
    )
    max_viewers: int = Field(32, ge=1, le=1024, description="Viewers of one camera at a time")
    camera_rest_s: float = Field(30, ge=0, le=3600, description="Seconds after which a camera nobody needs is closed")
    min_free_record: ByteSize = Field(
        ByteSize(1_000_000_000), description="Recording stops when less of the storage folder's disk is free"
    )
    min_free_train: ByteSize = Field(
        ByteSize(3_000_000_000), description="Training stops when less is free: before recording has to"
    )
    haproxy: bool = Field(False, description="Ray Serve's HAProxy ingress: faster with small requests")
    replicas: int = Field(1, ge=1, le=64, description="API replicas (more than one wants PostgreSQL)")

    @field_validator("cors_origins", "media_roots", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return _json(value)
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("ice_servers", mode="before")
    @classmethod
    def _is_json(cls, value: object) -> object:
        return _json(value) if isinstance(value, str) else value

    @field_validator("ice_servers")
    @classmethod
    def _have_urls(cls, value: list[dict[str, str | list[str]]]) -> list[dict[str, str | list[str]]]:
        for server in value:
            urls = server.get("urls") or []
            if not urls or not all(_RELAY.match(url) for url in ([urls] if isinstance(urls, str) else urls)):
                raise ValueError('each needs urls that begin with stun: or turn:, as in [{"urls": "stun:host:3478"}]')
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: write scheme, host and port, as in http://localhost:3000")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("storage_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return BASE / value

    @field_validator("media_roots")
    @classmethod
    def _all_absolute(cls, value: list[Path]) -> list[Path]:
        return [BASE / path for path in value]

    @model_validator(mode="after")
    def _refuse_open_doors(self) -> Self:
        if self.host not in LOOPBACK and not self.allow_insecure:
            raise ValueError(
                f"HOST={self.host} can be reached by others and there is no authentication yet: "
                "set ALLOW_INSECURE=true if this network is trusted, or leave HOST at 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _training_stops_first(self) -> Self:
        if self.min_free_train < self.min_free_record:
            raise ValueError("MIN_FREE_TRAIN must not be less than MIN_FREE_RECORD: training stops before recording")
        return self

    @property
    def address(self) -> str:
        """Where people find the server."""
        host = "localhost" if self.host in LOOPBACK or self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://{host}:{self.port}"

    @property
    def datasets_dir(self) -> Path:
        return self.storage_dir / "datasets"

    @property
    def jobs_dir(self) -> Path:
        return self.storage_dir / "jobs"

    @property
    def models_dir(self) -> Path:
        return self.storage_dir / "models"


def _json(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not JSON ({error})") from None


@lru_cache
def settings() -> Settings:
    """The settings of this process, read once. Raises NotText."""
    try:
        return Settings()
    except UnicodeDecodeError as error:
        raise NotText(f"{ENV_FILE} is not UTF-8 text (at byte {error.start}): save it as UTF-8.") from None


def unknown_names() -> list[str]:
    """A line for each name in `.env` that is no setting: a slip of the pen would else pass for a setting."""
    known = [name.upper() for name in Settings.model_fields]
    names = [name for name in dotenv_values(ENV_FILE) if name.upper() not in known]
    return [f"{ENV_FILE} names {name}, which is no setting{_perhaps(name, known)}" for name in names]


def _perhaps(name: str, known: list[str]) -> str:
    close = get_close_matches(name.upper(), known, 1, cutoff=0.8)
    return f": did you mean {close[0]}?" if close else "; set it in the environment if another program should see it."
