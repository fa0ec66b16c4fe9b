"""What an export would be, without creating it."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from export_pipeline.exports.bulk.create import BulkExportRequest, refuse_impossible
from export_pipeline.exports.bulk.records import instant
from export_pipeline.exports.bulk.request import row_values
from export_pipeline.exports.bulk.units import covered_projects
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.exports.control.tables import days, exports
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.window import Window
from export_pipeline.settings import Settings
from export_pipeline.sources.protocol import RunSource


@dataclass(frozen=True)
class DryRun:
    """What would be exported; of a schedule: by its first child.

    `days` counts days of projects, the empty ones too. `estimated_bytes` comes from what these projects' exported rows
    take up; None where none is exported yet.
    """

    window: Window
    projects: int
    days: int
    rows: int
    estimated_bytes: int | None


def dry_run(
    control: ControlDatabase, source: RunSource, request: BulkExportRequest, *, tenant_id: uuid.UUID, settings: Settings
) -> DryRun:
    """Checks a request by every rule, counts its rows in the trace store, and stores nothing.

    Raises what `create_bulk_export` raises, and what the trace store does.
    """
    values = row_values(request)
    with control.read() as connection:
        refuse_impossible(connection, control, request, tenant_id=tenant_id, settings=settings)
        covered = covered_projects(connection, tenant_id=tenant_id, session_id=request.session_id)
        sizes = {project.session_id: _bytes_per_row(connection, project) for project in covered}
    start = instant(values["start_at"])
    hours = timedelta(hours=request.interval_hours or 0)
    window = Window(start, start + hours if values["end_at"] is None else instant(values["end_at"]))
    tree = None if request.filter is None else parse_filter(request.filter)
    rows = {
        project.session_id: sum(day.rows for day in source.days(project.key, window, filter=tree).values())
        for project in covered
    }
    known = [size for size in sizes.values() if size is not None]
    average = sum(known) / len(known) if known else None
    estimate = None if average is None else round(sum(n * (sizes[key] or average) for key, n in rows.items()))
    return DryRun(
        window=window,
        projects=len(covered),
        days=len(covered) * window.day_count,
        rows=sum(rows.values()),
        estimated_bytes=estimate,
    )


def _bytes_per_row(connection: sa.Connection, project: ProjectRecord) -> float | None:
    """What a row of the project takes up in the files that there are."""
    query = (
        sa.select(sa.func.sum(days.c.bytes), sa.func.sum(days.c.rows))
        .join(exports, exports.c.export_id == days.c.export_id)
        .where(
            exports.c.tenant_id == str(project.tenant_id),
            exports.c.session_id == str(project.session_id),
            days.c.rows > 0,
        )
    )
    size, rows = connection.execute(query).one()
    return float(size) / float(rows) if rows else None
