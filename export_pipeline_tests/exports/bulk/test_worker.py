"""Cancelling at every step, workers that are killed, and time limits: nothing is left half done."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import DayCancelledError, RetryableError
from export_pipeline.exports.bulk import worker
from export_pipeline.exports.bulk.cancel import cancel_bulk_export
from export_pipeline.exports.bulk.cleanup import clean_up
from export_pipeline.exports.bulk.planner import Lost, Planned
from export_pipeline.exports.bulk.planning_round import carry_out, last_heard, leftovers, read_active
from export_pipeline.exports.bulk.records import BulkExport, BulkUnit
from export_pipeline.exports.bulk.worker import Retries, begin_unit, record_results, take_units
from export_pipeline.exports.control.tables import commits, destinations, exports
from export_pipeline.exports.watch.notices import due_notices
from export_pipeline.settings import PREFIX
from export_pipeline.sources.sql.source import SqlSource
from export_pipeline_tests.exports.bulk.workers import killed_at, worker_of
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.house import START, House
from export_pipeline_tests.servers import Weed

pytestmark = pytest.mark.slow  # whole exports, cancelled at each step

BEFORE = (
    "claimed",
    "fenced",
    "snapshot",
    "batch",
    "streamed",
    "upload announced",
    "upload created",
    "upload recorded",
    "parts uploaded",
)
AFTER = ("intent", "completing", "completed", "verified", "writing manifest", "manifest", "done")


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Weed) -> BulkHouse:
    """A house with a destination; every test has an export of its own."""
    return BulkHouse(House(tmp_path_factory.mktemp("work"), seaweedfs))


@pytest.fixture
def export(bulk: BulkHouse) -> BulkExport:
    """An export of one day with three rows, of a project of its own."""
    project = bulk.house.add_project(str(uuid.uuid4()), days=[START])
    bulk.house.sync()
    return bulk.ask(project)


def unit_of(bulk: BulkHouse, export: BulkExport) -> BulkUnit:
    (unit,) = bulk.units(export.id)
    return unit


def attempts(bulk: BulkHouse, export: BulkExport) -> dict[uuid.UUID, int]:
    return {unit.id: unit.attempt for unit in bulk.units(export.id)}


def cancel(bulk: BulkHouse, export: BulkExport) -> None:
    cancel_bulk_export(bulk.control, export.id, tenant_id=bulk.tenant, actor="cli")


def files(bulk: BulkHouse, export: BulkExport) -> list[str]:
    return [key for key in bulk.house.data_files() if str(export.id) in key]


def nothing_is_there(bulk: BulkHouse, export: BulkExport) -> bool:
    return files(bulk, export) == [] and bulk.house.server.open_uploads(bulk.house.bucket) == []


def the_file_is_there(bulk: BulkHouse, export: BulkExport) -> bool:
    unit = unit_of(bulk, export)
    return files(bulk, export) == [unit.key] and unit.rows == 3


@pytest.mark.parametrize("step", [*BEFORE, *AFTER])
def test_a_cancel_at_any_step_ends_in_nothing_or_in_the_whole_day(
    bulk: BulkHouse, export: BulkExport, step: str
) -> None:
    reached = []

    def on_step(name: str) -> None:
        if name == step:
            reached.append(name)
            cancel(bulk, export)

    worker_of(bulk.house.settings, on_step=on_step).publish_units(export.id, attempts(bulk, export))
    assert reached
    assert bulk.export(export.id).status == "Cancelled"
    expected = "Completed" if step in AFTER else "Cancelled"
    assert unit_of(bulk, export).status == expected
    assert the_file_is_there(bulk, export) if step in AFTER else nothing_is_there(bulk, export)
    assert leftovers(bulk.control) == []


def test_a_day_is_stopped_before_its_lease_s_next_heartbeat(
    bulk: BulkHouse, export: BulkExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.0)
    steps: list[str] = []

    def on_step(name: str) -> None:
        steps.append(name)
        if name == "batch":
            cancel(bulk, export)

    worked = worker_of(bulk.house.settings, on_step=on_step).publish_units(export.id, attempts(bulk, export))
    assert steps[-1] == "batch"
    assert worked.outcomes == {"cancelled": 1}
    assert nothing_is_there(bulk, export)


def test_a_cancel_after_the_end_is_refused_by_the_state_that_was_reached(bulk: BulkHouse, export: BulkExport) -> None:
    worker_of(bulk.house.settings).publish_units(export.id, attempts(bulk, export))
    with pytest.raises(Exception, match="as Completed"):
        cancel(bulk, export)
    assert the_file_is_there(bulk, export)


def test_no_day_without_rows_is_committed_after_a_cancel(bulk: BulkHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    project = bulk.house.add_project(str(uuid.uuid4()), days=[START])
    bulk.house.sync()
    export = bulk.ask(project, days=5)
    count_days = SqlSource.days

    def cancel_while_counting(*arguments: Any, **options: Any) -> Any:
        found = count_days(*arguments, **options)
        cancel(bulk, export)
        return found

    monkeypatch.setattr(SqlSource, "days", cancel_while_counting)
    worked = worker_of(bulk.house.settings).publish_units(export.id, attempts(bulk, export))
    assert (worked.taken, worked.outcomes) == (5, {"cancelled": 5})
    with bulk.control.read() as connection:
        mine = sa.select(commits.c.day).where(
            commits.c.export_id.in_(sa.select(exports.c.export_id).where(exports.c.bulk_id == str(export.id)))
        )
        assert connection.execute(mine).all() == []
    assert [key for key in bulk.house.server.keys(bulk.house.bucket) if str(export.id) in key] == []
    assert {unit.status for unit in bulk.units(export.id)} == {"Cancelled"}


@pytest.mark.slow
@pytest.mark.parametrize("step", ["claimed", "upload created", "upload recorded", "intent", "completed", "manifest"])
def test_what_a_killed_worker_leaves_of_a_cancelled_export_is_cleaned_up(
    bulk: BulkHouse, export: BulkExport, step: str
) -> None:
    killed_at(settings_of(bulk), export.id, attempts(bulk, export), step)
    cancel(bulk, export)
    left = leftovers(bulk.control)
    clean_up(worker_of(bulk.house.settings, name="2"), export.id, [unit.id for unit in left])
    assert leftovers(bulk.control) == []
    whole = step in AFTER
    assert (unit_of(bulk, export).status, bulk.export(export.id).status) == (
        "Completed" if whole else "Cancelled",
        "Cancelled",
    )
    assert the_file_is_there(bulk, export) if whole else nothing_is_there(bulk, export)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["snapshot", "intent"])
def test_a_unit_of_a_killed_worker_is_put_back_and_its_next_attempt_finishes_it(
    bulk: BulkHouse, export: BulkExport, step: str
) -> None:
    killed_at(settings_of(bulk), export.id, attempts(bulk, export), step)
    unit = unit_of(bulk, export)
    assert (unit.status, unit.dagster_run_id) == ("Running", "run 1")
    lose(bulk, unit)
    unit = unit_of(bulk, export)
    assert (unit.status, unit.attempt, unit.dagster_run_id) == ("Created", 1, None)
    assert unit.errors == {"retry_0": "the Dagster run run 1 ended as FAILURE before this day was done"}
    worker_of(bulk.house.settings, name="2").publish_units(export.id, attempts(bulk, export))
    assert bulk.export(export.id).status == "Completed"
    assert kinds(bulk, export) == ["export.completed"]
    assert the_file_is_there(bulk, export)
    assert bulk.house.server.open_uploads(bulk.house.bucket) == []


def settings_of(bulk: BulkHouse) -> dict[str, str]:
    return {name.removeprefix(PREFIX).lower(): value for name, value in bulk.house.variables.items()}


def lose(bulk: BulkHouse, unit: BulkUnit) -> None:
    """What the sensor does about a unit whose run has failed."""
    planned = Planned(lost=[Lost(unit, unit.dagster_run_id or "", "FAILURE")])
    carry_out(bulk.control, planned, read_active(bulk.control, bulk.house.settings), settings=bulk.house.settings)


def test_errors_are_kept_by_attempt_and_the_last_one_fails_the_export(bulk: BulkHouse, export: BulkExport) -> None:
    for attempt in range(3):
        unit = unit_of(bulk, export)
        assert unit.attempt == attempt
        record_results(
            bulk.control, export.id, [(unit, RetryableError(f"no {attempt}"))], retries=Retries(most=2, seconds=30)
        )
    unit, failed = unit_of(bulk, export), bulk.export(export.id)
    assert (unit.status, unit.errors) == ("Failed", {"retry_0": "no 0", "retry_1": "no 1", "retry_2": "no 2"})
    assert unit.not_before is not None
    assert (failed.status, failed.error) == (
        "Failed",
        f"1 of 1 days are not exported, the first of them {START}: no 2",
    )
    assert kinds(bulk, export) == ["export.failed"]


def test_an_export_to_a_destination_that_is_no_longer_permitted_fails_with_the_name_of_the_setting(
    bulk: BulkHouse, export: BulkExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, settings, here = bulk.house.server, bulk.house.settings, destinations.c.id == str(bulk.destination)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)
    with bulk.control.begin() as connection:
        before = connection.execute(sa.select(destinations.c.credentials).where(here)).scalar_one()
        connection.execute(sa.update(destinations).where(here).values(credentials=None, credentials_keys=[]))
    try:
        worker_of(settings.model_copy(update={"max_day_retries": 0})).publish_units(export.id, attempts(bulk, export))
        assert f"EXPORT_PIPELINE_OWN_CREDENTIALS_WORKSPACES={bulk.tenant}" in (bulk.export(export.id).error or "")
        assert bulk.export(export.id).status == "Failed"
        assert nothing_is_there(bulk, export)
        allowed = settings.model_copy(update={"own_credentials_workspaces": (bulk.tenant,)})
        again = bulk.ask(str(export.session_id))
        worker_of(allowed).publish_units(again.id, attempts(bulk, again))
        assert the_file_is_there(bulk, again)
    finally:
        with bulk.control.begin() as connection:
            connection.execute(sa.update(destinations).where(here).values(credentials=before))


def kinds(bulk: BulkHouse, export: BulkExport) -> list[str]:
    """The notices about an export."""
    notices = due_notices(bulk.control, limit=100, oldest=0)
    return [notice.kind for notice in notices if str(export.id) in notice.text]


def test_a_result_of_an_earlier_attempt_changes_nothing(bulk: BulkHouse, export: BulkExport) -> None:
    unit = unit_of(bulk, export)
    for _ in range(2):
        record_results(bulk.control, export.id, [(unit, RetryableError("no"))], retries=Retries(most=2, seconds=0))
    assert unit_of(bulk, export).attempt == 1


def test_only_one_of_two_runs_gets_a_unit(bulk: BulkHouse, export: BulkExport) -> None:
    first, second = worker_of(bulk.house.settings), worker_of(bulk.house.settings, name="2")
    asked = attempts(bulk, export)
    taken: list[int] = []

    def on_step(name: str) -> None:
        if name == "claimed":
            taken.append(second.publish_units(export.id, asked).taken)

    worked = replace(first, on_step=on_step).publish_units(export.id, asked)
    assert (worked.taken, taken) == (1, [0])
    assert the_file_is_there(bulk, export)


def test_an_attempt_that_is_out_of_time_is_stopped_and_tried_again(bulk: BulkHouse, export: BulkExport) -> None:
    def on_step(name: str) -> None:
        if name == "batch":
            planned = Planned(timed_out_units=[unit_of(bulk, export)])
            carry_out(
                bulk.control, planned, read_active(bulk.control, bulk.house.settings), settings=bulk.house.settings
            )

    worker_of(bulk.house.settings, on_step=on_step).publish_units(export.id, attempts(bulk, export))
    unit = unit_of(bulk, export)
    assert (unit.status, unit.attempt) == ("Created", 1)
    assert unit.errors == {"retry_0": "the attempt took longer than EXPORT_PIPELINE_RUN_HOURS, 4 hours"}
    assert nothing_is_there(bulk, export)


def test_days_of_a_run_that_does_nothing_are_given_to_another_one(bulk: BulkHouse, export: BulkExport) -> None:
    before = bulk.control.now()
    take_units(bulk.control, export.id, attempts(bulk, export), dagster_run_id="run 1")
    taken = unit_of(bulk, export)
    heard = last_heard(bulk.control, ["run 1", "run 2"], [export.id])
    assert list(heard) == ["run 1"]
    assert before <= heard["run 1"] <= bulk.control.now()
    carry_out(
        bulk.control,
        Planned(timed_out_units=[taken]),
        read_active(bulk.control, bulk.house.settings),
        settings=bulk.house.settings,
    )
    unit = unit_of(bulk, export)
    assert (unit.status, unit.attempt, unit.dagster_run_id) == ("Created", 1, None)
    assert unit.errors == {"retry_0": "its Dagster run did nothing for EXPORT_PIPELINE_RUN_HOURS, 4 hours"}
    with pytest.raises(DayCancelledError):
        begin_unit(bulk.control, taken)
    worker_of(bulk.house.settings, name="2").publish_units(export.id, attempts(bulk, export))
    assert bulk.export(export.id).status == "Completed"
    assert the_file_is_there(bulk, export)


def test_a_run_that_gave_its_place_away_costs_its_days_no_attempt(bulk: BulkHouse, export: BulkExport) -> None:
    settings = bulk.house.settings.model_copy(update={"max_day_retries": 0})
    for number in range(3):
        take_units(bulk.control, export.id, attempts(bulk, export), dagster_run_id=f"run {number}")
        planned = Planned(lost=[Lost(unit_of(bulk, export), f"run {number}", "CANCELED")])
        carry_out(bulk.control, planned, read_active(bulk.control, bulk.house.settings), settings=settings)
        unit = unit_of(bulk, export)
        assert (unit.status, unit.attempt, unit.first_attempt) == ("Created", number + 1, number + 1)
        assert (
            unit.errors[f"retry_{number}"] == f"the Dagster run run {number} ended as CANCELED before this day was done"
        )
    worker_of(settings, name="9").publish_units(export.id, attempts(bulk, export))
    assert bulk.export(export.id).status == "Completed"
    assert the_file_is_there(bulk, export)


def test_an_export_that_is_out_of_time_is_stopped_and_timed_out(bulk: BulkHouse, export: BulkExport) -> None:
    def on_step(name: str) -> None:
        if name == "batch":
            planned = Planned(timed_out_exports=[bulk.export(export.id)])
            carry_out(
                bulk.control, planned, read_active(bulk.control, bulk.house.settings), settings=bulk.house.settings
            )

    worker_of(bulk.house.settings, on_step=on_step).publish_units(export.id, attempts(bulk, export))
    ended = bulk.export(export.id)
    assert (ended.status, unit_of(bulk, export).status) == ("TimedOut", "TimedOut")
    assert ended.error == "the export took longer than EXPORT_PIPELINE_EXPORT_HOURS, 24 hours"
    assert kinds(bulk, export) == ["export.timed_out"]
    assert nothing_is_there(bulk, export)


def test_an_end_that_a_worker_missed_is_made_up_for(bulk: BulkHouse, export: BulkExport) -> None:
    worker_of(bulk.house.settings).publish_units(export.id, attempts(bulk, export))
    bulk.set_export(export.id, status="Running", finished_at=None)
    carry_out(bulk.control, Planned(), read_active(bulk.control, bulk.house.settings), settings=bulk.house.settings)
    assert bulk.export(export.id).status == "Completed"
