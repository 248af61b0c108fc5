"""What was deleted and still takes room: datasets and models as a whole, whose files go when they are purged. The
deleted episodes of a dataset that is there are in its own trash (actors/purging.py)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from actors.codec import Unreadable
from actors.log import Log
from domain.dataset import Dataset
from domain.errors import NotFound
from domain.model import Model
from projections.tables import rfc3339

KINDS: tuple[tuple[type[Dataset | Model], str], ...] = ((Dataset, "datasets"), (Model, "models"))
"""What can be in it, and the folder in which the files of its kind are."""


class Trash:
    """That of one storage folder. What is deleted the log itself says, for a view may be parked."""

    def __init__(self, log: Log, storage: Path) -> None:
        self._log, self._storage = log, storage

    def listed(self) -> list[dict[str, Any]]:
        """{kind, id, name, project_id, deleted_at, size_bytes} of each. Raises Unavailable."""
        from actors.capture.durable import storage_errors
        from actors.capture.purge import would_free

        with storage_errors("look into the trash"):
            return [
                {
                    "kind": thing.kind,
                    "id": str(thing.id),
                    "name": thing.name,
                    "project_id": str(thing.project_id),
                    "deleted_at": rfc3339(self._log.stream(thing.id, after=thing.version - 1)[0].timestamp),
                    "size_bytes": would_free(place),
                }
                for thing, place in self._things()
            ]

    def purge(self, wanted: set[UUID] | None) -> dict[str, Any]:
        """{ids, freed_bytes} of these, or of all; and what a crash has left of others. Raises NotFound for one that is
        not in the trash: then nothing is purged; Unavailable."""
        from actors.capture.durable import storage_errors
        from actors.capture.purge import put_out_of_sight, remove_purged

        with storage_errors("empty the trash"):
            found = {thing.id: place for thing, place in self._things()}
            if missing := (wanted or set()) - found.keys():
                raise NotFound(f"There is no {min(missing)} in the trash.", code="trash_not_found")
            chosen = [id for id in found if wanted is None or id in wanted]
            for id in chosen:
                put_out_of_sight(found[id])
            freed = sum(remove_purged(self._storage / folder) for _, folder in KINDS)
        return {"ids": [str(id) for id in chosen], "freed_bytes": freed}

    def _things(self) -> Iterator[tuple[Dataset | Model, Path]]:
        for kind, folder in KINDS:
            root = self._storage / folder
            for place in sorted(root.iterdir()) if root.is_dir() else ():
                if (thing := self._deleted(kind, place.name)) is not None:
                    yield thing, place

    def _deleted(self, kind: type[Dataset | Model], name: str) -> Dataset | Model | None:
        """Nothing is known to be deleted whose events cannot be read."""
        try:
            thing = self._log.load(kind, UUID(name))
        except (NotFound, Unreadable, ValueError):
            return None
        return thing if thing.deleted else None
