"""The SELECTs that every kind of thing in a project needs: all of them, those of a project, one by its id."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, FromClause, Select, Table, bindparam, select

from domain.errors import NotFound
from projections import tables
from projections.changes import Row
from projections.paging import Listing, Page, Rows
from projections.statements import Query

Id = UUID | str
Columns = tuple[str, ...]
BY_AGE = ("created_at", "id")
OWNER, VERSION = "owner_", "version_"


class Found(dict[str, Any]):
    """One thing as its GET shows it. ``version`` is that of its aggregate, for the ETag."""

    version: int


def query(table: Table, columns: Columns, *by: str, order: Columns = BY_AGE) -> Query:
    """SELECT ``columns`` of the rows in which each column in ``by`` equals the parameter of its name."""
    chosen = select(*(table.c[name] for name in columns)).where(*(table.c[name] == bindparam(name) for name in by))
    return Query(chosen.order_by(*(table.c[name] for name in order)))


def listing(table: Table, columns: Columns, *by: str) -> Listing:
    """SELECT ``columns`` of the rows in which each column in ``by`` equals the parameter of its name, oldest first."""
    chosen = select(*(table.c[name] for name in columns)).where(*(table.c[name] == bindparam(name) for name in by))
    return by_age(chosen, table)


def by_age(chosen: Select[Any], table: FromClause) -> Listing:
    """The rows of ``chosen`` as a list, oldest first by the moment and id in ``table``."""
    return Listing(chosen, [table.c[name] for name in BY_AGE], first=("", ""))


def pick(row: Row, names: Columns) -> Row:
    return {name: row[name] for name in names}


def as_read(row: Row) -> Row:
    return row


class Kind:
    """One kind of thing: its table, the columns that are read of it, and the shape in which a row is shown."""

    def __init__(self, name: str, table: Table, columns: Columns, shape: Callable[[Row], Row] = as_read) -> None:
        self._name, self._shape = name, shape
        self._every = listing(table, columns)
        self._in_project = listing(table, columns, "project_id")
        picked = select(
            *(table.c[name] for name in columns), table.c.project_id.label(OWNER), table.c.version.label(VERSION)
        )
        self._by_id = Query(picked.where(table.c.id == bindparam("id")))

    def every(self, connection: Connection, page: Page | None = None) -> Rows:
        return self._every.rows(connection, page).shaped(self._shape)

    def of(self, connection: Connection, project_id: Id, page: Page | None = None) -> Rows:
        """Those of a project. Raises NotFound when there is no such project."""
        rows = self._in_project.rows(connection, page, project_id=str(project_id))
        if not rows:  # a thing in it shows that the project is there: its deletion takes them along
            project_exists(connection, project_id)
        return rows.shaped(self._shape)

    def one(self, connection: Connection, id: Id, project_id: Id | None = None) -> Found:
        """The one with this id. Raises NotFound, also when it is another project's than the one named."""
        rows = self._by_id.rows(connection, id=str(id))
        if not rows:
            raise NotFound.of(self._name, id)
        owner, version = rows[0].pop(OWNER), rows[0].pop(VERSION)
        if project_id is not None and owner != str(project_id):
            raise NotFound.of(self._name, id)
        return found(self._shape(rows[0]), version)


def found(shown: Row, version: int) -> Found:
    thing = Found(shown)
    thing.version = version
    return thing


_exists = Query(select(tables.projects.c.id).where(tables.projects.c.id == bindparam("id")))


def project_exists(connection: Connection, id: Id) -> None:
    """Raises NotFound when there is no such project."""
    if not _exists.rows(connection, id=str(id)):
        raise NotFound.of("project", id)
