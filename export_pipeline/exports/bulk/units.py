"""Planning a bulk export: its tables, one for each project, and its units, one for each of their UTC days."""

import math
import time
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import sqlalchemy as sa

from export_pipeline.exports.bulk.records import BulkExport, unit_id
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord, project_of
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, exports, projects
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.destinations.records import read_destination
from export_pipeline.runs.schema import select_fields
from export_pipeline.runs.times import microseconds

BULK = "bulk"
MOST_AT_ONCE = 5_000
"""Units that are planned in the transaction that creates their export; the sensor plans larger exports."""


def projects_of(transaction: Transaction, export: BulkExport) -> list[ProjectRecord]:
    """The projects that an export covers, by id: the one it names, or every experiment of its workspace."""
    return covered_projects(transaction, tenant_id=export.tenant_id, session_id=export.session_id)


def covered_projects(
    transaction: Transaction, *, tenant_id: uuid.UUID, session_id: uuid.UUID | None
) -> list[ProjectRecord]:
    """The workspace's project of this id, or every experiment of it where there is no id."""
    query = sa.select(projects).where(projects.c.tenant_id == tenant_id)
    if session_id is not None:
        query = query.where(projects.c.session_id == session_id)
    else:
        query = query.where(projects.c.is_experiment, projects.c.removed_at.is_(None))
    rows = transaction.execute(query.order_by(projects.c.session_id)).mappings()
    return [project_of(row) for row in rows]


def units_to_plan(transaction: Transaction, export: BulkExport) -> int:
    """How many units an export will have."""
    return len(projects_of(transaction, export)) * export.window.day_count


def plan_units(control: ControlDatabase, export: BulkExport, *, seconds: float = math.inf) -> None:
    """Records the tables and units of an export, a project at a time, for about as long as `seconds`.

    To be called again after a crash, or where the time was not enough: what is recorded is left alone.
    """
    deadline = time.monotonic() + seconds
    with control.read() as transaction:
        covered = projects_of(transaction, export)
    for project in covered:
        if time.monotonic() > deadline:
            return
        control.run(partial(_plan_project, export=export, project=project))
    control.run(lambda transaction: finish_planning(transaction, export))


def plan_all(transaction: Transaction, export: BulkExport) -> None:
    """The same in the caller's transaction."""
    for project in projects_of(transaction, export):
        _plan_project(transaction, export, project)
    finish_planning(transaction, export)


def finish_planning(transaction: Transaction, export: BulkExport) -> None:
    """Says that all units are recorded; an export of no project at all is Completed with that."""
    here = sa.and_(bulk_exports.c.id == export.id, bulk_exports.c.planned_at.is_(None))
    changed = transaction.execute(sa.update(bulk_exports).where(here).values(planned_at=transaction.now_sql))
    units = sa.select(bulk_units.c.id).where(bulk_units.c.bulk_id == export.id).limit(1)
    if changed.rowcount and transaction.execute(units).first() is None:
        ended = {"status": "Completed", "finished_at": transaction.now_sql, "updated_at": transaction.now_sql}
        unfinished = bulk_exports.c.status == "Created"
        transaction.execute(sa.update(bulk_exports).where(bulk_exports.c.id == export.id, unfinished).values(ended))


def _plan_project(transaction: Transaction, export: BulkExport, project: ProjectRecord) -> None:
    export_id = uuid.uuid5(export.id, str(project.session_id))
    if transaction.execute(sa.select(exports.c.export_id).where(exports.c.export_id == export_id)).first():
        return
    now = transaction.now()
    place = read_destination(transaction, export.destination_id, tenant_id=None, hold=True).config
    transaction.execute(
        sa.insert(exports).values(
            export_id=export_id,
            kind=BULK,
            project=project.project,
            tenant_key=project.tenant_key,
            untold=project.untold,
            tenant_id=project.tenant_id,
            session_id=project.session_id,
            bucket=place.bucket,
            prefix=place.prefix,
            endpoint_url=place.endpoint_url,
            region=place.region,
            format_version=export.format_version,
            compression=export.compression,
            fields=[field.name for field in select_fields(export.export_fields)],
            created_at=now,
            layout_id=export.id,
            filter=export.filter,
            bulk_id=export.id,
            destination_id=export.destination_id,
        )
    )
    for rows in _in_chunks(_unit_rows(export, project, export_id, now)):
        transaction.execute(sa.insert(bulk_units), rows)


def _unit_rows(export: BulkExport, project: ProjectRecord, export_id: uuid.UUID, now: int) -> Iterator[dict[str, Any]]:
    for day in export.window.days():
        yield {
            "id": unit_id(export.id, project.session_id, day.day),
            "bulk_id": export.id,
            "export_id": export_id,
            "session_id": project.session_id,
            "day": day.day,
            "start_at": microseconds(day.window.start),
            "end_at": microseconds(day.window.end),
            "status": "Created",
            "attempt": 0,
            "first_attempt": 0,
            "errors": {},
            "created_at": now,
            "updated_at": now,
        }


def _in_chunks(rows: Iterable[dict[str, Any]], size: int = 1000) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
