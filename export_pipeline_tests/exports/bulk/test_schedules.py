"""Schedules: when a child is due, which window it has, and that none is missed or doubled."""

import itertools
import threading
import uuid
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import ControlUnreachableError
from export_pipeline.exports.bulk import schedules
from export_pipeline.exports.bulk.cancel import cancel_bulk_export
from export_pipeline.exports.bulk.planning_round import prepare
from export_pipeline.exports.bulk.read import list_bulk_exports, list_child_units
from export_pipeline.exports.bulk.records import BulkExport
from export_pipeline.exports.bulk.schedules import DELAY, next_child, spawn_child, spawn_children
from export_pipeline.exports.control.tables import destinations
from export_pipeline.exports.watch.notices import Notice, due_notices
from export_pipeline.runs.times import instant
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
    assert [len(spawn_children(any_desk.control, settings=any_desk.settings, seconds=60)) for _ in range(6)] == [
        1,
        1,
        1,
        1,
        0,
        0,
    ]
    spawned = children(any_desk)
    assert [child.start_at for child in spawned] == [source.start_at + number * 6 * HOUR for number in range(4)]
    assert {(child.end_at or 0) - child.start_at for child in spawned} == {6 * HOUR}


def test_a_child_is_an_ordinary_export_with_what_its_schedule_asks_for(any_desk: Desk) -> None:
    source = schedule(any_desk, windows=1)
    (child,) = spawn_children(any_desk.control, settings=any_desk.settings, seconds=60)
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
    threads = [
        threading.Thread(target=partial(spawn_child, any_desk.control, source.id, settings=any_desk.settings))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.start_at for child in children(any_desk)] == [source.start_at, source.start_at + 6 * HOUR]


def test_a_cancelled_schedule_spawns_nothing_more(desk: Desk) -> None:
    source = schedule(desk, windows=2)
    (child,) = spawn_children(desk.control, settings=desk.settings, seconds=60)
    cancel_bulk_export(desk.control, source.id, tenant_id=desk.tenant, actor="cli")
    assert spawn_children(desk.control, settings=desk.settings, seconds=60) == []
    assert spawn_child(desk.control, source.id, settings=desk.settings) is None
    assert desk.export(child.id).status == "Created"


def test_children_do_not_count_against_what_a_person_may_create(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"max_exports_per_hour": 2})
    schedule(desk, windows=5)
    for _ in range(5):
        spawn_children(desk.control, settings=desk.settings, seconds=60)
    assert desk.ask().status == "Created"


def lose_destination(desk: Desk) -> None:
    """Takes it away past the code that refuses to while a schedule has it."""
    with desk.control.begin() as connection:
        connection.execute(sa.delete(destinations).where(destinations.c.id == str(desk.destination)))


def missed(desk: Desk) -> list[Notice]:
    return [each for each in due_notices(desk.control, limit=9, oldest=0) if each.kind == "schedule.missed"]


def test_a_schedule_that_cannot_spawn_fails_alone_says_so_and_spawns_once_it_can(any_desk: Desk) -> None:
    neighbour = Desk(any_desk.control)
    broken, others = schedule(any_desk, windows=1), [schedule(neighbour, windows=1) for _ in range(3)]
    destination = any_desk.destination
    lose_destination(any_desk)
    prepare(any_desk.control, any_desk.settings)
    assert {child.source_id for child in children(neighbour)} == {other.id for other in others}
    assert children(any_desk) == []
    said = any_desk.export(broken.id)
    assert said.status == "IntervalScheduled"
    assert said.error is not None
    assert said.error.startswith(f"its next export cannot begin: There is no destination {destination}")
    prepare(any_desk.control, any_desk.settings)
    assert any_desk.export(broken.id) == said, "it is told of once"
    assert missed(any_desk) == [], "its window is over for less than an hour"
    any_desk.project = uuid.uuid4()
    any_desk.__post_init__()
    (child,) = spawn_children(any_desk.control, settings=any_desk.settings, seconds=60)
    assert (child.source_id, any_desk.export(broken.id).error) == (broken.id, None)


def test_a_window_that_a_failing_schedule_misses_is_told_of_with_the_reason(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = schedule(any_desk, windows=2)
    lose_destination(any_desk)
    assert spawn_children(any_desk.control, settings=any_desk.settings, seconds=60) == []
    assert spawn_children(any_desk.control, settings=any_desk.settings, seconds=60) == []
    (notice,) = missed(any_desk)
    assert (notice.detail["export_id"], notice.detail["tenant_id"]) == (str(broken.id), str(any_desk.tenant))
    assert notice.detail["start"] == instant(broken.start_at).isoformat()
    assert f"its next export cannot begin: There is no destination {any_desk.destination}" in notice.text

    def fails(*_: object, **__: object) -> None:
        raise ValueError("a value of a row")

    monkeypatch.setattr(schedules, "insert_export", fails)
    assert spawn_children(any_desk.control, settings=any_desk.settings, seconds=60) == []
    assert any_desk.export(broken.id).error == "its next export cannot begin: unexpected ValueError"


def test_a_control_database_that_is_away_ends_the_round(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    source = schedule(desk, windows=1)

    def away(*_: object, **__: object) -> None:
        raise ControlUnreachableError("away")

    monkeypatch.setattr(schedules, "spawn_child", away)
    with pytest.raises(ControlUnreachableError):
        spawn_children(desk.control, settings=desk.settings, seconds=60)
    assert desk.export(source.id).error is None


class Clock:
    """A clock on which a second passes each time that somebody looks."""

    def __init__(self) -> None:
        self._seconds = itertools.count()

    def monotonic(self) -> float:
        """What it shows."""
        return float(next(self._seconds))


def test_a_round_ends_in_time_and_a_workspace_with_many_schedules_delays_no_other(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour: Any = Desk(any_desk.control)
    for _ in range(30):
        schedule(any_desk, windows=3)
    asked = schedule(neighbour, windows=1)
    monkeypatch.setattr(schedules, "time", Clock())
    spawned = spawn_children(any_desk.control, settings=any_desk.settings, seconds=5)
    assert len(spawned) == 5
    assert [child.source_id for child in spawned if child.tenant_id == neighbour.tenant] == [asked.id]


def test_where_a_round_has_time_for_one_every_workspace_comes_first_at_times(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desks = [desk, *(Desk(desk.control) for _ in range(3))]
    for each in desks:
        schedule(each, windows=200)
    monkeypatch.setattr(schedules, "time", Clock())
    served = [spawn_children(desk.control, settings=desk.settings, seconds=1)[0].tenant_id for _ in range(80)]
    assert set(served) == {each.tenant for each in desks}
