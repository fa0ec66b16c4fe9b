"""A project's asset from end to end, against a real S3 server, in one process."""

import io
from datetime import date, timedelta
from functools import partial

import dagster as dg
import polars as pl
import pytest

from export_pipeline.orchestration.asset_checks import OUTSIDE_CHECK
from export_pipeline_tests.clock import on_one_day
from export_pipeline_tests.orchestration.house import START, House, failure_text, materialize, materialized

pytestmark = pytest.mark.slow

SECOND, THIRD = START + timedelta(days=1), START + timedelta(days=2)


def read(house: House, key: str) -> pl.DataFrame:
    body = house.server.client().get_object(Bucket=house.bucket, Key=key)["Body"].read()
    return pl.read_parquet(io.BytesIO(body))


def test_a_range_of_days_is_published_and_each_day_is_reported(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START, THIRD], runs=3)
    house.sync()
    result = materialize(house.definitions(), instance, "chat", first=START, last=THIRD)
    assert result.success
    days = materialized(instance, "chat")
    assert {day: found["dagster/partition_row_count"] for day, found in days.items()} == {
        "2026-03-01": 3,
        "2026-03-02": 0,
        "2026-03-03": 3,
    }
    assert [found["outcome"] for _, found in sorted(days.items())] == ["committed", "empty", "committed"]
    first, third = house.data_files()
    assert days["2026-03-01"]["dagster/uri"] == f"s3://{house.bucket}/{first}"
    assert "dagster/uri" not in days["2026-03-02"]
    assert days["2026-03-03"]["dagster/size_bytes"] == len(
        house.server.client().get_object(Bucket=house.bucket, Key=third)["Body"].read()
    )
    assert read(house, first)["name"].to_list() == ["run 0", "run 1", "run 2"]
    assert days["2026-03-01"].keys() >= {"rejected_rows", "replaced_cells", "seconds", "manifest"}


def test_a_new_launch_reads_the_day_anew_and_a_retry_does_not(
    house: House, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = house.add_project("chat", days=[START])
    house.sync()
    definitions = house.definitions()
    launch = materialize(definitions, instance, "chat", first=START)
    house.add_runs(project, START, runs=2)

    def outcome() -> tuple[str, int]:
        assert materialize(definitions, instance, "chat", first=START).success
        found = materialized(instance, "chat")["2026-03-01"]
        return found["outcome"], found["dagster/partition_row_count"]

    with monkeypatch.context() as patch:  # as the daemon makes the run of a retry
        first = launch.run_id
        made = partial(instance.create_run_for_job, root_run_id=first, parent_run_id=first)
        patch.setattr(instance, "create_run_for_job", made)
        assert outcome() == ("satisfied", 3)
    assert outcome() == ("committed", 5)
    assert outcome() == ("unchanged", 5)


def test_today_is_refused_with_a_sentence_and_nothing_is_written(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    result = on_one_day(
        lambda today: materialize(house.definitions(), instance, "chat", first=today - timedelta(days=1), last=today)
    )
    assert not result.success
    assert "can be exported is" in failure_text(instance, result.run_id)
    assert house.keys() == []
    assert materialized(instance, "chat") == {}


def test_rows_outside_the_partitions_are_counted_by_a_check(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START, date(2025, 12, 31), date(2099, 1, 1)], runs=2)
    house.sync()
    result = materialize(house.definitions(), instance, "chat", first=START)
    (check,) = (found for found in result.get_asset_check_evaluations() if found.check_name == OUTSIDE_CHECK)
    assert result.success
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert {name: value.value for name, value in check.metadata.items()} == {
        "rows_before_the_first_partition": 2,
        "rows_after_today": 2,
        "rows_without_a_readable_time": 0,
    }
