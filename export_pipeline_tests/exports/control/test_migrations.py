"""What a migration makes of what an older version has written."""

import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy as sa

from export_pipeline.exports.control import tables
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.engine import create_sqlite_file


def test_rejected_rows_of_what_is_committed_are_taken_from_its_manifests(empty_url: str) -> None:
    control = ControlDatabase(empty_url)
    if control.is_sqlite:
        create_sqlite_file(control.url, timeout=5.0)
    upgrade(control, "0003")
    rejected = {"count": 3, "by_reason": {"total_cost: not a number": 3}, "rows": []}
    manifests: list[dict[str, Any]] = [
        {"rows": 5, "rejected": rejected},
        {"rows": 7, "rejected": {"count": 0, "by_reason": {}}},
        {"rows": 9},
    ]
    bulk_id, export_id = str(uuid.uuid4()), str(uuid.uuid4())
    with control.begin() as connection:
        for name, row in old_rows(bulk_id, export_id):
            connection.execute(sa.insert(sa.table(name, *map(sa.column, row))).values(**row))
        for number, manifest in enumerate(manifests):
            day = date(2026, 3, 1 + number)
            insert_old(connection.connection, day, manifest, bulk_id=bulk_id, export_id=export_id)
    control.migrate()
    with control.read() as connection:
        for table in (tables.days, tables.bulk_units):
            query = sa.select(table.c.rows_rejected, table.c.rejected).order_by(table.c.day)
            assert connection.execute(query).all() == [(3, {"total_cost: not a number": 3}), (None, None), (None, None)]
    control.close()


def upgrade(control: ControlDatabase, version: str) -> None:
    """Brings an empty database to an older version."""
    config = alembic.config.Config()
    config.set_main_option("script_location", "export_pipeline.exports.control:migrations")
    config.set_main_option("path_separator", "os")
    with control.begin() as connection:
        config.attributes["connection"] = connection.connection
        alembic.command.upgrade(config, version)


def old_rows(bulk_id: str, export_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A bulk export and its table, as an older version has written them."""
    ids = {"tenant_id": str(uuid.uuid4()), "session_id": str(uuid.uuid4())}
    form = {"format_version": "v1", "compression": "none", "created_at": 1}
    asked = {
        "all_experiments": False,
        "start_at": 1,
        "reexport_late": False,
        "status": "Completed",
        "created_by": "cli",
    }
    yield (
        "bulk_exports",
        {"id": bulk_id, **ids, **form, **asked, "destination_id": export_id, "status": "Completed", "updated_at": 1},
    )
    place = {"kind": "bulk", "project": "p", "bucket": "b", "prefix": "", "fields": "[]", "bulk_id": bulk_id}
    yield "exports", {"export_id": export_id, **ids, **form, **place}


def insert_old(connection: sa.Connection, day: date, manifest: dict[str, Any], *, bulk_id: str, export_id: str) -> None:
    """A committed day and its unit, as an older version has written them."""
    named = {"export_id": export_id, "status": "Completed", "updated_at": 1}
    columns = ["export_id", "status", "updated_at", "epoch", "day", "manifest"]
    days = sa.table("days", *map(sa.column, columns[:4]), sa.column("day", sa.Date), sa.column("manifest", tables.JSON))
    connection.execute(sa.insert(days).values(**named, epoch=1, day=day, manifest=manifest))
    unit = {"id": str(uuid.uuid4()), "bulk_id": bulk_id, "session_id": export_id, "created_at": 1, "errors": "{}"}
    numbers = {"start_at": 1, "end_at": 2, "attempt": 0, "first_attempt": 0}
    row = {**named, **unit, **numbers}
    units = sa.table("bulk_units", *map(sa.column, row), sa.column("day", sa.Date))
    connection.execute(sa.insert(units).values(**row, day=day))
