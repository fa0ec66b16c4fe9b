"""What is measured of all workspaces, read from the control database when it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, days, exports
from export_pipeline.exports.watch.heartbeat import seconds_since_tick
from export_pipeline.exports.watch.overdue import progress
from export_pipeline.runs.times import SECOND
from export_pipeline.settings import Settings


@dataclass(frozen=True)
class Step:
    """How long a step of bulk exports' days has taken, over all days that have gone through it."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Measures:
    """One reading. `kind` is standing or bulk; `waiting` are days of bulk exports that have not begun."""

    rows: Mapping[str, int]
    bytes: Mapping[str, int]
    days: Mapping[tuple[str, str], int]
    overdue: Mapping[tuple[str, str], int]
    exports: Mapping[str, int]
    units: Mapping[str, int]
    steps: Mapping[str, Step]
    seconds_since_tick: float | None

    @property
    def waiting(self) -> int:
        """The depth of the queue: days of bulk exports that are still to begin."""
        return self.units.get("Created", 0)


def measure(control: ControlDatabase, settings: Settings) -> Measures:
    """Rows, bytes and days by kind and status, days overdue by project, bulk exports and their steps."""
    with control.read() as transaction:
        committed = transaction.execute(_COMMITTED).all()
        by_status = transaction.execute(_BY_STATUS).all()
        found_exports = transaction.execute(_count(bulk_exports)).all()
        found_units = transaction.execute(_count(bulk_units)).all()
        steps = {name: transaction.execute(query).one() for name, query in _STEPS.items()}
    late = progress(control, settings)
    return Measures(
        rows={row.kind: int(row.rows) for row in committed},
        bytes={row.kind: int(row.bytes) for row in committed},
        days={(row.kind, row.status): row.found for row in by_status},
        overdue={(item.project.name, str(item.project.session_id)): len(item.overdue) for item in late},
        exports={row.status: row.found for row in found_exports},
        units={row.status: row.found for row in found_units},
        steps={name: Step(row.found, float(row.total) / SECOND) for name, row in steps.items()},
        seconds_since_tick=seconds_since_tick(control),
    )


def _count(table: sa.Table) -> sa.Executable:
    return sa.select(table.c.status, sa.func.count().label("found")).group_by(table.c.status)


def _step(start: sa.Column[int], end: sa.Column[int]) -> sa.Executable:
    total = sa.func.coalesce(sa.func.sum(end - start), 0)
    return sa.select(sa.func.count().label("found"), total.label("total")).where(start.is_not(None), end.is_not(None))


_JOINED = days.join(exports, exports.c.export_id == days.c.export_id)
_COMMITTED = (
    sa.select(
        exports.c.kind,
        sa.func.coalesce(sa.func.sum(days.c.rows), 0).label("rows"),
        sa.func.coalesce(sa.func.sum(days.c.bytes), 0).label("bytes"),
    )
    .select_from(_JOINED)
    .group_by(exports.c.kind)
)
_BY_STATUS = (
    sa.select(exports.c.kind, days.c.status, sa.func.count().label("found"))
    .select_from(_JOINED)
    .group_by(exports.c.kind, days.c.status)
)
_STEPS = {
    "waiting": _step(bulk_units.c.created_at, bulk_units.c.started_at),
    "exporting": _step(bulk_units.c.started_at, bulk_units.c.finished_at),
}
