"""The decisions about a day, as pure functions: when it counts as done, when it may replace what is committed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from export_pipeline.errors import ShrunkError
from export_pipeline.runs.reasons import describe_rejected

RUNNING, COMPLETED, FAILED, CANCELLED = "Running", "Completed", "Failed", "Cancelled"


@dataclass(frozen=True)
class Committed:
    """The last finished commit of a day, as the control database holds it.

    `rows` are those in its file, `rows_read` those that were read for it: rejected ones too.
    """

    epoch: int
    rows: int
    rows_read: int
    bytes: int
    manifest_key: str
    manifest: Mapping[str, Any]
    snapshot_at: int


def satisfies(committed: Committed | None, launched_at: int | None) -> bool:
    """Whether a launch finds its day already done: the commit read its snapshot after the launch was created.

    Both instants are control database microseconds. A launch without an instant reads the day anew.
    """
    return committed is not None and launched_at is not None and committed.snapshot_at > launched_at


def status_at_rest(*, committed: bool, pending: bool, cancelled: bool) -> str:
    """The status of a day that nobody works on any more after an attempt that did not finish.

    A day that was committed before stays Completed, so that nothing is planned for it again and again; its error says
    what the last attempt met. A commit that was decided on but not carried out is Failed: the next attempt does it.
    """
    if pending:
        return FAILED
    if committed:
        return COMPLETED
    return CANCELLED if cancelled else FAILED


def refuse_shrinking(day: date, *, committed: int | None, read: int, allow_shrink: bool) -> None:
    """Raises `ShrunkError` where fewer rows were read than for the commit that is to be replaced.

    Both count rejected rows too: a row that can no longer be exported is still there.
    """
    if committed is not None and read < committed and not allow_shrink:
        raise ShrunkError(
            f"{day}: the trace store now gives {read:,} rows, {committed:,} are committed; the committed file is kept. "
            "Were rows purged from the store, or does EXPORT_PIPELINE_SOURCE_URL name another one? "
            "If fewer rows are right, export the day again with `allow_shrink`"
        )


def refuse_vanishing(
    day: date, *, committed: int | None, rows: int, rejected: Mapping[str, int], allow_shrink: bool
) -> None:
    """Raises `ShrunkError` where a committed file would be removed because each row that was read is rejected."""
    if committed and not rows and rejected and not allow_shrink:
        raise ShrunkError(
            f"{day}: no row is left to export, {describe_rejected(rejected)}; {committed:,} are committed, and that "
            "file is kept. Mend the rows in the trace store, or the mapping; if no rows are right, export the day "
            "again with `allow_shrink`"
        )


def refuse_losing_attachments(
    day: date, *, committed: Mapping[str, Any] | None, copied: int, missing: int, allow_shrink: bool
) -> None:
    """Raises `ShrunkError` where attachments are missing now and fewer are copied than the committed runs name.

    `committed` is what its manifest says of them.
    """
    if committed is not None and missing and copied < committed["count"] and not allow_shrink:
        raise ShrunkError(
            f"{day}: {missing:,} attachments are not to be had any more, and {copied:,} are; {committed['count']:,} "
            "are committed, and that file is kept. If fewer are right, export the day again with `allow_shrink`"
        )


_SAME = ("rows", "rejected", "replaced", "fields", "format_version", "compression", "schema_fingerprint")


def unchanged(committed: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    """Whether a day's new manifest would say the same as the committed one about rows, columns and form.

    Both are manifests' contents as JSON. Rows are compared by the hash of their values: the bytes of a Parquet file
    are not the same from one version of the writer to the next. A committed manifest may stand for many empty days;
    its window is theirs together.
    """
    if committed is None or any(committed.get(name) != new.get(name) for name in _SAME):
        return False
    if committed["kind"] == "day" and committed["window"] != new["window"]:
        return False
    old_file, new_file = committed.get("file"), new.get("file")
    if old_file is None or new_file is None:
        return old_file is new_file
    return bool(old_file["content_hash"] == new_file["content_hash"] and old_file["rows"] == new_file["rows"])
