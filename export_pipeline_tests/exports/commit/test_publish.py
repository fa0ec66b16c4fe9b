"""Publishing a day where nothing goes wrong, and where the source or a person says no."""

import random
import uuid
from datetime import timedelta
from typing import Any

import pytest

from export_pipeline.errors import LeaseLostError, SourceSlowError
from export_pipeline.exports.commit import transitions
from export_pipeline.exports.commit.claim import Claim, claim_day
from export_pipeline.exports.commit.day import DayOutcome
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.sources.protocol import FILTERED_SECONDS
from export_pipeline_tests.exports.commit.bench import DAY, QUICK, Bench, ids_and_names, new_export
from export_pipeline_tests.exports.commit.promises import check_nothing_left
from export_pipeline_tests.exports.memory_source import MemorySource, Row, rows_of


def test_a_day_is_published_once_whole_and_recorded(any_bench: Bench) -> None:
    source = MemorySource(rows_of(DAY, 25))
    steps: list[str] = []

    outcome = any_bench.publish(source, on_step=steps.append)

    assert (outcome.outcome, outcome.rows, outcome.rejected, outcome.epoch) == ("committed", 25, 0, 1)
    assert any_bench.published() == ids_and_names(source.rows)
    manifest, record = any_bench.manifest(), any_bench.record()
    assert manifest is not None
    assert manifest.file is not None
    assert (manifest.rows, manifest.commit_id, manifest.verified) == (25, outcome.commit_id, "read back")
    assert (record.status, record.rows, record.pending, record.owner) == ("Completed", 25, False, None)
    assert any_bench.sequence() == [(1, DAY, 25)]
    assert any_bench.open_uploads() == []
    assert any_bench.known_uploads() == 0


def test_a_heartbeat_that_comes_after_the_end_does_not_hold_the_day(bench: Bench) -> None:
    claim = bench.control.run(
        lambda connection: claim_day(
            connection,
            export_id=bench.export.export_id,
            day=DAY,
            owner="process:test:1",
            claim_id=uuid.uuid4(),
            lease_seconds=3600,
            launched_at=None,
        )
    )
    assert isinstance(claim, Claim)
    bench.control.run(
        lambda connection: transitions.record_failure(connection, claim, error="it failed", cancelled=False)
    )
    with pytest.raises(LeaseLostError), bench.control.begin() as connection:
        transitions.renew(connection, claim, lease_seconds=3600, rows_read=1, bytes_uploaded=1)
    record = bench.record()
    assert (record.status, record.lease_until, record.owner) == ("Failed", None, None)
    assert bench.publish(MemorySource(rows_of(DAY, 2)), wait_for_lease=0).outcome == "committed"


def test_an_id_written_in_two_ways_is_exported_once_and_fails_no_day(bench: Bench) -> None:
    noise = random.Random(5)
    rows = [Row(row.id, row.start_time, inputs=noise.randbytes(400_000).hex()) for row in rows_of(DAY, 25)]
    again = [Row(row.id.upper(), row.start_time + timedelta(hours=1), "again") for row in rows[:3]]
    outcome = bench.publish(MemorySource([*rows, *again]))
    assert (outcome.outcome, outcome.rows, outcome.rejected) == ("committed", 25, 3)
    assert bench.published() == ids_and_names(rows)
    manifest = bench.manifest()
    assert manifest is not None
    assert manifest.rejected.by_reason == {"id: comes twice": 3}
    assert [row.id for row in manifest.rejected.rows] == [row.id for row in rows[:3]]
    assert bench.publish(MemorySource([*rows, *again])).outcome == "unchanged"
    check_nothing_left(bench)


class SlowToCount(MemorySource):
    """A trace store that a filter is too expensive for, but for one day at a time."""

    def days(self, *what: Any, filter: Filter | None = None, seconds: float | None = None) -> Any:  # noqa: A002
        assert filter is not None
        assert seconds == FILTERED_SECONDS
        raise SourceSlowError("too slow")


def test_days_whose_filter_is_too_slow_to_count_with_are_published_one_by_one(bench: Bench) -> None:
    days = [DAY + timedelta(days=offset) for offset in range(3)]
    source = SlowToCount(rows_of(days[0], 4) + rows_of(days[2], 7))
    bench.export = new_export(bench.control, bench.export.bucket, filter='eq(run_type, "llm")')
    parts: dict[str, Any] = {"control": bench.control, "store": bench.store, "source": source}
    found = dict(publish_days(Publisher(limits=QUICK, **parts), [bench.request(day) for day in days]))
    assert {day: (result.outcome, result.rows) for day, result in found.items() if isinstance(result, DayOutcome)} == {
        days[0]: ("committed", 4),
        days[1]: ("empty", 0),
        days[2]: ("committed", 7),
    }
    assert [(day, rows) for _, day, rows in bench.sequence()] == [(days[0], 4), (days[1], 0), (days[2], 7)]
    assert source.opened == 3
