"""Writing what a bucket tells into the control database, without losing what the database knows better."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import sqlalchemy as sa

from export_pipeline.exports.access.audit import record
from export_pipeline.exports.commit.rules import FAILED
from export_pipeline.exports.commit.transitions import completed_values, take_sequence
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.tables import commits, days, exports, facts, projects
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.standing import STANDING
from export_pipeline.exports.projects.sync import GROUP, START
from export_pipeline.exports.proof.recover.day import RecoveredDay, commit_of, damaged_values, knows
from export_pipeline.files.manifest import Manifest
from export_pipeline.runs.times import microseconds


@dataclass(frozen=True)
class RecoveredTable:
    """An export as its bucket tells it; days are in order."""

    table: TableRecord
    days: Sequence[RecoveredDay]


@dataclass
class Written:
    """What became of one table; `uncommitted` days have lost their commit."""

    new_project: bool = False
    new_export: bool = False
    days: int = 0
    uncommitted: int = 0
    unchanged: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)


class TableWriter:
    """Writes one table in one transaction."""

    def __init__(self, control: ControlDatabase, table: RecoveredTable, *, actor: str) -> None:
        self._control = control
        self._actor = actor
        self._export = table.table
        self._days = table.days
        self.result = Written()

    def write(self, transaction: Transaction) -> None:
        """Adds and changes records; `result` tells which."""
        if not self._export_is_there(transaction):
            return
        now = transaction.now()
        query = sa.select(days).where(days.c.export_id == self._export.export_id).with_for_update()
        known = {row["day"]: row for row in transaction.execute(query).mappings()}
        appended = []
        for recovered in self._days:
            row = known.pop(recovered.day, None)
            if self._write_day(transaction, recovered, row, now) and recovered.manifest is not None:
                appended.append((recovered.manifest, recovered))
        self._append(transaction, appended)
        for day, row in sorted(known.items()):
            if row["commit_epoch"] is not None:
                self._problem(day, f"its commit of epoch {row['commit_epoch']} has no manifest in the bucket")
        self._note(transaction, now)

    def _note(self, transaction: Transaction, now: int) -> None:
        """The line of the audit log, where anything was changed."""
        result = self.result
        changed = {name: getattr(result, name) for name in ("new_project", "new_export", "days", "uncommitted", "rows")}
        if any(changed.values()):
            record(
                transaction,
                at=now,
                tenant_id=self._export.tenant_id,
                actor=self._actor,
                action="export.recover",
                subject=self._export.export_id,
                detail=changed,
            )

    def _export_is_there(self, transaction: Transaction) -> bool:
        table = self._export
        query = sa.select(exports.c.tenant_id, exports.c.session_id).where(exports.c.export_id == table.export_id)
        row = transaction.execute(query).first()
        if row is None:
            found_by = self._project(transaction)
            values = {item.name: getattr(table, item.name) for item in exports.columns}
            transaction.execute(sa.insert(exports).values({**values, **found_by, "fields": list(table.fields)}))
            self.result.new_export = True
            return True
        if (row.tenant_id, row.session_id) == (table.tenant_id, table.session_id):
            return True
        self.result.problems.append(
            f"export {table.export_id} is known as one of project {row.session_id} in workspace {row.tenant_id}; its "
            f"files of project {table.session_id} in workspace {table.tenant_id} are left out"
        )
        return False

    def _project(self, transaction: Transaction) -> dict[str, Any]:
        """By what the project's rows are found; one that is unknown is noted, without rows, until a sync names it."""
        session_id, tenant_id = self._export.session_id, self._export.tenant_id
        here = sa.and_(projects.c.session_id == session_id, projects.c.tenant_id == tenant_id)
        query = sa.select(projects.c.project, projects.c.tenant_key, projects.c.untold).where(here)
        row = transaction.execute(query).mappings().first()
        if row is not None:
            return dict(row)
        now = transaction.now()
        values = {
            "project": str(session_id),
            "session_id": session_id,
            "tenant_id": tenant_id,
            "tenant_key": None,
            "untold": False,
            "name": str(session_id),
            "is_experiment": False,
            "asset_name": f"recovered_{self._export.session_id.hex}_{self._export.tenant_id.hex}",
            "group_name": GROUP,
            "first_seen_at": 0,
            "last_seen_at": 0,
            "removed_at": now,
        }
        transaction.insert_missing(projects, values)
        self.result.new_project = True
        return {name: values[name] for name in ("project", "tenant_key", "untold")}

    def _write_day(self, transaction: Transaction, day: RecoveredDay, row: Mapping[Any, Any] | None, now: int) -> bool:
        """Brings one record to what the bucket says; whether a commit was added."""
        if row is not None and (row["lease_until"] or 0) > now:
            self._problem(day.day, f"it is being exported by {row['owner']}; recover again when that has ended")
            return False
        if row is not None and (row["commit_epoch"] or 0) > day.epoch:
            self._problem(
                day.day,
                f"the control database knows a commit of epoch {row['commit_epoch']}, the bucket's newest manifest is "
                f"of epoch {day.epoch}; the record is left as it is",
            )
            return False
        if day.manifest is None or day.damage is not None:
            self._problem(day.day, day.damage or "its manifest cannot be read")
            if day.epoch:
                self._save(transaction, day, row, damaged_values(day, row, now))
                self.result.uncommitted += 1
            return False
        if row is not None and knows(row, day.manifest):
            self.result.unchanged += 1
            return False
        manifest = day.manifest
        values = {
            **completed_values(commit_of(manifest, day), microseconds(manifest.committed_at)),
            "updated_at": now,
        }
        if row is not None and row["intent"] is not None and row["intent"]["epoch"] > day.epoch:
            values |= {"intent": row["intent"], "status": FAILED}
        self._save(transaction, day, row, values)
        self.result.days += 1
        self.result.rows += manifest.rows
        return True

    def _save(
        self, transaction: Transaction, day: RecoveredDay, row: Mapping[Any, Any] | None, values: dict[str, Any]
    ) -> None:
        here = {"export_id": self._export.export_id, "day": day.day}
        if row is None:
            transaction.execute(sa.insert(days).values(**here, **values, epoch=day.epoch))
            return
        transaction.execute(
            sa.update(days)
            .where(days.c.export_id == here["export_id"], days.c.day == day.day)
            .values(**values, epoch=max(row["epoch"], day.epoch))
        )

    def _append(self, transaction: Transaction, added: list[tuple[Manifest, RecoveredDay]]) -> None:
        if not added:
            return
        added.sort(key=lambda item: (item[0].committed_at, item[1].day))
        first = take_sequence(transaction, len(added))
        rows = [
            {
                "sequence": first + offset,
                "export_id": manifest.export_id,
                "day": day.day,
                "epoch": day.epoch,
                "commit_id": manifest.commit_id,
                "rows": manifest.rows,
                "bytes": manifest.file.bytes if manifest.file else 0,
                "key": manifest.file.key if manifest.file else None,
                "manifest_key": day.key,
                "committed_at": microseconds(manifest.committed_at),
            }
            for offset, (manifest, day) in enumerate(added)
        ]
        transaction.execute(sa.insert(commits), rows)

    def _problem(self, day: date, text: str) -> None:
        self.result.problems.append(f"export {self._export.export_id}, {day}: {text}")


def choose_in_use(transaction: Transaction, *, actor: str) -> None:
    """Leaves one standing table of each project in use: the one whose days were read from the trace store last."""
    newest = sa.func.max(days.c.snapshot_at).label("newest")
    query = (
        sa.select(exports.c.export_id, exports.c.tenant_id, exports.c.session_id, exports.c.superseded_at, newest)
        .outerjoin(days, days.c.export_id == exports.c.export_id)
        .where(exports.c.kind == STANDING)
        .group_by(
            exports.c.export_id,
            exports.c.tenant_id,
            exports.c.session_id,
            exports.c.superseded_at,
            exports.c.created_at,
        )
        .order_by(sa.func.coalesce(newest, -1).desc(), exports.c.created_at.desc())
    )
    now = transaction.now()
    chosen: set[tuple[uuid.UUID, uuid.UUID]] = set()
    for row in transaction.execute(query).all():
        superseded_at = None if (row.tenant_id, row.session_id) not in chosen else (row.superseded_at or now)
        chosen.add((row.tenant_id, row.session_id))
        if superseded_at != row.superseded_at:
            transaction.execute(
                sa.update(exports).where(exports.c.export_id == row.export_id).values(superseded_at=superseded_at)
            )
            record(
                transaction,
                at=now,
                tenant_id=row.tenant_id,
                actor=actor,
                action="export.use" if superseded_at is None else "export.supersede",
                subject=row.export_id,
                detail={},
            )


def keep_start(transaction: Transaction, first: date | None) -> date | None:
    """The first partition; `first` becomes it where none is recorded."""
    if first is not None:
        transaction.insert_missing(facts, {"name": START, "value": first.isoformat()})
    value = transaction.execute(sa.select(facts.c.value).where(facts.c.name == START)).scalar()
    return None if value is None else date.fromisoformat(value)
