"""A cluster that was there before us: its nodes have environments of their own and serve by this command's settings."""

import json
import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy import make_url

from launch.claims import CLAIM, CannotStart
from settings import Settings

APPLICATION = "geti-action"
OWN = frozenset({"media_roots"})
"""A node may have films of its own, so it hears of these only where somebody has set them."""


def environment(config: Settings) -> dict[str, str]:
    """What every process of ours on every node gets: the claim, and all settings of this command but its secrets, for
    Ray shows what it passes on. Raises CannotStart where it is given secrets to pass on."""
    given = {name.lower() for name, value in os.environ.items() if value}
    passed = {CLAIM: os.environ[CLAIM]}
    for name in Settings.model_fields:
        value = getattr(config, name)
        if _is_secret(name, value):
            if name in given:
                raise CannotStart(_UNSHARED.format(name=name.upper()))
        elif name not in OWN or name in config.model_fields_set:
            passed[name.upper()] = _text(value)
    return passed


_UNSHARED = (
    "{name} holds a secret, and a cluster shows its settings in its dashboard and logs. Put it in `.env` on every node "
    "and not in this command's environment (or PostgreSQL's password in ~/.pgpass, and leave it out of the address)."
)


def refuse_another() -> None:
    """Serve has one application of a name in a cluster, and ours would take the other's place. Raises CannotStart."""
    from ray import serve

    if APPLICATION in serve.status().applications:
        raise CannotStart(
            "This cluster serves Geti Action already. Stop that one where it was started; if it was killed there, "
            "`.venv/bin/serve shutdown -y` ends what is left of it."
        )


def end_owners() -> None:
    """A Ray of our own ends them with itself; in a cluster they would go on without a server."""
    import ray
    from ray.util import list_named_actors

    from actors.entity import NAMESPACE

    for actor in list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE:
            with suppress(ValueError):  # gone meanwhile
                ray.kill(ray.get_actor(actor["name"], namespace=NAMESPACE))


def _is_secret(name: str, value: object) -> bool:
    match name, value:
        case "database_url", str(url):
            return "://" in url and make_url(url).password is not None
        case "ice_servers", list(servers):
            return any("credential" in server for server in servers)
    return False


def _text(value: object) -> str:
    match value:
        case list():
            return json.dumps(value, default=str)
        case bool():
            return "true" if value else "false"
        case str() | Path() | int() | float():
            return str(value)
    raise TypeError(f"no setting has a {type(value).__name__}")
