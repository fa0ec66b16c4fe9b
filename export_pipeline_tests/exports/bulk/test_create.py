"""Creating exports: what is stored, every rule, every limit."""

import itertools
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.errors import InputError, LimitError, NotFoundError
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.exports.bulk.create import create_bulk_export
from export_pipeline.exports.bulk.units import plan_units
from export_pipeline.exports.projects.standing import find_table
from export_pipeline.runs.times import instant
from export_pipeline_tests.exports.bulk.desk import END, START, Desk


def test_the_units_cover_the_window_exactly_and_its_ends_cut_their_days(any_desk: Desk) -> None:
    start, end = START + timedelta(hours=20), END + timedelta(hours=1, microseconds=1)
    export = any_desk.ask(start=start, end=end)
    units = any_desk.units(export.id)
    assert [unit.day for unit in units] == [date(2026, 3, day) for day in (1, 2, 3, 4)]
    assert instant(units[0].start_at) == start
    assert instant(units[-1].end_at) == end
    assert all(before.end_at == after.start_at for before, after in itertools.pairwise(units))
    assert {(unit.status, unit.attempt, unit.errors == {}) for unit in units} == {("Created", 0, True)}
    assert (export.status, export.planned_at is not None) == ("Created", True)


def test_a_unit_has_the_id_that_its_export_project_and_day_give(desk: Desk) -> None:
    export = desk.ask()
    wanted = [uuid.uuid5(export.id, f"{desk.project}/2026-03-0{day}") for day in (1, 2, 3)]
    assert [unit.id for unit in desk.units(export.id)] == wanted


def test_the_table_of_an_export_lies_under_the_exports_own_id_in_the_stored_destination(any_desk: Desk) -> None:
    export = any_desk.ask(filter="eq(run_type,'llm')", export_fields=["start_time", "id"], format_version="v2_beta")
    (table_id,) = {unit.export_id for unit in any_desk.units(export.id)}
    table = find_table(any_desk.control, table_id)
    assert table is not None
    assert (table.kind, table.layout_id, table.bulk_id) == ("bulk", export.id, export.id)
    assert (table.bucket, table.prefix, table.destination_id) == ("a-bucket", "a/b", any_desk.destination)
    assert (table.fields, table.format_version) == (("id", "start_time"), "v2_beta")
    assert table.filter == export.filter == 'eq(run_type, "llm")'


def test_all_experiments_are_the_projects_of_the_workspace_that_are_experiments(any_desk: Desk) -> None:
    experiments = sorted([uuid.uuid4(), uuid.uuid4()], key=str)
    for number, session in enumerate(experiments):
        any_desk.add_project(session, f"experiment {number}", experiment=True)
    export = any_desk.ask(session_id=None, all_experiments=True)
    units = any_desk.units(export.id)
    assert [(unit.day.day, unit.session_id) for unit in units] == [
        (day, session) for day in (1, 2, 3) for session in experiments
    ]
    assert len({unit.export_id for unit in units}) == 2


def test_an_export_of_no_experiment_is_completed_at_once(desk: Desk) -> None:
    export = desk.ask(session_id=None, all_experiments=True)
    assert (export.status, export.finished_at is not None, desk.units(export.id)) == ("Completed", True, [])


def test_planning_again_after_a_crash_adds_nothing(any_desk: Desk) -> None:
    export = any_desk.ask()
    before = any_desk.units(export.id)
    any_desk.set_export(export.id, planned_at=None)
    plan_units(any_desk.control, export)
    assert any_desk.units(export.id) == before
    assert any_desk.export(export.id).planned_at is not None


def test_a_large_export_is_planned_afterwards(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export_pipeline.exports.bulk.create.MOST_AT_ONCE", 2)
    export = desk.ask()
    assert (export.planned_at, desk.units(export.id)) == (None, [])
    plan_units(desk.control, export)
    assert len(desk.units(export.id)) == 3


def test_a_schedule_has_no_units_and_no_end(any_desk: Desk) -> None:
    export = any_desk.ask(end=None, interval_hours=24, reexport_late=True)
    assert (export.status, export.end_at, export.interval_hours) == ("IntervalScheduled", None, 24)
    assert export.reexport_late
    assert any_desk.units(export.id) == []


def test_times_without_a_zone_are_utc_and_others_are_moved_there(desk: Desk) -> None:
    plain = desk.ask(start=START.replace(tzinfo=None))
    moved = desk.ask(start=datetime.fromisoformat("2026-03-01T02:00:00+02:00"))
    assert instant(plain.start_at) == instant(moved.start_at) == START


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"session_id": None}, "exactly one of session_id and all_experiments"),
        ({"all_experiments": True}, "exactly one of session_id and all_experiments"),
        ({"end": None}, "end_time is missing"),
        ({"end": START}, "is not after start_time"),
        ({"end": datetime(2127, 3, 2, tzinfo=UTC)}, "longer than 36,525 days"),
        ({"interval_hours": 24}, "either end_time or interval_hours"),
        ({"end": None, "interval_hours": 0}, "from 1 to 168"),
        ({"end": None, "interval_hours": 169}, "from 1 to 168"),
        ({"reexport_late": True}, "needs interval_hours"),
        ({"format_version": "v3"}, "format_version is one of v1, v2_beta"),
        ({"compression": "lzo"}, "compression is one of none"),
        ({"export_fields": ["id", "colour"]}, "unknown export fields colour"),
        ({"export_fields": []}, "at least one field"),
        ({"filter": "eq(run_type,"}, "filter, character"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_stored(desk: Desk, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        desk.ask(**changes)
    assert desk.stored() == 0


@pytest.mark.parametrize("what", ["destination_id", "session_id"])
def test_what_another_workspace_has_is_not_found(any_desk: Desk, what: str) -> None:
    other = Desk(any_desk.control)
    foreign = {"destination_id": other.destination, "session_id": other.project}[what]
    with pytest.raises(NotFoundError, match=f"{foreign} in workspace {any_desk.tenant}"):
        any_desk.ask(**{what: foreign})
    assert any_desk.stored() == 0


def test_a_window_that_lies_in_the_future_is_refused_and_todays_is_not(desk: Desk) -> None:
    now = datetime.now(UTC)
    hour, day = timedelta(hours=1), timedelta(days=1)
    with pytest.raises(InputError, match=r"start_time .* lies in the future"):
        desk.ask(start=now + hour, end=now + 2 * hour)
    with pytest.raises(InputError, match=r"end_time .* lies more than a day in the future"):
        desk.ask(start=now - day, end=now + 2 * day)
    assert desk.stored() == 0
    assert desk.ask(start=now - day, end=now + hour).status == "Created"


def test_exports_beyond_the_hourly_limit_are_refused_and_say_when_to_try_again(any_desk: Desk) -> None:
    any_desk.settings = any_desk.settings.model_copy(update={"max_exports_per_hour": 2})
    oldest = any_desk.ask()
    any_desk.ask()
    any_desk.set_export(oldest.id, created_at=oldest.created_at - 3_500_000_000)
    with pytest.raises(LimitError, match="MAX_EXPORTS_PER_HOUR") as caught:
        any_desk.ask()
    assert 1 <= caught.value.retry_after <= 100
    assert any_desk.stored() == 2
    any_desk.set_export(oldest.id, created_at=oldest.created_at - 3_700_000_000)
    assert any_desk.ask().status == "Created"


def test_schedules_beyond_the_limit_are_refused(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"max_schedules": 1})
    desk.ask(end=None, interval_hours=1)
    with pytest.raises(LimitError, match="MAX_SCHEDULES"):
        desk.ask(end=None, interval_hours=1)
    assert desk.ask().status == "Created"


def test_who_asked_for_what_is_in_the_audit_log(desk: Desk) -> None:
    export = create_bulk_export(
        desk.control, desk.request(), tenant_id=desk.tenant, settings=desk.settings, actor="key:1"
    )
    (line,) = read_audit(desk.control, tenant_id=desk.tenant, subject=export.id)
    assert (line.actor, line.action, line.detail["session_id"]) == ("key:1", "export.create", str(desk.project))
    assert export.created_by == "key:1"
