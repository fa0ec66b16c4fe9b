"""The last step of a commit: Completed in the control database, with a place in the sequence of all commits."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from export_pipeline.exports.commit.claim import Claim, freed, lost
from export_pipeline.exports.commit.rules import COMPLETED, RUNNING
from export_pipeline.exports.commit.state import forget_any_epoch
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import commits, days, facts


@dataclass(frozen=True)
class FinishedCommit:
    """What was published: the manifest's content as it lies in the bucket at `manifest_key`."""

    commit_id: uuid.UUID
    epoch: int
    rows: int
    bytes: int
    key: str | None
    manifest_key: str
    manifest: Mapping[str, Any]
    snapshot_at: int
    fingerprint: Mapping[str, Any] | None


def take_sequence(connection: sa.Connection, count: int) -> int:
    """The first of `count` numbers of the dense sequence of commits.

    The row stays locked until the transaction ends, so numbers become visible in their order: a reader that has seen
    number n has seen all before it.
    """
    value = sa.cast(sa.cast(facts.c.value, sa.BigInteger) + count, sa.Text)
    after = connection.execute(
        sa.update(facts).where(facts.c.name == "commit_sequence").values(value=value).returning(facts.c.value)
    ).scalar_one()
    return int(after) - count + 1


def record_commit(
    connection: sa.Connection, claim: Claim, commit: FinishedCommit, *, control: ControlDatabase, keep_lease: bool
) -> None:
    """Marks the claimed day Completed and appends to `commits`; once, however often it is called."""
    where = sa.and_(days.c.export_id == str(claim.export_id), days.c.day == claim.day, days.c.epoch == claim.epoch)
    found = sa.select(days, control.now_sql.label("now")).where(where).with_for_update()
    row = connection.execute(found).mappings().one_or_none()
    if row is None:
        raise lost(claim)
    if row["intent"] is None or row["intent"]["commit_id"] != str(commit.commit_id):
        if row["commit_epoch"] == commit.epoch:
            return
        raise lost(claim)
    upload = row["intent"]["upload"]
    if upload is not None:
        forget_any_epoch(connection, claim, upload_id=upload["upload_id"])
    values = completed_values(commit, row["now"])
    if keep_lease:
        values = {**values, "status": RUNNING, **{name: row[name] for name in ("owner", "claim_id", "lease_until")}}
    connection.execute(sa.update(days).where(where).values(**values))
    append_commits(connection, claim.export_id, {claim.day: commit}, now=row["now"])


def completed_values(commit: FinishedCommit, now: int) -> dict[str, Any]:
    """The columns of `days` after a commit, its lease given back."""
    return {
        **freed(now),
        "status": COMPLETED,
        "intent": None,
        "manifest": dict(commit.manifest),
        "manifest_key": commit.manifest_key,
        "commit_epoch": commit.epoch,
        "rows": commit.rows,
        **rejected_values(commit.manifest),
        "bytes": commit.bytes,
        "fingerprint": None if commit.fingerprint is None else dict(commit.fingerprint),
        "snapshot_at": commit.snapshot_at,
        "completed_at": now,
        "error": None,
    }


def rejected_values(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that tell of the rows that a commit has set aside; a manifest that is damaged may not say any."""
    told = manifest.get("rejected") or {"count": 0, "by_reason": {}}
    return {"rows_rejected": told["count"], "rejected": dict(told["by_reason"]) or None}


def append_commits(
    connection: sa.Connection, export_id: uuid.UUID, finished: Mapping[date, FinishedCommit], *, now: int
) -> None:
    """Gives commits the next numbers of the sequence, in the order of the mapping."""
    first = take_sequence(connection, len(finished))
    connection.execute(
        sa.insert(commits),
        [
            {
                "sequence": first + offset,
                "export_id": str(export_id),
                "day": day,
                "epoch": commit.epoch,
                "commit_id": str(commit.commit_id),
                "rows": commit.rows,
                "bytes": commit.bytes,
                "key": commit.key,
                "manifest_key": commit.manifest_key,
                "committed_at": now,
            }
            for offset, (day, commit) in enumerate(finished.items())
        ],
    )
