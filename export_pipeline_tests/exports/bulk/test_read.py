"""Lists and progress: what is read of exports while they are under way."""

import uuid
from collections import Counter

import pytest
import sqlalchemy as sa

from export_pipeline.errors import NotFoundError
from export_pipeline.exports.bulk import planning_round
from export_pipeline.exports.bulk.planner import Planned
from export_pipeline.exports.bulk.planning_round import carry_out, read_active
from export_pipeline.exports.bulk.read import (
    estimated_finish,
    get_unit,
    list_bulk_exports,
    list_units,
    progress_of,
    share_done,
)
from export_pipeline.exports.bulk.records import BulkExport
from export_pipeline.exports.control.tables import days
from export_pipeline_tests.exports.bulk.desk import Desk

SECOND = 1_000_000


def under_way(desk: Desk, **changes: object) -> BulkExport:
    """Three days of 100 rows each: one done, one with 50 rows read, one waiting; begun ten seconds ago."""
    export = desk.ask(**changes)
    done, running, waiting = desk.units(export.id)
    desk.set_unit(done.id, status="Completed", rows=100, bytes=1000, planned_rows=100)
    desk.set_unit(running.id, status="Running", planned_rows=100)
    desk.set_unit(waiting.id, planned_rows=100)
    row = {"status": "Running", "epoch": 1, "updated_at": 0, "rows_read": 50}
    with desk.control.begin() as connection:
        connection.execute(sa.insert(days).values(export_id=str(running.export_id), day=running.day, **row))
    desk.set_export(export.id, status="Running", started_at=desk.control.now() - 10 * SECOND)
    return export


def test_progress_counts_what_days_under_way_have_read(any_desk: Desk) -> None:
    export = under_way(any_desk)
    progress = progress_of(any_desk.control, export.id, tenant_id=any_desk.tenant)
    assert (progress.percent, progress.days_total, progress.days_done) == (50.0, 3, 1)
    assert (progress.rows_written, progress.rows_planned, progress.bytes) == (150, 300, 1000)
    assert progress.estimated_finish is not None
    assert progress.estimated_finish - any_desk.control.now() > 9 * SECOND


def test_a_filter_that_rows_are_counted_with_changes_nothing_about_progress(desk: Desk) -> None:
    export = under_way(desk, filter='eq(status, "error")')
    progress = progress_of(desk.control, export.id, tenant_id=desk.tenant)
    assert (progress.percent, progress.rows_planned) == (50.0, 300)


def test_days_that_were_counted_only_roughly_have_the_weight_of_all_their_rows(any_desk: Desk) -> None:
    desk = any_desk
    export = under_way(desk, filter='search("refund")')
    done, running, waiting = desk.units(export.id)
    for unit, rows in ((done, -1000), (running, -500), (waiting, 500)):
        desk.set_unit(unit.id, planned_rows=rows)
    progress = progress_of(desk.control, export.id, tenant_id=desk.tenant)
    assert (progress.percent, progress.rows_planned, progress.rows_written) == (52.5, None, 150)
    assert progress.estimated_finish is not None


def test_a_finished_day_is_whole_whatever_became_of_its_rows(desk: Desk) -> None:
    export = under_way(desk)
    done, running, waiting = desk.units(export.id)
    desk.set_unit(done.id, rows=3)
    desk.set_unit(running.id, status="Completed", rows=0)
    assert progress_of(desk.control, export.id, tenant_id=desk.tenant).percent == 66.7
    desk.set_unit(waiting.id, planned_rows=0)
    assert progress_of(desk.control, export.id, tenant_id=desk.tenant).percent == 100.0


@pytest.mark.parametrize(
    ("status", "done", "rows", "planned", "share"),
    [
        ("Running", 0.5, 30, 100, 0.3),
        ("Running", 0.5, 0, None, 0.5),
        ("Running", 0.5, 0, 0, 0.5),
        ("Running", 0.5, 120, 100, 1.0),
        ("Completed", 1.0, 90, 100, 1.0),
        ("Failed", 0.5, 30, 100, 0.3),
    ],
)
def test_the_share_is_of_rows_where_they_were_counted(
    status: str, done: float, rows: int, planned: int | None, share: float
) -> None:
    assert share_done(status, days=done, rows=rows, planned_rows=planned) == share


def test_an_export_that_has_not_begun_has_no_estimate(desk: Desk) -> None:
    export = desk.ask()
    assert estimated_finish(export, share=0.0, now=desk.control.now()) is None
    assert estimated_finish(export, share=0.5, now=desk.control.now()) is None


def test_lists_are_the_workspaces_own_and_come_in_pages(any_desk: Desk) -> None:
    exports = [any_desk.ask() for _ in range(3)]
    for number, export in enumerate(exports):
        any_desk.set_export(export.id, created_at=number)
    Desk(any_desk.control).ask()
    newest_first = [export.id for export in reversed(exports)]
    listed = list_bulk_exports(any_desk.control, tenant_id=any_desk.tenant)
    assert [export.id for export in listed] == newest_first
    page = list_bulk_exports(any_desk.control, tenant_id=any_desk.tenant, limit=1, offset=1)
    assert [export.id for export in page] == newest_first[1:2]
    units = any_desk.units(exports[0].id)
    assert list_units(any_desk.control, exports[0].id, tenant_id=any_desk.tenant, limit=2, offset=1) == units[1:]
    assert get_unit(any_desk.control, exports[0].id, units[2].id, tenant_id=any_desk.tenant) == units[2]
    with pytest.raises(NotFoundError):
        get_unit(any_desk.control, exports[0].id, uuid.uuid4(), tenant_id=any_desk.tenant)
    with pytest.raises(NotFoundError):
        list_units(any_desk.control, exports[0].id, tenant_id=uuid.uuid4())


def test_of_very_many_waiting_units_a_round_sees_those_that_are_due_first(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning_round, "MOST_WAITING", 1)
    monkeypatch.setattr(planning_round, "LEAST_WAITING", 1)
    export = any_desk.ask()
    first, second, third = any_desk.units(export.id)
    any_desk.set_unit(first.id, not_before=5)
    any_desk.set_unit(third.id, status="Running", dagster_run_id="r")
    assert {unit.id for unit in read_active(any_desk.control, any_desk.settings).units} == {second.id, third.id}


def test_a_round_reads_units_of_exports_that_may_be_under_way_and_few_of_each_where_there_are_many(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning_round, "MOST_WAITING", 6)
    monkeypatch.setattr(planning_round, "LEAST_WAITING", 2)
    neighbour = Desk(any_desk.control)
    other = neighbour.ask()
    asked = [any_desk.ask() for _ in range(5)]
    for position, created_at in enumerate((1, 2, 3, 4, 5)):
        any_desk.set_export(asked[position].id, created_at=created_at)
    any_desk.set_export(asked[4].id, status="Running")
    settings = any_desk.settings.model_copy(update={"max_exports": 2})
    active = read_active(any_desk.control, settings)
    assert {export.id for export in active.exports} == {other.id, *(export.id for export in asked)}
    assert active.looked_at == {other.id, asked[0].id, asked[1].id, asked[4].id}
    of_export = Counter(unit.bulk_id for unit in active.units)
    assert of_export == {other.id: 3, asked[0].id: 2, asked[1].id: 2, asked[4].id: 2}
    carry_out(any_desk.control, Planned(), active, settings=settings)
    assert [any_desk.export(export.id).status for export in asked] == ["Created"] * 4 + ["Running"]
