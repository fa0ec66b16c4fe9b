"""Ten days of outage, purged sources: nothing is lost for good, nothing is replaced by less."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from export_pipeline.errors import DestinationRefusedError, ExportPipelineError, ShrunkError
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.exports.projects.planning import completed_days_of, days_to_export
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline_tests.exports.commit.bench import DAY, QUICK, Bench, Server, ids_and_names, make_store
from export_pipeline_tests.exports.commit.children import Credentials
from export_pipeline_tests.exports.commit.promises import check_finished, check_nothing_left, check_whole
from export_pipeline_tests.exports.memory_source import MemorySource, Row, rows_of
from export_pipeline_tests.faults.proxy import FaultProxy

pytestmark = pytest.mark.slow

TEN = [DAY + timedelta(days=number) for number in range(10)]


def night(bench: Bench, store: ObjectStore, source: MemorySource, last: date) -> dict[date, Any]:
    """What the schedule does at night: every past day that is not completed is launched."""
    wanted = days_to_export(DAY, last, completed_days_of(bench.control, bench.export.export_id))
    requests = [bench.request(day, launched_at=bench.control.now()) for day in wanted]
    return dict(publish_days(Publisher(control=bench.control, store=store, source=source, limits=QUICK), requests))


def ten_days() -> MemorySource:
    """Ten days, one of them without rows."""
    return MemorySource([row for number, day in enumerate(TEN) if number != 6 for row in rows_of(day, 5 + number)])


def with_keys(bench: Bench, key: str | None = None, secret: str | None = None) -> ObjectStore:
    real = bench.server.identity("admin")
    seen: Server = Credentials(bench.server.endpoint_url, bench.server.region, key or real[0], secret or real[1])
    return make_store(seen, bench.export.bucket, patience=0.3)


REVOKED: dict[str, Callable[[Bench], ObjectStore]] = {
    "a key that was deleted": lambda bench: with_keys(bench, key="deleted-key"),
    "a secret that was changed": lambda bench: with_keys(bench, secret="changed-secret"),
}


@pytest.mark.parametrize("revoked", REVOKED)
def test_after_ten_days_with_revoked_credentials_every_day_is_there(any_bench: Bench, revoked: str) -> None:
    source, store = ten_days(), REVOKED[revoked](any_bench)
    for today in TEN:
        try:
            ends = night(any_bench, store, source, today)
        except DestinationRefusedError as error:
            ends = {today: error}
        errors = [end for end in ends.values() if isinstance(end, ExportPipelineError)]
        assert errors
        assert all(isinstance(error, DestinationRefusedError) for error in errors), errors
    store.close()
    assert any_bench.server.keys(any_bench.export.bucket) == []
    mended = night(any_bench, any_bench.store, source, TEN[-1])
    assert {day: end.rows for day, end in mended.items()} == {
        day: 0 if number == 6 else 5 + number for number, day in enumerate(TEN)
    }
    assert [any_bench.published(day) for day in TEN] == [
        ids_and_names([row for row in source.rows if row.start_time.date() == day]) or None for day in TEN
    ]
    assert night(any_bench, any_bench.store, source, TEN[-1]) == {}
    check_nothing_left(any_bench)


def test_a_token_that_expires_during_a_commit_leaves_days_that_the_next_night_finishes(any_bench: Bench) -> None:
    source = ten_days()
    with FaultProxy(any_bench.server.endpoint_url) as proxy:
        store = make_store(any_bench.server, any_bench.export.bucket, endpoint_url=proxy.endpoint_url, patience=0.3)
        proxy.answer(400, "ExpiredToken", "CompleteMultipartUpload|PutObject|AbortMultipartUpload", times=None, skip=4)
        ends = night(any_bench, store, source, TEN[-1])
        store.close()
    assert any(isinstance(end, DestinationRefusedError) for end in ends.values())
    night(any_bench, any_bench.store, source, TEN[-1])
    for day in TEN:
        rows = [row for row in source.rows if row.start_time.date() == day]
        assert any_bench.published(day) == (ids_and_names(rows) or None)
    days = [day for _, day, _ in any_bench.sequence()]
    assert sorted(days) == TEN
    check_nothing_left(any_bench)


PURGES: dict[str, Callable[[list[Row]], list[Row]]] = {
    "all rows": lambda rows: [],
    "one row": lambda rows: rows[1:],
    "other rows instead": lambda rows: [Row(f"{number:08}-0000-4000-8000-000000000000", row.start_time, "other")
                                        for number, row in enumerate(rows[:-1])],
}  # fmt: skip


@pytest.mark.parametrize("purge", PURGES)
def test_a_purged_source_never_shrinks_a_committed_day(bench: Bench, purge: str) -> None:
    rows = rows_of(DAY, 9)
    bench.publish(MemorySource(rows))
    purged = MemorySource(PURGES[purge](rows))
    with pytest.raises(ShrunkError, match="9 are committed"):
        bench.publish(purged)
    (end,) = dict(
        publish_days(
            Publisher(control=bench.control, store=bench.store, source=purged, limits=QUICK), [bench.request()]
        )
    ).values()
    assert isinstance(end, ShrunkError)
    record = bench.record()
    assert (record.status, record.rows, "allow_shrink" in str(record.error)) == ("Completed", 9, True)
    assert bench.published() == ids_and_names(rows)
    bench.publish(MemorySource(rows))
    check_finished(bench, rows)
    assert bench.publish(purged, allow_shrink=True).rows == len(purged.rows)
    check_finished(bench, purged.rows)
    check_nothing_left(bench)


def spoilt(rows: list[Row]) -> list[Row]:
    """The same rows with a value that cannot be exported."""
    return [Row(row.id, row.start_time, row.name, total_cost="not a number") for row in rows]


def test_rows_that_can_no_longer_be_exported_are_rejected_by_name_and_are_not_taken_for_purged(
    either_bench: Bench,
) -> None:
    bench, rows = either_bench, rows_of(DAY, 9)
    bench.publish(MemorySource(rows))
    outcome = bench.publish(MemorySource([*spoilt(rows[:4]), *rows[4:]]))
    manifest, record = bench.manifest(), bench.record()
    assert manifest is not None
    (reason,) = outcome.reasons
    assert (outcome.outcome, outcome.rows, outcome.rejected, outcome.reasons) == ("committed", 5, 4, {reason: 4})
    assert [row["id"] for row in outcome.first_rejected] == [row.id for row in rows[:4]]
    assert (manifest.rows_source, manifest.rejected.count) == (9, 4)
    assert (record.rows, record.rows_rejected, record.rejected, record.error) == (5, 4, {reason: 4}, None)
    assert bench.published() == ids_and_names(rows[4:])
    bench.publish(MemorySource(rows))
    assert (bench.record().rows_rejected, bench.record().rejected) == (0, None)
    check_finished(bench, rows)
    check_nothing_left(bench)


def test_rows_that_are_purged_are_missed_behind_rejected_ones(either_bench: Bench) -> None:
    bench, rows = either_bench, rows_of(DAY, 9)
    bench.publish(MemorySource([*spoilt(rows[:4]), *rows[4:]]))
    for purged in (rows[1:], [*spoilt(rows[1:4]), *rows[4:]], rows[4:]):
        with pytest.raises(ShrunkError, match=f"gives {len(purged)} rows, 9 are committed"):
            bench.publish(MemorySource(purged))
        assert (bench.published(), bench.record().rows) == (ids_and_names(rows[4:]), 5)
    assert bench.publish(MemorySource(rows[1:]), allow_shrink=True).rows == 8
    check_nothing_left(bench)


def test_a_file_is_not_removed_because_every_row_is_rejected(either_bench: Bench) -> None:
    bench, rows = either_bench, rows_of(DAY, 9)
    bench.publish(MemorySource(rows))
    with pytest.raises(ShrunkError, match=r"no row is left to export, 9 rows rejected: total_cost: .* \(9\)"):
        bench.publish(MemorySource(spoilt(rows)))
    check_whole(bench, [rows])
    assert bench.publish(MemorySource(spoilt(rows)), allow_shrink=True).outcome == "empty"
    assert (bench.published(), bench.record().rows_rejected) == (None, 9)
    check_nothing_left(bench)
