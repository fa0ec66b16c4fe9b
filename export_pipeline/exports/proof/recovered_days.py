"""A day as its bucket tells it, and what its record becomes; pure functions."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from export_pipeline.exports.commit.manifest import microseconds
from export_pipeline.exports.commit.record import FinishedCommit, rejected_values
from export_pipeline.exports.commit.rules import FAILED
from export_pipeline.files.manifest import Manifest

UNKNOWN_HASH = ""
"""The content hash of a file that cannot be trusted: equal to none."""


@dataclass(frozen=True)
class FoundFile:
    """A data file of a day whose manifest cannot be read, as its listing and its footer tell it."""

    key: str
    bytes: int
    commit_id: str
    rows: int


@dataclass(frozen=True)
class RecoveredDay:
    """A day's valid manifest at `key`.

    `damage` says why the day is to be exported again although it was committed. `epoch` is 0 for a damaged manifest of
    many empty days. `file` is there where the manifest cannot be read and the file can.
    """

    day: date
    key: str
    epoch: int
    manifest: Manifest | None
    damage: str | None
    file: FoundFile | None = None


def knows(row: Mapping[Any, Any], manifest: Manifest) -> bool:
    """Whether the record has this commit already, decided on or finished, and not as a damaged one."""
    finished = row["manifest"] if row["completed_at"] is not None else None
    known = [commit["commit_id"] for commit in (finished, row["intent"]) if commit is not None]
    return str(manifest.commit_id) in known


def commit_of(manifest: Manifest, found: RecoveredDay) -> FinishedCommit:
    """The commit that a whole manifest tells of."""
    content = manifest.model_dump(mode="json")
    return FinishedCommit(
        commit_id=manifest.commit_id,
        epoch=found.epoch,
        rows=manifest.rows,
        bytes=manifest.file.bytes if manifest.file else 0,
        key=manifest.file.key if manifest.file else None,
        manifest_key=found.key,
        manifest=content,
        snapshot_at=microseconds(manifest.snapshot_at),
        fingerprint=content["source"],
    )


def damaged_values(found: RecoveredDay, row: Mapping[Any, Any] | None, now: int) -> dict[str, Any]:
    """A commit that is known and not all there: not completed, so that the day is exported again.

    Its rows still guard the day against shrinking. Its content hash is unknown, so that the same rows count as changed
    and are published, and its snapshot is so old that no launch is content with it.
    """
    content = _content(found, row)
    file = content["file"]
    values: dict[str, Any] = {
        "status": FAILED,
        "error": f"recovered from the bucket: {found.damage}",
        "cancel_requested": False,
        "manifest": {**content, "file": file and {**file, "content_hash": UNKNOWN_HASH}},
        "manifest_key": found.key,
        "commit_epoch": found.epoch,
        "rows": content["rows"],
        **rejected_values(content),
        "bytes": file["bytes"] if file else 0,
        "fingerprint": None,
        "snapshot_at": 0,
        "completed_at": None,
        "updated_at": now,
    }
    if row is not None and row["intent"] is not None and row["intent"]["epoch"] <= found.epoch:
        values["intent"] = None
    return values


def _content(found: RecoveredDay, row: Mapping[Any, Any] | None) -> Mapping[str, Any]:
    """What is known of a damaged commit: from its manifest, its record, or its file."""
    if found.manifest is not None:
        return found.manifest.model_dump(mode="json")
    if row is not None and row["commit_epoch"] == found.epoch and row["manifest"] is not None:
        recorded: Mapping[str, Any] = row["manifest"]
        return recorded
    file = found.file
    return {
        "kind": "day",
        "commit_id": file.commit_id if file else str(uuid.UUID(int=0)),
        "rows": file.rows if file else 0,
        "file": file and {"key": file.key, "bytes": file.bytes, "rows": file.rows},
    }
