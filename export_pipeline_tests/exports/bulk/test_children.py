"""Schedules: when a child is due, which window it has, and that none is missed or doubled."""

import threading

import pytest

from export_pipeline.exports.bulk.cancel import cancel_bulk_export
from export_pipeline.exports.bulk.children import DELAY, next_child, spawn_child, spawn_children
from export_pipeline.exports.bulk.read import list_bulk_exports, list_child_units
from export_pipeline.exports.bulk.records import BulkExport, instant
from export_pipeline_tests.exports.bulk.desk import Desk

HOUR = 3600 * 1_000_000


@pytest.mark.parametrize(
    ("last_start", "now", "window"),
    [
        (None, 24 * HOUR + DELAY - 1, None),
        (None, 24 * HOUR + DELAY, (0, 24 * HOUR)),
        (None, 1000 * HOUR, (0, 24 * HOUR)),
        (0, 48 * HOUR + DELAY - 1, None),
        (0, 48 * HOUR + DELAY, (24 * HOUR, 48 * HOUR)),
        (240 * HOUR, 1000 * HOUR, (264 * HOUR, 288 * HOUR)),
    ],
)
def test_a_child_is_due_ten_minutes_after_the_end_of_its_window(
    last_start: int | None, now: int, window: tuple[int, int] | None
) -> None:
    assert next_child(start_at=0, interval_hours=24, last_start=last_start, now=now) == window


def schedule(desk: Desk, *, windows: int) -> BulkExport:
    """A schedule of six hours of which so many windows have ended."""
    start = instant(desk.control.now() - windows * 6 * HOUR - DELAY)
    return desk.ask(start=start, end=None, interval_hours=6, filter='eq(status, "error")', export_fields=["id", "name"])


def children(desk: Desk) -> list[BulkExport]:
    found = list_bulk_exports(desk.control, tenant_id=desk.tenant)
    return sorted((export for export in found if export.source_id), key=lambda export: export.start_at)


def test_after_downtime_windows_are_caught_up_one_by_one_without_hole_or_overlap(any_desk: Desk) -> None:
    source = schedule(any_desk, windows=4)
    assert [len(spawn_children(any_desk.control)) for _ in range(6)] == [1, 1, 1, 1, 0, 0]
    spawned = children(any_desk)
    assert [child.start_at for child in spawned] == [source.start_at + number * 6 * HOUR for number in range(4)]
    assert {(child.end_at or 0) - child.start_at for child in spawned} == {6 * HOUR}


def test_a_child_is_an_ordinary_export_with_what_its_schedule_asks_for(any_desk: Desk) -> None:
    source = schedule(any_desk, windows=1)
    (child,) = spawn_children(any_desk.control)
    assert (child.source_id, child.status, child.created_by) == (source.id, "Created", "schedule")
    assert (child.filter, child.export_fields) == ('eq(status, "error")', ("id", "name"))
    assert (child.destination_id, child.session_id, child.interval_hours) == (
        any_desk.destination,
        any_desk.project,
        None,
    )
    units = list_child_units(any_desk.control, source.id, tenant_id=any_desk.tenant)
    assert units == any_desk.units(child.id)
    assert units[0].start_at == child.start_at
    assert units[-1].end_at == child.end_at


def test_two_daemons_at_once_spawn_each_child_once(any_desk: Desk) -> None:
    source = schedule(any_desk, windows=2)
    threads = [threading.Thread(target=spawn_child, args=(any_desk.control, source.id)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.start_at for child in children(any_desk)] == [source.start_at, source.start_at + 6 * HOUR]


def test_a_cancelled_schedule_spawns_nothing_more(desk: Desk) -> None:
    source = schedule(desk, windows=2)
    (child,) = spawn_children(desk.control)
    cancel_bulk_export(desk.control, source.id, tenant_id=desk.tenant, actor="cli")
    assert spawn_children(desk.control) == []
    assert spawn_child(desk.control, source.id) is None
    assert desk.export(child.id).status == "Created"


def test_children_do_not_count_against_what_a_person_may_create(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"max_exports_per_hour": 2})
    schedule(desk, windows=5)
    for _ in range(5):
        spawn_children(desk.control)
    assert desk.ask().status == "Created"
