"""Standing exports: one table per project that gathers all of its days, kept as long as the settings name its place."""

import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import SettingsError, UnknownProjectError
from export_pipeline.exports.access import audit
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord, TableRecord, table_of
from export_pipeline.exports.control.tables import exports, projects
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.registry import list_projects
from export_pipeline.exports.projects.standing_place import with_place
from export_pipeline.runs.schema import DEFAULT_FIELDS
from export_pipeline.settings import PREFIX, Settings

STANDING = "standing"


@dataclass(frozen=True)
class ChangedTable:
    """A standing table whose place or form the settings no longer name, so that the next day begins a new table.

    `changes` are sentences such as "EXPORT_PIPELINE_PREFIX is 'b' and was 'a'".
    """

    project: ProjectRecord
    table: TableRecord
    changes: tuple[str, ...]


def standing_table(control: ControlDatabase, project: ProjectRecord, settings: Settings) -> TableRecord:
    """The project's standing table at the place and in the form that the settings name; begun where there is none.

    Where the settings have changed, the table so far is superseded: it stays as it is, and another export id begins.
    Going back to the former settings goes on with the former table. Of several processes that do this at once all get
    the same export.
    """
    if (table := current_table(control, project, settings)) is not None:
        return table
    return control.run(lambda transaction: _take_or_begin(transaction, project, settings))


def current_table(control: ControlDatabase, project: ProjectRecord, settings: Settings) -> TableRecord | None:
    """The project's standing table where it is the one that the settings name; begins nothing."""
    with control.read() as transaction:
        settings = with_place(transaction, settings)
        tables = _standing(transaction, project)
    for table in tables:
        if table.superseded_at is None:
            same = table.destination_id == settings.destination_id and not _changes(project, table, settings)
            return table if same else None
    return None


def list_tables(control: ControlDatabase, project: ProjectRecord | None = None) -> list[TableRecord]:
    """All standing tables, superseded ones too, or those of one project; oldest first."""
    with control.read() as transaction:
        return sorted(_standing(transaction, project), key=lambda export: (export.created_at, export.export_id))


def find_table(control: ControlDatabase, export_id: uuid.UUID) -> TableRecord | None:
    """An export of any kind by its id."""
    with control.read() as transaction:
        row = transaction.execute(sa.select(exports).where(exports.c.export_id == export_id)).mappings().first()
    return None if row is None else table_of(row)


def changed_tables(control: ControlDatabase, settings: Settings) -> list[ChangedTable]:
    """The standing tables of projects with an asset that would begin a new table at the next exported day."""
    known = {
        (project.tenant_id, project.session_id): project
        for project in list_projects(control, only_assets=True, settings=settings)
    }
    with control.read() as transaction:
        settings = with_place(transaction, settings)
    changed = []
    for table in list_tables(control):
        project = known.get((table.tenant_id, table.session_id))
        if table.superseded_at is None and project is not None and (changes := _changes(project, table, settings)):
            changed.append(ChangedTable(project, table, changes))
    return changed


def _take_or_begin(transaction: Transaction, project: ProjectRecord, settings: Settings) -> TableRecord:
    # The project's row is the lock: SQLite holds the whole database, PostgreSQL this row, until the transaction ends.
    here = sa.and_(projects.c.tenant_id == project.tenant_id, projects.c.session_id == project.session_id)
    locked = sa.select(projects.c.session_id).where(here).with_for_update()
    if transaction.execute(locked).first() is None:
        raise UnknownProjectError(
            f"the control database no longer knows project {project.name!r}; run `export-pipeline projects sync`"
        )
    settings = with_place(transaction, settings, hold=True)
    now = transaction.now()
    tables = _standing(transaction, project)
    fitting = next((table for table in tables if not _changes(project, table, settings)), None)
    for table in tables:
        if table is not fitting and table.superseded_at is None:
            _set(transaction, table, superseded_at=now)
            _audit(transaction, "export.supersede", table, at=now)
    if fitting is None:
        values = _new_export(project, settings, now)
        transaction.execute(sa.insert(exports).values(**values))
        begun = table_of(values)
        _audit(transaction, "export.begin", begun, at=now)
        return begun
    if fitting.superseded_at is not None:
        _audit(transaction, "export.use", fitting, at=now)
    _set(transaction, fitting, superseded_at=None, destination_id=settings.destination_id)
    row = transaction.execute(sa.select(exports).where(exports.c.export_id == fitting.export_id)).mappings().one()
    return table_of(row)


def _audit(transaction: Transaction, action: str, table: TableRecord, *, at: int) -> None:
    audit.record(
        transaction,
        at=at,
        tenant_id=table.tenant_id,
        actor="settings",
        action=action,
        subject=table.export_id,
        detail={"project": table.project, "bucket": table.bucket, "prefix": table.prefix},
    )


def _set(transaction: Transaction, table: TableRecord, **values: object) -> None:
    transaction.execute(sa.update(exports).where(exports.c.export_id == table.export_id).values(**values))


def _standing(transaction: Transaction, project: ProjectRecord | None) -> list[TableRecord]:
    """Standing exports, the one in use first, then the newest first."""
    query = sa.select(exports).where(exports.c.kind == STANDING)
    if project is not None:
        query = query.where(exports.c.tenant_id == project.tenant_id, exports.c.session_id == project.session_id)
    query = query.order_by(
        exports.c.superseded_at.is_not(None), exports.c.superseded_at.desc(), exports.c.created_at.desc()
    )
    return [table_of(row) for row in transaction.execute(query).mappings()]


def _place_and_form(project: ProjectRecord, settings: Settings) -> dict[str, Any]:
    return {
        "bucket": settings.bucket,
        "prefix": settings.prefix,
        "endpoint_url": settings.endpoint_url and settings.endpoint_url.rstrip("/"),
        "format_version": settings.format_version,
        "compression": settings.compression,
        "tenant_id": project.tenant_id,
    }


def _changes(project: ProjectRecord, table: TableRecord, settings: Settings) -> tuple[str, ...]:
    recorded = {name: getattr(table, name) for name in _place_and_form(project, settings)}
    return tuple(
        f"{_name(name, settings)} is {_quoted(value)} and was {_quoted(recorded[name])}"
        for name, value in _place_and_form(project, settings).items()
        if value != recorded[name]
    )


def _name(name: str, settings: Settings) -> str:
    if name == "tenant_id":
        return "the workspace"
    if settings.destination_id is not None and name in {"bucket", "prefix", "endpoint_url"}:
        return f"the {name} of destination {settings.destination_id}"
    return PREFIX + name.upper()


def _quoted(value: object) -> str:
    return "not set" if value is None else f"'{value}'"


def _new_export(project: ProjectRecord, settings: Settings, now: int) -> dict[str, Any]:
    if settings.bucket is None:
        raise SettingsError(f"{PREFIX}BUCKET is not set")
    return {
        **_place_and_form(project, settings),
        "export_id": uuid.uuid4(),
        "kind": STANDING,
        "project": project.project,
        "tenant_key": project.tenant_key,
        "untold": project.untold,
        "tenant_id": project.tenant_id,
        "session_id": project.session_id,
        "region": settings.region,
        "destination_id": settings.destination_id,
        "fields": list(DEFAULT_FIELDS),
        "created_at": now,
        "superseded_at": None,
    }
