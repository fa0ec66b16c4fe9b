"""A day: what is asked for, and what became of it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from export_pipeline.exports.control.records import TableRecord
from export_pipeline.runs.window import DayWindow

_MOST_SHOWN = 10
"""Rejected rows of a day that its outcome names; the manifest lists up to a thousand."""

Outcome = Literal["committed", "unchanged", "empty", "satisfied"]


@dataclass(frozen=True)
class DayRequest:
    """One day of one table, to be published by `owner` ("dagster:<run id>", "process:<host>:<pid>").

    `launched_at`, control database microseconds: a commit that read its snapshot later is enough, nothing is read.
    None: the day is read anew. `allow_shrink` lets a day be replaced by fewer rows.
    """

    table: TableRecord
    day: DayWindow
    owner: str
    launched_at: int | None = None
    allow_shrink: bool = False


@dataclass(frozen=True)
class DayOutcome:
    """What became of a day that is Completed now.

    "committed": a file was published. "empty": the day was committed without rows and without a file. "unchanged":
    the source agrees with what was committed before. "satisfied": a commit after the launch was there already.
    `rejected` and `replaced` count rows and cells, `reasons` rejected rows by reason; `first_rejected` are the first of
    them, with id, start_time and reason. `superseded` counts the rows that have a newer version. `uri` is None where
    the day is empty.
    """

    outcome: Outcome
    rows: int
    rejected: int
    replaced: int
    bytes: int
    uri: str | None
    manifest_uri: str
    epoch: int
    commit_id: uuid.UUID
    seconds: float
    reasons: Mapping[str, int] = field(default_factory=dict)
    first_rejected: tuple[Mapping[str, str | None], ...] = ()
    superseded: int = 0

    @property
    def key(self) -> str | None:
        """The file's key in the bucket."""
        return None if self.uri is None else self.uri.split("/", 3)[3]


def outcome_of(
    table: TableRecord, outcome: Outcome, manifest: Mapping[str, Any], manifest_key: str, *, seconds: float
) -> DayOutcome:
    """What a caller is told of a commit, given the manifest's content."""
    file, rejected = manifest["file"], manifest["rejected"]
    return DayOutcome(
        outcome=outcome,
        rows=manifest["rows"],
        rejected=rejected["count"],
        replaced=sum(manifest["replaced"].values()),
        bytes=file["bytes"] if file else 0,
        uri=f"s3://{table.bucket}/{file['key']}" if file else None,
        manifest_uri=f"s3://{table.bucket}/{manifest_key}",
        epoch=manifest["epoch"],
        commit_id=uuid.UUID(manifest["commit_id"]),
        seconds=seconds,
        reasons=rejected["by_reason"],
        first_rejected=tuple(rejected["rows"][:_MOST_SHOWN]),
        superseded=manifest.get("superseded", 0),  # manifests of older versions have no such count
    )
