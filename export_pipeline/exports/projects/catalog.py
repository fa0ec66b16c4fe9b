"""Keeps `projects.json` of a bucket like the control database: the list by which readers find a project's table.

It is a copy that anybody may lose: nothing here stands in the way of a day. What could not be written is written with
the next commit or the next sync. Writers take no lock: each looks at the control database once more after it has
written, so that of several the newest state stays.
"""

import uuid
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa

from export_pipeline.errors import AccessDeniedError, DestinationError, ExportPipelineError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import days, exports, projects
from export_pipeline.exports.projects.standing import STANDING
from export_pipeline.files.catalog import (
    MAX_CATALOG_BYTES,
    Catalog,
    CatalogError,
    CatalogTable,
    NewerCatalogError,
    read_catalog,
)
from export_pipeline.files.paths import catalog_key, project_root
from export_pipeline.object_store.protocol import ObjectMissingError, ObjectStore

_PATIENCE = 5.0
"""For how many seconds a bucket that does not answer is asked again: somebody waits who needs nothing of this."""
_ROUNDS = 5


def write_catalog(control: ControlDatabase, store: ObjectStore, prefix: str) -> str | None:
    """Brings the catalog below a prefix up to date: one GET, and a PUT where it differs.

    Gives back a sentence where something is wrong with it, and raises nothing. Tables that the control database does
    not know are another deployment's, or of before a loss: they stay as they are listed.
    """
    where = f"s3://{store.config.bucket}/{catalog_key(prefix)}"
    try:
        return _write(control, store.with_patience(_PATIENCE), prefix, where)
    except ExportPipelineError as error:
        return f"{where} could not be brought up to date; the next commit or sync tries again. {error}"
    except Exception as error:  # noqa: BLE001 - a fault here must not fail the days that are committed
        return f"{where} could not be brought up to date: unexpected {type(error).__name__}"


def write_catalogs(
    control: ControlDatabase,
    open_store: Callable[[], AbstractContextManager[ObjectStore]],
    *,
    prefixes: Collection[str] | None = None,
) -> list[str]:
    """The same for every prefix of the bucket that has standing tables, or those of `prefixes` that have.

    Opens the bucket only where there are any; tells all sentences.
    """
    try:
        places = {(place, prefix) for place, prefix in _places(control) if prefixes is None or prefix in prefixes}
        if not places:
            return []
        with open_store() as store:
            here = sorted(prefix for place, prefix in places if place == _place_of(store))
            return [problem for prefix in here if (problem := write_catalog(control, store, prefix)) is not None]
    except ExportPipelineError as error:
        return [f"The list of projects in the bucket could not be brought up to date: {error}"]


def _write(control: ControlDatabase, store: ObjectStore, prefix: str, where: str) -> str | None:
    known = _known(control, store, prefix)
    for _ in range(_ROUNDS):
        stored = _stored(store, prefix)
        if stored.newer is not None:
            return f"{where} is left as it is: {stored.newer}. Upgrade export-pipeline here too."
        content = _merged(known, stored.tables).dump()
        if content == stored.body or (stored.body is None and not known.tables):
            return None
        if len(content) > MAX_CATALOG_BYTES:
            return f"{where} is not written: it would have more than {MAX_CATALOG_BYTES:,} bytes."
        written = _put(store, prefix, content, stored)
        before, known = known, _known(control, store, prefix)
        if written and known == before:
            return None if stored.problem is None else f"{where} {stored.problem}"
    return f"{where} is being written by others; the next commit or sync brings it up to date."


@dataclass(frozen=True)
class _Known:
    """What the control database says: the tables of this place, and the ids of all that were superseded."""

    tables: tuple[CatalogTable, ...]
    superseded: Collection[uuid.UUID]


@dataclass(frozen=True)
class _Stored:
    """What lies in the bucket. `body` is None where there is nothing, or nothing that may be read."""

    tables: tuple[CatalogTable, ...] = ()
    body: bytes | None = None
    etag: str | None = None
    newer: str | None = None
    problem: str | None = None
    readable: bool = True


def _known(control: ControlDatabase, store: ObjectStore, prefix: str) -> _Known:
    newest_day = (
        sa.select(days.c.day)
        .where(days.c.export_id == exports.c.export_id, days.c.commit_epoch.is_not(None))
        .order_by(days.c.day.desc())
        .limit(1)
        .scalar_subquery()
    )
    # A project that only `recover` has seen has no name yet.
    project = sa.and_(
        projects.c.tenant_id == exports.c.tenant_id,
        projects.c.session_id == exports.c.session_id,
        projects.c.last_seen_at > 0,
    )
    query = (
        sa.select(exports, projects.c.name, newest_day.label("newest_day"))
        .outerjoin(projects, project)
        .where(exports.c.kind == STANDING)
    )
    with control.read() as transaction:
        rows = transaction.execute(query).mappings().all()
    here = (_place_of(store), prefix)
    return _Known(
        tables=tuple(_table_of(row) for row in rows if row["name"] is not None and _place(row) == here),
        superseded=frozenset(row["export_id"] for row in rows if row["superseded_at"] is not None),
    )


def _table_of(row: sa.RowMapping) -> CatalogTable:
    export_id, tenant_id, session_id = (row[name] for name in ("export_id", "tenant_id", "session_id"))
    root = project_root(row["prefix"], export_id, tenant_id, session_id, row["format_version"])
    return CatalogTable(
        name=row["name"],
        project_id=row["project"],
        session_id=session_id,
        tenant_id=tenant_id,
        export_id=export_id,
        current=row["superseded_at"] is None,
        location=f"s3://{row['bucket']}/{root}",
        format_version=row["format_version"],
        compression=row["compression"],
        fields=tuple(row["fields"]),
        newest_day=row["newest_day"],
    )


def _stored(store: ObjectStore, prefix: str) -> _Stored:
    try:
        info, body = store.read_end(catalog_key(prefix), 0, MAX_CATALOG_BYTES + 1)
    except ObjectMissingError:
        return _Stored()
    except AccessDeniedError as error:
        return _Stored(readable=False, problem=f"was written without the tables of other deployments: {error}")
    except DestinationError as error:
        if error.code != "InvalidRange":
            raise
        return _Stored(body=b"", problem="was empty and has been written anew.")
    try:
        return _Stored(read_catalog(body).tables, body, info.etag)
    except NewerCatalogError as error:
        return _Stored(body=body, newer=str(error))
    except CatalogError as error:
        return _Stored(body=body, etag=info.etag, problem=f"was damaged and has been written anew: {error}.")


def _put(store: ObjectStore, prefix: str, content: bytes, stored: _Stored) -> bool:
    key = catalog_key(prefix)
    if not stored.readable or (stored.body is not None and not stored.etag):
        store.put(key, content)
        return True
    return store.put_over(key, content, stored.etag)


def _merged(known: _Known, stored: Iterable[CatalogTable]) -> Catalog:
    own = {table.export_id for table in known.tables}
    others = (table for table in stored if table.export_id not in own)
    return Catalog.of(
        [
            *known.tables,
            *(
                # A copied bucket lists tables that go on elsewhere.
                table.model_copy(update={"current": False}) if table.export_id in known.superseded else table
                for table in others
            ),
        ]
    )


Place = tuple[str, str | None]


def _places(control: ControlDatabase) -> set[tuple[Place, str]]:
    query = sa.select(exports.c.bucket, exports.c.endpoint_url, exports.c.prefix).where(exports.c.kind == STANDING)
    with control.read() as transaction:
        return {_place(row) for row in transaction.execute(query.distinct()).mappings()}


def _place(row: sa.RowMapping) -> tuple[Place, str]:
    return (row["bucket"], row["endpoint_url"]), row["prefix"]


def _place_of(store: ObjectStore) -> Place:
    return store.config.bucket, store.config.endpoint_url and store.config.endpoint_url.rstrip("/")
