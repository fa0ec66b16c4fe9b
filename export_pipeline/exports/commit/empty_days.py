"""Days without rows, many at once: one manifest and two transactions, and no file.

The claim and the commit point are one transaction here, because nothing has to be read in between. A process that
dies afterwards leaves ordinary intents, which whoever claims one of the days carries out.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from export_pipeline.exports.commit.claim import freed
from export_pipeline.exports.commit.intent import Intent
from export_pipeline.exports.commit.manifest import empty_days_manifest
from export_pipeline.exports.commit.publisher import Committer
from export_pipeline.exports.commit.rules import FAILED, RUNNING
from export_pipeline.exports.commit.transitions import FinishedCommit, append_commits, completed_values
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.tables import days, uploads
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.paths import empty_manifest_key
from export_pipeline.runs.times import SECOND
from export_pipeline.runs.window import DayWindow, Window

DAYS_A_MANIFEST = 64


@dataclass(frozen=True)
class EmptyCommit:
    """Days that were committed together; `manifest` is the content of the object at `manifest_key`."""

    days: tuple[date, ...]
    manifest: Mapping[str, Any]
    manifest_key: str


def commit_empty_days(
    committer: Committer, table: TableRecord, empty: Sequence[DayWindow], *, owner: str, snapshot_at: int
) -> EmptyCommit | None:
    """Commits those of at most 64 days that were never committed and that nobody works on; None where none is left.

    `snapshot_at`: control database microseconds, taken before the source said that the days have no rows.
    """
    control, patience = committer.control, committer.limits.patience
    commit = _Commit(committer, table, empty, owner=owner, snapshot_at=snapshot_at)
    taken = control.run(commit.decide, patience=patience)
    if not taken:
        return None
    committer.on_step("empty days decided")
    manifest, key = commit.manifest(taken)
    manifest = manifest.signed(committer.signer)
    try:
        committer.store.put_once(key, manifest.seal())
    except BaseException:
        control.run(commit.give_back, patience=5.0)
        raise
    committer.on_step("empty days manifest")
    done = control.run(lambda transaction: commit.finish(transaction, manifest, key), patience=patience)
    committer.on_step("empty days done")
    return EmptyCommit(done, manifest.model_dump(mode="json"), key)


def refresh_empty_days(
    committer: Committer, export_id: uuid.UUID, empty: Sequence[date], *, snapshot_at: int
) -> list[date]:
    """Notes that committed empty days were still empty at `snapshot_at`; returns the days of which that is true."""

    def work(transaction: Transaction) -> list[date]:
        rows = transaction.execute(
            sa.select(days.c.day, days.c.fingerprint)
            .where(
                _of(export_id, empty),
                days.c.rows == 0,
                days.c.intent.is_(None),
                days.c.claim_id.is_(None),
            )
            .order_by(days.c.day)
            .with_for_update()
        ).all()
        still = [row.day for row in rows if (row.fingerprint or {}).get("rows") == 0]
        transaction.execute(
            sa.update(days)
            .where(_of(export_id, still), days.c.snapshot_at < snapshot_at)
            .values(snapshot_at=snapshot_at, updated_at=transaction.now_sql)
        )
        return still

    return committer.control.run(work, patience=committer.limits.patience)


class _Commit:
    """One commit of many days, all of them under one claim; `decide` and `finish` may be called again."""

    def __init__(
        self,
        committer: Committer,
        table: TableRecord,
        empty: Sequence[DayWindow],
        *,
        owner: str,
        snapshot_at: int,
    ) -> None:
        self._table = table
        self._windows = {day.day: day.window for day in empty}
        self._owner = owner
        self._snapshot_at = snapshot_at
        self._limits = committer.limits
        self._commit_id = uuid.uuid4()
        self._committed_at = committer.control.now(patience=committer.limits.patience)
        self._mine = sa.and_(days.c.export_id == table.export_id, days.c.claim_id == self._commit_id)

    def manifest(self, taken: Mapping[date, int]) -> tuple[Manifest, str]:
        """The manifest of the days that were taken, and its key."""
        chosen = sorted(taken)
        manifest = empty_days_manifest(
            self._table,
            chosen,
            commit_id=self._commit_id,
            epoch=max(taken.values()),
            window=Window(self._windows[chosen[0]].start, self._windows[chosen[-1]].end),
            snapshot_at=self._snapshot_at,
            committed_at=self._committed_at,
        )
        key = empty_manifest_key(
            self._table.prefix,
            self._table.layout_id,
            self._table.tenant_id,
            self._table.session_id,
            first=chosen[0],
            last=chosen[-1],
            commit_id=self._commit_id,
        )
        return manifest, key

    def decide(self, transaction: Transaction) -> dict[date, int]:
        """The commit point: takes the days that are free and records the intent of each; returns their epochs."""
        export_id, wanted = self._table.export_id, sorted(self._windows)
        for day in wanted:
            new = {"export_id": export_id, "day": day, "status": FAILED, "epoch": 0, "updated_at": 0}
            transaction.insert_missing(days, new)
        here = _of(self._table.export_id, wanted)
        rows = transaction.execute(sa.select(days).where(here).order_by(days.c.day).with_for_update()).all()
        if already := {row.day: row.epoch for row in rows if row.claim_id == self._commit_id}:
            return already
        now = transaction.now()
        with_uploads = transaction.execute(
            sa.select(uploads.c.day).where(uploads.c.export_id == export_id, uploads.c.day.in_(wanted))
        ).scalars()
        left_open = set(with_uploads)
        free = [row for row in rows if _is_free(row, now) and row.day not in left_open]
        # One epoch for all, greater than each of theirs: the manifest has a single one, and the next commit of any of
        # the days must exceed it.
        epoch = 1 + max((row.epoch for row in free), default=0)
        taken = {row.day: epoch for row in free}
        if taken:
            self._record(transaction, taken, now)
        return taken

    def _record(self, transaction: Transaction, taken: Mapping[date, int], now: int) -> None:
        manifest, key = self.manifest(taken)
        content = manifest.model_dump(mode="json")
        for day, epoch in taken.items():
            intent = Intent(
                commit_id=self._commit_id,
                epoch=epoch,
                rows=0,
                manifest_key=key,
                manifest=content,
                snapshot_at=self._snapshot_at,
                fingerprint=content["source"],
            )
            values = {
                **freed(now),
                "status": RUNNING,
                "epoch": epoch,
                "owner": self._owner,
                "claim_id": self._commit_id,
                "lease_until": now + int(self._limits.lease_seconds * SECOND),
                "intent": intent.model_dump(mode="json"),
            }
            transaction.execute(sa.update(days).where(_of(self._table.export_id, [day])).values(**values))

    def finish(self, transaction: Transaction, manifest: Manifest, key: str) -> tuple[date, ...]:
        """Marks the days Completed; those that others have taken over meanwhile they complete themselves."""
        rows = transaction.execute(
            sa.select(days.c.day, days.c.epoch).where(self._mine).order_by(days.c.day).with_for_update()
        ).all()
        content = manifest.model_dump(mode="json")
        finished = {
            row.day: FinishedCommit(
                commit_id=self._commit_id,
                epoch=row.epoch,
                rows=0,
                bytes=0,
                key=None,
                manifest_key=key,
                manifest=content,
                snapshot_at=self._snapshot_at,
                fingerprint=content["source"],
            )
            for row in rows
        }
        if finished:
            now = transaction.now()
            for day, commit in finished.items():
                values = completed_values(commit, now)
                transaction.execute(sa.update(days).where(self._mine, days.c.day == day).values(**values))
            append_commits(transaction, self._table.export_id, finished, now=now)
        done = sa.select(days.c.day).where(days.c.export_id == self._table.export_id, days.c.manifest_key == key)
        return tuple(transaction.execute(done.order_by(days.c.day)).scalars())

    def give_back(self, transaction: Transaction) -> None:
        """Frees the days where the manifest could not be written; what was decided stays decided."""
        error = "the manifest of days without rows was not written"
        values = {**freed(transaction.now_sql), "status": FAILED, "error": error}
        transaction.execute(sa.update(days).where(self._mine).values(**values))


def _of(export_id: uuid.UUID, wanted: Sequence[date]) -> sa.ColumnElement[bool]:
    return sa.and_(days.c.export_id == export_id, days.c.day.in_(wanted))


def _is_free(row: Any, now: int) -> bool:
    """Whether a day can be committed as empty without a look at what it was."""
    return (
        row.commit_epoch is None and row.intent is None and not row.cancel_requested and (row.lease_until or 0) <= now
    )
