"""The event log for one machine keeps its files open, and is otherwise Dagster's own."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue

import dagster as dg
import psutil
import pytest
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.test_utils import create_run_for_test

from export_pipeline.orchestration.instance.event_log import KEPT, KeptEventLogStorage

pytestmark = pytest.mark.slow  # Dagster instances with their storage on a disk

KEY = dg.AssetKey(["runs", "chat"])
PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
NAMED = {
    "module": KeptEventLogStorage.__module__,
    "class": KeptEventLogStorage.__name__,
    "config": {"home": {"env": "DAGSTER_HOME"}},
}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance with that storage, as `dagster.yaml` names it."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides={"event_log_storage": NAMED}) as made:
        assert isinstance(made.event_log_storage, KeptEventLogStorage)
        yield made


@pytest.fixture
def stock(kept: dg.DagsterInstance, tmp_path: Path) -> SqliteEventLogStorage:
    """Dagster's own storage on the same files."""
    return SqliteEventLogStorage(str(tmp_path / "history" / "runs"))


def plan(instance: dg.DagsterInstance, run: dg.DagsterRun, day: str) -> None:
    """The event by which a run announces a day."""
    planned = AssetMaterializationPlannedData(KEY, partition=day, partitions_subset=None)
    event = DagsterEvent.build_asset_materialization_planned_event("exports", "chat", planned)
    instance.report_dagster_event(event, run.run_id, logging.DEBUG)


def days_of(storage: dg._core.storage.event_log.EventLogStorage, run: dg.DagsterRun) -> list[str | None]:
    """The days that a run's own log names."""
    entries = [entry.dagster_event for entry in storage.get_logs_for_run(run.run_id, of_type=PLANNED)]
    return [event.partition for event in entries if event is not None]


def open_files(folder: Path) -> list[str]:
    files = [Path(file.path) for file in psutil.Process().open_files()]
    return [file.stem for file in files if file.parent == folder and file.suffix == ".db"]


def test_it_writes_the_files_that_dagsters_own_storage_reads(
    kept: dg.DagsterInstance, stock: SqliteEventLogStorage
) -> None:
    run = create_run_for_test(kept)
    plan(kept, run, "2026-03-01")
    plan(kept, run, "2026-03-02")
    for storage in (stock, kept.event_log_storage):
        assert days_of(storage, run) == ["2026-03-01", "2026-03-02"]
        assert storage.has_asset_key(KEY)
        assert storage.get_latest_storage_id_by_partition(KEY, PLANNED).keys() == {"2026-03-01", "2026-03-02"}


def test_it_reads_what_dagsters_own_storage_has_written_meanwhile(
    kept: dg.DagsterInstance, stock: SqliteEventLogStorage
) -> None:
    run = create_run_for_test(kept)
    plan(kept, run, "2026-03-01")
    (entry,) = kept.all_logs(run.run_id, of_type=PLANNED)
    stock.store_event(entry)
    assert days_of(kept.event_log_storage, run) == ["2026-03-01", "2026-03-01"]


def test_whoever_follows_a_run_sees_its_events_while_the_file_stays_open(
    kept: dg.DagsterInstance, stock: SqliteEventLogStorage
) -> None:
    run = create_run_for_test(kept)
    plan(kept, run, "2026-03-01")
    seen: Queue[str | None] = Queue()
    stock.watch(run.run_id, None, lambda entry, cursor: seen.put(entry.get_dagster_event().partition))
    try:
        plan(kept, run, "2026-03-02")
        assert [seen.get(timeout=30), seen.get(timeout=30)] == ["2026-03-01", "2026-03-02"]
        days_of(kept.event_log_storage, run)
        with pytest.raises(Empty):
            seen.get(timeout=0.2)  # reading is no news
        plan(kept, run, "2026-03-03")
        assert seen.get(timeout=30) == "2026-03-03"
    finally:
        stock.dispose()


def test_a_failed_transaction_leaves_nothing_behind(kept: dg.DagsterInstance) -> None:
    run = create_run_for_test(kept)
    plan(kept, run, "2026-03-01")
    storage = kept.event_log_storage
    assert isinstance(storage, KeptEventLogStorage)
    with suppress(ZeroDivisionError), storage.run_connection(run.run_id) as connection:
        assert connection.exec_driver_sql("DELETE FROM event_logs").rowcount > 0
        raise ZeroDivisionError
    assert days_of(storage, run) == ["2026-03-01"]


def test_it_holds_few_files_open_however_many_runs_there_are(kept: dg.DagsterInstance, tmp_path: Path) -> None:
    runs = [create_run_for_test(kept) for _ in range(KEPT + 3)]
    for day in ("2026-03-01", "2026-03-02"):
        for run in runs:
            plan(kept, run, day)
    held = open_files(tmp_path / "history" / "runs")
    assert sorted(held) == sorted(["index", *(run.run_id for run in runs[-KEPT + 1 :])])
    assert [days_of(kept.event_log_storage, run) for run in runs] == [["2026-03-01", "2026-03-02"]] * len(runs)


def test_it_begins_anew_after_all_was_wiped(kept: dg.DagsterInstance) -> None:
    run = create_run_for_test(kept)
    plan(kept, run, "2026-03-01")
    kept.event_log_storage.wipe()
    assert days_of(kept.event_log_storage, run) == []
    plan(kept, run, "2026-03-02")
    assert days_of(kept.event_log_storage, run) == ["2026-03-02"]
