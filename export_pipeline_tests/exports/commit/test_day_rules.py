"""The decisions about a day, as tables of cases."""

from datetime import date
from typing import Any

import pytest

from export_pipeline.errors import ForeignCommitError, RowCountError, ShrunkError
from export_pipeline.exports.commit.fence import refuse_foreign
from export_pipeline.exports.commit.manifest import MAX_EPOCH_STEP, believable
from export_pipeline.exports.commit.rules import (
    Committed,
    refuse_shrinking,
    satisfies,
    status_at_rest,
    unchanged,
)
from export_pipeline.exports.commit.stream import check_counts

DAY = date(2026, 3, 14)


def committed(snapshot_at: int = 100) -> Committed:
    return Committed(epoch=1, rows=3, rows_read=3, bytes=9, manifest_key="k", manifest={}, snapshot_at=snapshot_at)


@pytest.mark.parametrize(
    ("commit", "launched_at", "done"),
    [
        (None, 50, False),
        (committed(), None, False),
        (committed(), 99, True),
        (committed(), 100, False),
        (committed(), 101, False),
    ],
)
def test_a_launch_is_satisfied_by_a_commit_that_read_later(
    commit: Committed | None, launched_at: int | None, done: bool
) -> None:
    assert satisfies(commit, launched_at) is done


@pytest.mark.parametrize(
    ("is_committed", "pending", "cancelled", "status"),
    [
        (False, False, False, "Failed"),
        (False, False, True, "Cancelled"),
        (False, True, False, "Failed"),
        (True, False, False, "Completed"),
        (True, False, True, "Completed"),
        (True, True, False, "Failed"),
        (True, True, True, "Failed"),
    ],
)
def test_after_a_failed_attempt_a_committed_day_stays_completed_and_a_decided_one_waits(
    is_committed: bool, pending: bool, cancelled: bool, status: str
) -> None:
    assert status_at_rest(committed=is_committed, pending=pending, cancelled=cancelled) == status


@pytest.mark.parametrize(("before", "rows", "allowed"), [(None, 0, False), (3, 3, False), (3, 4, False), (3, 2, True)])
def test_a_day_may_grow_and_shrinks_only_where_that_is_allowed(before: int | None, rows: int, allowed: bool) -> None:
    refuse_shrinking(DAY, committed=before, read=rows, allow_shrink=allowed)


@pytest.mark.parametrize("rows", [0, 2999])
def test_a_day_that_would_shrink_is_refused_with_both_counts(rows: int) -> None:
    with pytest.raises(ShrunkError, match=rf"2026-03-14.* {rows:,} rows, 3,000 are committed"):
        refuse_shrinking(DAY, committed=3000, read=rows, allow_shrink=False)


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "day",
        "window": {"start": "a", "end": "b"},
        "rows": 3,
        "rows_source": 3,
        "rejected": {"count": 0},
        "replaced": {},
        "fields": ["id"],
        "format_version": "v1",
        "compression": "zstandard",
        "schema_fingerprint": "f",
        "file": {"content_hash": "h", "rows": 3, "etag": "old", "sha256": "x"},
    } | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 4},
        {"rejected": {"count": 1}},
        {"replaced": {"name: mended": 1}},
        {"fields": ["id", "name"]},
        {"format_version": "v2_beta"},
        {"compression": "gzip"},
        {"schema_fingerprint": "g"},
        {"window": {"start": "a", "end": "c"}},
        {"file": {"content_hash": "i", "rows": 3}},
        {"file": None},
    ],
)
def test_a_day_with_a_difference_that_readers_can_see_is_published_again(changes: dict[str, Any]) -> None:
    assert not unchanged(manifest(), manifest(**changes))


def test_a_day_with_the_same_rows_in_other_bytes_is_unchanged() -> None:
    assert unchanged(manifest(), manifest(file={"content_hash": "h", "rows": 3, "etag": None, "sha256": "y"}))


def test_a_day_is_unchanged_where_the_store_has_dropped_older_versions() -> None:
    assert unchanged(manifest(rows_source=5, superseded=2), manifest())


def test_an_empty_day_is_unchanged_whether_it_was_committed_alone_or_with_others() -> None:
    alone = manifest(rows=0, rows_source=0, file=None)
    together = alone | {"kind": "empty_days", "window": {"start": "a", "end": "z"}}
    assert unchanged(together, alone)
    assert unchanged(alone, alone)
    assert not unchanged(None, alone)


def refuse(in_bucket: list[int], recorded: int | None, *commits: int) -> None:
    refuse_foreign(DAY, in_bucket=in_bucket, recorded=recorded, is_commit=lambda epoch: epoch in commits, folder="f/")


@pytest.mark.parametrize(("in_bucket", "recorded"), [([], None), ([], 3), ([3], 3), ([1, 2], 3)])
def test_commits_that_the_control_database_knows_are_no_foreign_ones(
    in_bucket: list[int], recorded: int | None
) -> None:
    refuse(in_bucket, recorded, *in_bucket)


@pytest.mark.parametrize(("in_bucket", "recorded"), [([500], None), ([3, 4, 7], 3), ([3, 9_999_999_999], 3)])
def test_objects_that_are_no_commits_or_lie_too_far_ahead_keep_no_day_from_being_exported(
    in_bucket: list[int], recorded: int | None
) -> None:
    refuse(in_bucket, recorded, 9_999_999_999)


@pytest.mark.parametrize(("in_bucket", "recorded"), [([1], None), ([3, 4], 3), ([4, 5, 9_999_999_999], 3)])
def test_a_newer_commit_in_the_bucket_names_the_commands_that_help(in_bucket: list[int], recorded: int | None) -> None:
    epoch = 1 if recorded is None else 4
    with pytest.raises(ForeignCommitError, match="export-pipeline recover") as refused:
        refuse(in_bucket, recorded, 1, 4, 9_999_999_999)
    assert f"`export-pipeline manifests retire f/epoch={epoch:010}.json`" in str(refused.value)


def test_epochs_that_no_number_of_attempts_led_to_are_not_believed() -> None:
    step = MAX_EPOCH_STEP
    assert believable([]) == []
    assert believable([5, 1, step]) == [1, 5, step]
    assert believable([step + 1]) == []
    assert believable([step + 1], known=1) == [step + 1]
    assert believable([1, step + 1, 2 * step + 1, 9_999_999_999]) == [1, step + 1, 2 * step + 1]


def test_rows_that_add_up_pass() -> None:
    check_counts(DAY, counted=5, read=5, written=3, rejected=2)


@pytest.mark.parametrize(
    "counts",
    [
        {"counted": 6, "read": 5, "written": 3, "rejected": 2},
        {"counted": 4, "read": 5, "written": 3, "rejected": 2},
        {"counted": 5, "read": 5, "written": 3, "rejected": 1},
        {"counted": 5, "read": 5, "written": 3, "rejected": 3},
    ],
)
def test_rows_that_do_not_add_up_are_not_committed(counts: dict[str, int]) -> None:
    with pytest.raises(RowCountError, match="2026-03-14"):
        check_counts(DAY, **counts)
