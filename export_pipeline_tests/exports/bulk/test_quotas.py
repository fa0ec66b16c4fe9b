"""How many days a workspace may have open: counted against the units that there are."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import InputError, LimitError
from export_pipeline.exports.bulk.cancel import cancel_bulk_export
from export_pipeline.exports.bulk.create import open_days
from export_pipeline.exports.bulk.planning_round import prepare
from export_pipeline.exports.bulk.records import BulkExport
from export_pipeline.exports.bulk.retry import retry_failed
from export_pipeline.exports.bulk.schedules import DELAY, spawn_children
from export_pipeline.runs.times import instant
from export_pipeline.settings import load_settings
from export_pipeline_tests.exports.bulk.desk import END, START, Desk

HOUR = 3600 * 1_000_000


def allow(desk: Desk, days: int, **changes: Any) -> None:
    desk.settings = desk.settings.model_copy(update={"max_open_days": days, **changes})


def units(desk: Desk) -> int:
    """The units of the workspace's exports that have not ended, by plain SQL."""
    query = sa.text(
        "SELECT count(*) FROM bulk_units u JOIN bulk_exports e ON e.id = u.bulk_id "
        "WHERE e.tenant_id = :tenant AND e.status IN ('Created', 'Running')"
    )
    with desk.control.read() as connection:
        return int(connection.execute(query, {"tenant": str(desk.tenant)}).scalar_one())


def counted(desk: Desk) -> int:
    with desk.control.read() as connection:
        return open_days(connection, tenant_id=desk.tenant)


def add_experiments(desk: Desk, number: int) -> None:
    for each in range(number):
        desk.add_project(uuid.uuid4(), f"experiment {each}", experiment=True)


def test_open_days_are_the_units_of_exports_that_have_not_ended(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = Desk(any_desk.control)
    add_experiments(any_desk, 3)
    neighbour.ask()
    any_desk.ask(start=START + timedelta(hours=20), end=END + timedelta(microseconds=1))
    any_desk.ask(session_id=None, all_experiments=True)
    done, cancelled = any_desk.ask(), any_desk.ask()
    any_desk.set_export(done.id, status="Completed")
    cancel_bulk_export(any_desk.control, cancelled.id, tenant_id=any_desk.tenant, actor="cli")
    any_desk.ask(end=None, interval_hours=24)
    assert counted(any_desk) == units(any_desk) == 4 + 3 * 3
    assert counted(neighbour) == units(neighbour) == 3
    monkeypatch.setattr("export_pipeline.exports.bulk.create.MOST_AT_ONCE", 0)
    any_desk.ask(session_id=None, all_experiments=True)
    any_desk.ask()
    assert (counted(any_desk), units(any_desk)) == (25, 13), "those that are not planned yet count too"
    prepare(any_desk.control, any_desk.settings)
    assert counted(any_desk) == units(any_desk) == 26, "the schedule's first day has been spawned"


def test_an_export_beyond_the_limit_is_refused_until_another_one_has_ended(any_desk: Desk) -> None:
    allow(any_desk, 7)
    first, _ = any_desk.ask(), any_desk.ask()
    with pytest.raises(
        LimitError,
        match="has 6 days in exports that have not ended, and this one has 3; EXPORT_PIPELINE_MAX_OPEN_DAYS allows 7",
    ):
        any_desk.ask()
    assert any_desk.stored() == 2
    any_desk.ask(end=START + timedelta(days=1))
    Desk(any_desk.control, any_desk.settings).ask()
    any_desk.set_export(first.id, status="Completed")
    any_desk.ask()


def test_an_export_that_can_never_be_allowed_is_an_input_error(desk: Desk) -> None:
    allow(desk, 8)
    add_experiments(desk, 3)
    with pytest.raises(InputError, match="has 9 days, counted for each project, more than the 8 that"):
        desk.ask(session_id=None, all_experiments=True)
    assert desk.stored() == 0


def test_a_child_of_a_schedule_waits_until_it_is_allowed(any_desk: Desk) -> None:
    start = instant(any_desk.control.now() - DELAY - 6 * HOUR)
    schedule = any_desk.ask(start=start, end=None, interval_hours=6)
    waiting = any_desk.ask()
    allow(any_desk, 3)
    assert spawn_children(any_desk.control, settings=any_desk.settings, seconds=60) == []
    error = any_desk.export(schedule.id).error
    assert error is not None
    assert "its next export cannot begin: This workspace has 3 days in exports that have not ended" in error
    any_desk.set_export(waiting.id, status="Completed")
    (child,) = spawn_children(any_desk.control, settings=any_desk.settings, seconds=60)
    assert (child.source_id, child.start_at) == (schedule.id, schedule.start_at)
    assert any_desk.export(schedule.id).error is None


def test_a_retry_opens_no_more_days_than_are_allowed(any_desk: Desk) -> None:
    failed = any_desk.ask()
    for unit in any_desk.units(failed.id):
        any_desk.set_unit(unit.id, status="Failed")
    any_desk.set_export(failed.id, status="Failed")
    other = any_desk.ask()
    allow(any_desk, 5)

    def retry() -> BulkExport:
        return retry_failed(
            any_desk.control, failed.id, tenant_id=any_desk.tenant, settings=any_desk.settings, actor="cli"
        )

    with pytest.raises(LimitError, match="has 3 days in exports that have not ended, and this one has 3"):
        retry()
    assert any_desk.export(failed.id).status == "Failed"
    any_desk.set_export(other.id, status="Cancelled")
    assert retry().status == "Created"


def test_centuries_of_many_projects_are_allowed_unless_the_settings_say_otherwise(desk: Desk) -> None:
    assert load_settings(home="unused").max_open_days >= 50 * 36_525
    desk.settings = desk.settings.model_copy(update={"max_export_days": 36_525})
    century = {"start": datetime(1926, 1, 1, tzinfo=UTC), "end": datetime(2026, 1, 1, tzinfo=UTC)}
    for _ in range(20):
        desk.ask(**century)
    assert counted(desk) == 20 * 36_525
