"""Two workspaces, one hostile: what it asks for, however much and however poisoned, keeps no other one waiting."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import FilterError, InputError, SourceSlowError, SourceUnusableError
from export_pipeline.exports.bulk import count
from export_pipeline.exports.bulk.count import count_rows, uncounted
from export_pipeline.exports.bulk.plan import ROWS_TOGETHER
from export_pipeline.exports.bulk.steps import prepare
from export_pipeline.exports.bulk.turns import in_turns
from export_pipeline.exports.control.tables import exports
from export_pipeline.exports.watch.notices import add_notice, due_notices, export_ended
from export_pipeline.runs.filter import MAX_CHARACTERS, MAX_SEARCHES, parse_filter, read_filter
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import DayFingerprint, ProjectKey
from export_pipeline_tests.exports.bulk.desk import START, Desk
from export_pipeline_tests.exports.core.memory_source import MemorySource

LONG = {"start": datetime(2017, 1, 1, tzinfo=UTC), "end": datetime(2026, 1, 1, tzinfo=UTC)}


class Counting(MemorySource):
    """Counts nothing, notes for whom it was asked, and is too slow for filters and for windows of some length."""

    slow_filters = False
    slow_days: int | None = None
    broken: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def days(
        self,
        project: ProjectKey,
        window: Window | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002 - the protocol's word
        seconds: float | None = None,
    ) -> dict[date, DayFingerprint]:
        """Seven rows a day."""
        assert seconds == count.STATEMENT_SECONDS
        assert window is not None
        self.asked.append(project.id)
        days = [part.day for part in window.days()]
        if project.id == self.broken:
            raise SourceUnusableError("an expression fails")
        if (filter is not None and self.slow_filters) or len(days) > (self.slow_days or 99):
            raise SourceSlowError("slow")
        return {day: DayFingerprint(7) for day in days}


@pytest.fixture
def neighbour(any_desk: Desk) -> Desk:
    """A second workspace in the same control database."""
    return Desk(any_desk.control)


def test_every_workspace_has_a_first_turn_however_much_another_one_has_asked_for(
    any_desk: Desk, neighbour: Desk
) -> None:
    for _ in range(20):
        any_desk.ask(**LONG)
    asked = neighbour.ask()
    prepare(any_desk.control, any_desk.settings)
    source = Counting()
    count_rows(any_desk.control, source, seconds=0)
    assert source.asked == [str(any_desk.project), str(neighbour.project)]
    assert [unit.planned_rows for unit in neighbour.units(asked.id)] == [7, 7, 7]


def test_turns_are_those_of_owners_in_the_order_in_which_their_items_come() -> None:
    assert list(in_turns(["a1", "a2", "a3", "b1", "c1", "b2"], lambda item: item[0])) == [
        *("a1", "b1", "c1"),
        *("a2", "b2"),
        "a3",
    ]
    assert list(in_turns([], lambda item: item)) == []


def test_a_stored_filter_that_cannot_be_read_fails_its_export_alone(any_desk: Desk, neighbour: Desk) -> None:
    poisoned, asked = any_desk.ask(filter='eq(name, "a")'), neighbour.ask()
    prepare(any_desk.control, any_desk.settings)
    with any_desk.control.begin() as connection:
        here = exports.c.bulk_id == str(poisoned.id)
        connection.execute(sa.update(exports).where(here).values(filter="eq(no_such_field, 1)"))
    count_rows(any_desk.control, Counting(), seconds=60)
    ended = any_desk.export(poisoned.id)
    assert (ended.status, {unit.status for unit in any_desk.units(poisoned.id)}) == ("Failed", {"Failed"})
    assert ended.error is not None
    assert "no_such_field is no field" in ended.error
    assert [unit.planned_rows for unit in neighbour.units(asked.id)] == [7, 7, 7]
    assert uncounted(any_desk.control) == []
    (notice,) = due_notices(any_desk.control, limit=10, oldest=0)
    assert (notice.kind, notice.detail["export_id"]) == ("export.failed", str(poisoned.id))


def test_a_table_that_cannot_be_counted_keeps_no_other_one_waiting(any_desk: Desk, neighbour: Desk) -> None:
    broken, asked = any_desk.ask(), neighbour.ask()
    prepare(any_desk.control, any_desk.settings)
    source = Counting()
    source.broken = str(any_desk.project)
    with pytest.raises(SourceUnusableError, match="an expression fails"):
        count_rows(any_desk.control, source, seconds=60)
    assert [unit.planned_rows for unit in neighbour.units(asked.id)] == [7, 7, 7]
    assert any_desk.export(broken.id).status == "Created"
    source.broken = None
    count_rows(any_desk.control, source, seconds=60)
    assert [unit.planned_rows for unit in any_desk.units(broken.id)] == [7, 7, 7]


def test_a_filter_that_is_slow_to_count_with_is_counted_without(desk: Desk) -> None:
    asked = desk.ask(filter='eq(name, "a")')
    prepare(desk.control, desk.settings)
    source = Counting()
    source.slow_filters = True
    count_rows(desk.control, source, seconds=60)
    assert [unit.planned_rows for unit in desk.units(asked.id)] == [7, 7, 7]


@pytest.mark.parametrize(("longest", "rows"), [(1, 7), (0, ROWS_TOGETHER)])
def test_days_that_cannot_be_counted_together_are_counted_one_by_one_or_planned_as_large_ones(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, longest: int, rows: int
) -> None:
    asked = desk.ask()
    prepare(desk.control, desk.settings)
    source = Counting()
    source.slow_days = longest or -1
    count_rows(desk.control, source, seconds=60)
    assert [unit.planned_rows for unit in desk.units(asked.id)] == [rows, rows, rows]


def test_a_window_is_as_long_as_the_setting_lets_it_be(desk: Desk) -> None:
    most = timedelta(days=desk.settings.max_export_days)
    desk.ask(start=START - most, end=START)
    with pytest.raises(InputError, match="more than 3,660 days apart, the most that EXPORT_PIPELINE_MAX_EXPORT_DAYS"):
        desk.ask(start=START - most - timedelta(seconds=1), end=START)


def test_a_filter_that_grows_beyond_the_limit_when_it_is_stored_is_refused(desk: Desk) -> None:
    text = 'eq(name, "' + "\x01" * 6_600 + '")'
    assert len(text) < MAX_CHARACTERS < len(str(read_filter(text)))
    with pytest.raises(FilterError, match="this one has 39,612 as it is stored: control characters take six each"):
        desk.ask(filter=text)


def test_conditions_that_read_whole_payloads_are_few() -> None:
    each: Any = 'eq(metadata_key, "k")'
    parse_filter(f"or({', '.join([each] * MAX_SEARCHES)})")
    for more in (each, 'search("x")', 'eq(input_key, "x")', 'eq(feedback_key, "x")'):
        longer = f"or({', '.join([*[each] * MAX_SEARCHES, more])})"
        with pytest.raises(FilterError, match="at most 32 conditions on metadata"):
            parse_filter(longer)
        assert str(read_filter(longer)) == longer  # as it may have been stored before there was this limit


def test_ids_of_other_workspaces_are_not_counted_for_it(any_desk: Desk, neighbour: Desk) -> None:
    neighbour.ask()
    prepare(any_desk.control, any_desk.settings)
    assert [table.tenant_id for table in uncounted(any_desk.control)] == [neighbour.tenant]
    assert uuid.UUID(uncounted(any_desk.control)[0].project.id) == neighbour.project


def test_notices_of_one_workspace_do_not_delay_those_of_another_or_of_none(any_desk: Desk, neighbour: Desk) -> None:
    control = any_desk.control
    with control.begin() as connection:
        for number in range(60):
            ended = uuid.UUID(int=number)
            export_ended(
                connection, "export.failed", bulk_id=ended, tenant_id=any_desk.tenant, error=None, at=number + 1
            )
        last = uuid.UUID(int=99)
        export_ended(connection, "export.failed", bulk_id=last, tenant_id=neighbour.tenant, error=None, at=100)
        add_notice(connection, "day.overdue", subject="a day", text="a day is overdue", detail={}, at=101)
    told = [(notice.detail.get("tenant_id"), notice.created_at) for notice in due_notices(control, limit=5, oldest=0)]
    mine = str(any_desk.tenant)
    assert told == [(mine, 1), (str(neighbour.tenant), 100), (None, 101), (mine, 2), (mine, 3)]
