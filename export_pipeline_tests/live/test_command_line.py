"""Dagster's own command line on the location."""

from pathlib import Path

import dagster as dg
import pytest

from export_pipeline_tests.live.conftest import DAYS, PROJECTS
from export_pipeline_tests.live.dagster import PATIENCE, Live
from export_pipeline_tests.servers import wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_projects_workspace_is_valid(live: Live) -> None:
    done = live.dagster("definitions", "validate", "-w", str(ROOT / "workspace.yaml"))
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location export_pipeline" in done.stdout + done.stderr


def test_assets_are_listed(live: Live) -> None:
    done = live.dagster("asset", "list", "-m", "export_pipeline.definitions")
    assert done.stdout.split() == sorted(f"runs/{name}" for name in PROJECTS)


def test_a_day_and_the_asset_downstream_of_it_are_materialized(live: Live) -> None:
    """The README's example reads what was just committed, as a Polars LazyFrame."""
    day = DAYS[1]
    rows = live.add_runs("chat", day, runs=2)
    done = live.dagster(
        "asset", "materialize", "-f", "location.py", "--select", "runs/chat,failures", "--partition", str(day)
    )
    assert done.returncode == 0, done.stderr
    assert live.rows("chat", day) == rows
    (made,) = live.instance.fetch_materializations(dg.AssetKey("failures"), limit=1).records
    assert made.asset_materialization is not None
    assert made.asset_materialization.metadata["pending"].value == rows


def test_a_range_is_refused_with_a_sentence_that_names_what_to_use(live: Live) -> None:
    files = live.house.data_files()
    done = live.dagster(
        "asset", "materialize", "-f", "location.py", "--select", "runs/chat", "--partition-range",
        f"{DAYS[0]}...{DAYS[2]}",
    )  # fmt: skip
    assert done.returncode == 1
    assert "Consider using the Dagster UI" in done.stderr
    assert live.house.data_files() == files


def test_a_day_in_the_future_is_refused(live: Live) -> None:
    done = live.dagster(
        "asset", "materialize", "-f", "location.py", "--select", "runs/chat", "--partition", "2999-01-01"
    )
    assert done.returncode == 1
    assert "containing the passed partition key `2999-01-01`" in done.stderr


def test_a_job_that_is_launched_takes_a_range_by_tags(live: Live) -> None:
    first, last = DAYS[2], DAYS[3]
    rows = {day: live.add_runs("agent", day, runs=1) for day in (first, last)}
    span = f'"dagster/asset_partition_range_start": "{first}", "dagster/asset_partition_range_end": "{last}"'
    done = live.dagster("job", "launch", "-w", str(live.workspace), "-j", "export_runs", "--tags", f"{{{span}}}")
    assert done.returncode == 0, done.stderr
    for day in (first, last):
        live.wait_for_rows("agent", day, rows[day])


def test_a_job_is_backfilled_one_run_for_each_day(live: Live) -> None:
    days = DAYS[4:6]
    rows = {day: live.add_runs("search", day, runs=1) for day in days}
    done = live.dagster(
        "job", "backfill", "-w", str(live.workspace), "-j", "export_runs", "--partitions",
        ",".join(map(str, days)), "--noprompt",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for day in days:
        live.wait_for_rows("search", day, rows[day])
        (run,) = live.runs({"dagster/partition": str(day), "dagster/partition_set": "export_runs_partition_set"})
        wait_for(
            lambda run_id=run.run_id: live.status(run_id) == "SUCCESS",  # type: ignore[misc]
            what="the end of the run",
            seconds=PATIENCE,
        )
