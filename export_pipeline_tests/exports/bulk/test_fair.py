"""Two workspaces, one hostile: what it asks for, however much and however poisoned, keeps no other one waiting."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import (
    FilterError,
    InputError,
    SourceSlowError,
    SourceUnreachableError,
    SourceUnusableError,
)
from export_pipeline.exports import turns
from export_pipeline.exports.bulk import changed, count
from export_pipeline.exports.bulk.changed import follow_changes
from export_pipeline.exports.bulk.count import count_rows, uncounted
from export_pipeline.exports.bulk.planner import ROWS_TOGETHER, group_units
from export_pipeline.exports.bulk.planning_round import prepare
from export_pipeline.exports.bulk.read import progress_of
from export_pipeline.exports.bulk.records import BulkExport
from export_pipeline.exports.bulk.schedules import spawn_child
from export_pipeline.exports.bulk.worker import end_if_done
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.tables import bulk_exports, exports
from export_pipeline.exports.projects.changed import DayChanges
from export_pipeline.exports.turns import in_turns
from export_pipeline.exports.watch.notices import add_notice, due_notices, export_ended
from export_pipeline.runs.filter import MAX_CHARACTERS, MAX_SEARCHES, parse_filter, read_filter
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import DayFingerprint, ProjectKey
from export_pipeline_tests.exports.bulk.desk import START, Desk
from export_pipeline_tests.exports.memory_source import MemorySource
from export_pipeline_tests.sources.stores import Store

LONG = {"start": datetime(2017, 1, 1, tzinfo=UTC), "end": datetime(2026, 1, 1, tzinfo=UTC)}


class Counting(MemorySource):
    """Counts seven rows a day, notes for whom it was asked, and is too slow for filters and for windows of some length.

    It is the clock by which a round is timed: a count takes a tenth of a second, or as long as it may.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.filtered = 0
        self.now = 0.0
        self.slow_filters = False
        self.slow_days: int | None = None
        self.slow_projects: set[str] = set()
        self.failing: dict[str, Exception] = {}

    def monotonic(self) -> float:
        """What the clock shows."""
        return self.now

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
        self.filtered += filter is not None
        days = [part.day for part in window.days()]
        if project.id in self.failing:
            raise self.failing[project.id]
        slow = project.id in self.slow_projects or (filter is not None and self.slow_filters)
        if slow or len(days) > (99 if self.slow_days is None else self.slow_days):
            self.now += seconds
            raise SourceSlowError("slow")
        self.now += 0.1
        return {day: DayFingerprint(7) for day in days}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """A trace store that takes time while a clock stands still otherwise."""
    source = Counting()
    monkeypatch.setattr(turns, "time", source)
    return source


def planned_rows(desk: Desk, export: BulkExport) -> list[int | None]:
    return [unit.planned_rows for unit in desk.units(export.id)]


@pytest.fixture
def neighbour(any_desk: Desk) -> Desk:
    """A second workspace in the same control database."""
    return Desk(any_desk.control)


def test_every_workspace_has_a_first_turn_however_much_another_one_has_asked_for(
    any_desk: Desk, neighbour: Desk, counting: Counting
) -> None:
    for _ in range(20):
        any_desk.ask(**LONG)
    asked = neighbour.ask()
    prepare(any_desk.control, any_desk.settings)
    count_rows(any_desk.control, counting, seconds=0.1)
    assert sorted(counting.asked) == sorted([str(any_desk.project), str(neighbour.project)])
    assert planned_rows(neighbour, asked) == [7, 7, 7]


def test_a_workspace_whose_counts_are_slow_has_no_more_time_than_another_one(
    any_desk: Desk, neighbour: Desk, counting: Counting
) -> None:
    for _ in range(5):
        any_desk.ask(**LONG)
    asked = neighbour.ask(**LONG)
    prepare(any_desk.control, any_desk.settings)
    counting.slow_projects = {str(any_desk.project)}
    count_rows(any_desk.control, counting, seconds=5)
    assert counting.now < 9
    assert counting.asked.count(str(any_desk.project)) == 2
    days = sum(rows is not None for rows in planned_rows(neighbour, asked))
    assert days >= 24 * count.DAYS_AT_ONCE, "it had half of the five seconds, whatever the other one took"


def test_among_many_slow_workspaces_each_is_counted_in_the_end(desk: Desk, counting: Counting) -> None:
    slow = [Desk(desk.control) for _ in range(8)]
    for each in slow:
        for _ in range(3):
            each.ask(**LONG)
    asked = desk.ask()
    prepare(desk.control, desk.settings)
    counting.slow_projects = {str(each.project) for each in slow}
    for _ in range(200):
        if None not in planned_rows(desk, asked):
            break
        before = counting.now
        count_rows(desk.control, counting, seconds=5)
        assert counting.now - before <= 3 * 5 + 2 * count.STATEMENT_SECONDS
    assert planned_rows(desk, asked) == [7, 7, 7]


def test_turns_are_those_of_owners_in_the_order_in_which_their_items_come() -> None:
    assert list(in_turns(["a1", "a2", "a3", "b1", "c1", "b2"], lambda item: item[0])) == [
        *("a1", "b1", "c1"),
        *("a2", "b2"),
        "a3",
    ]
    assert list(in_turns([], lambda item: item)) == []


def test_a_stored_filter_that_cannot_be_read_fails_its_export_alone(
    any_desk: Desk, neighbour: Desk, counting: Counting
) -> None:
    poisoned, asked = any_desk.ask(filter='eq(name, "a")'), neighbour.ask()
    prepare(any_desk.control, any_desk.settings)
    with any_desk.control.begin() as connection:
        here = exports.c.bulk_id == str(poisoned.id)
        connection.execute(sa.update(exports).where(here).values(filter="eq(no_such_field, 1)"))
    count_rows(any_desk.control, counting, seconds=60)
    ended = any_desk.export(poisoned.id)
    assert (ended.status, {unit.status for unit in any_desk.units(poisoned.id)}) == ("Failed", {"Failed"})
    assert ended.error is not None
    assert "no_such_field is not a field" in ended.error
    assert [unit.planned_rows for unit in neighbour.units(asked.id)] == [7, 7, 7]
    assert uncounted(any_desk.control) == []
    (notice,) = due_notices(any_desk.control, limit=10, oldest=0)
    assert (notice.kind, notice.detail["export_id"]) == ("export.failed", str(poisoned.id))


@pytest.mark.parametrize("error", [SourceUnusableError("an expression fails"), SourceUnreachableError("broke off")])
def test_a_table_that_cannot_be_counted_keeps_no_other_one_waiting(
    any_desk: Desk, neighbour: Desk, counting: Counting, error: Exception
) -> None:
    broken, asked = any_desk.ask(), neighbour.ask()
    prepare(any_desk.control, any_desk.settings)
    counting.failing = {str(any_desk.project): error}
    with pytest.raises(type(error), match=str(error)):
        count_rows(any_desk.control, counting, seconds=60)
    assert planned_rows(neighbour, asked) == [7, 7, 7]
    assert any_desk.export(broken.id).status == "Created"
    counting.failing = {}
    count_rows(any_desk.control, counting, seconds=60)
    assert planned_rows(any_desk, broken) == [7, 7, 7]


def test_a_filter_that_is_slow_to_count_with_is_tried_once_and_gives_an_upper_limit(
    any_desk: Desk, counting: Counting
) -> None:
    asked = any_desk.ask(**LONG, filter='eq(name, "a")')
    prepare(any_desk.control, any_desk.settings)
    counting.slow_filters = True
    for _ in range(10):
        count_rows(any_desk.control, counting, seconds=0.05)
    assert planned_rows(any_desk, asked)[: 11 * count.DAYS_AT_ONCE] == [-7] * 10 * count.DAYS_AT_ONCE + [None] * 31
    assert counting.filtered == 1
    assert progress_of(any_desk.control, asked.id, tenant_id=any_desk.tenant).rows_planned is None


def test_days_that_cannot_be_counted_together_are_counted_one_by_one(desk: Desk, counting: Counting) -> None:
    asked = desk.ask()
    prepare(desk.control, desk.settings)
    counting.slow_days = 1
    count_rows(desk.control, counting, seconds=60)
    assert planned_rows(desk, asked) == [7, 7, 7]


def test_days_that_cannot_be_counted_even_alone_are_large_ones_and_soon_no_further_one_is_tried(
    any_desk: Desk, counting: Counting
) -> None:
    asked = any_desk.ask(**LONG)
    prepare(any_desk.control, any_desk.settings)
    counting.slow_days = 0
    for _ in range(8):
        count_rows(any_desk.control, counting, seconds=1)
    assert set(planned_rows(any_desk, asked)) == {-ROWS_TOGETHER}
    assert len(counting.asked) == 1 + count.MOST_SLOW_DAYS, "all together, and then each alone"
    assert uncounted(any_desk.control) == []
    (first, second, *_) = group_units(asked.id, any_desk.units(asked.id))
    assert (len(first.units), len(second.units)) == (1, 1)


NEVER = {
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c)",
    "postgresql": "pg_sleep(3600)::text",
    "mysql": "SLEEP(3600)",
}


@pytest.mark.slow
def test_a_trace_store_that_never_answers_for_one_workspace_is_counted_for_another(
    store: Store, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = Desk(desk.control)
    store.runs()
    for number in range(6):
        project = (desk, neighbour)[number % 2].project
        store.add(number, START + timedelta(days=number // 2), session_id=str(project))
    never = f"CASE WHEN r.session_id = '{desk.project}' THEN {NEVER[store.dialect]} END"
    source = store.source(f'runs: {{deleted: {{sql: "{never}"}}}}')
    slow, asked = desk.ask(), neighbour.ask()
    monkeypatch.setattr(count, "STATEMENT_SECONDS", 1.0)
    for _ in range(20):
        if uncounted(desk.control):
            count_rows(desk.control, source, seconds=1)
    assert planned_rows(neighbour, asked) == [1, 1, 1]
    assert planned_rows(desk, slow) == [-ROWS_TOGETHER] * 3
    source.close()


@pytest.mark.parametrize(
    ("planned", "warning"),
    [
        ((7, 7, 7), "21 rows were counted when the export was planned, 15 were there to read"),
        ((7, -ROWS_TOGETHER, -7), "7 rows were counted when the export was planned, 5 were there to read"),
        ((5, -7, None), None),
    ],
)
def test_only_rows_that_were_counted_exactly_can_have_gone(
    any_desk: Desk, planned: tuple[int | None, ...], warning: str | None
) -> None:
    asked = any_desk.ask()
    for unit, rows in zip(any_desk.units(asked.id), planned, strict=True):
        any_desk.set_unit(unit.id, status="Completed", planned_rows=rows, rows=4, rows_rejected=1)
    export = any_desk.export(asked.id)
    any_desk.control.run(lambda connection: end_if_done(connection, export, now=any_desk.control.now()))
    assert (any_desk.export(asked.id).status, any_desk.export(asked.id).warning) == ("Completed", warning)


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


class Comparing:
    """Compares tables and finds nothing, while a clock stands still otherwise; notes whose they were."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[TableRecord] = []
        self.slow: set[uuid.UUID] = set()
        self.failing: set[uuid.UUID] = set()

    def monotonic(self) -> float:
        """What the clock shows."""
        return self.now

    def look(self, _control: Any, _source: Any, table: TableRecord, _window: Window, *, seconds: float) -> DayChanges:
        """Stands for `find_changed_days`."""
        self.asked.append(table)
        self.now += seconds if table.tenant_id in self.slow else 0.1
        if table.tenant_id in self.slow:
            raise SourceSlowError("slow")
        if table.export_id in self.failing:
            raise SourceUnreachableError("broke off")
        return DayChanges()

    def tables(self, desk: Desk) -> list[uuid.UUID]:
        """Those of a workspace, in the order in which they were looked at."""
        return [table.export_id for table in self.asked if table.tenant_id == desk.tenant]


@pytest.fixture
def comparing(monkeypatch: pytest.MonkeyPatch) -> Comparing:
    """What late changes are looked for with."""
    made = Comparing()
    monkeypatch.setattr(turns, "time", made)
    monkeypatch.setattr(changed, "find_changed_days", made.look)
    return made


def exported_schedules(desk: Desk, number: int) -> list[uuid.UUID]:
    """The tables of so many schedules that follow late changes, each with one export, Completed."""
    start = datetime.now(UTC) - timedelta(hours=2)
    for _ in range(number):
        desk.ask(start=start, end=None, interval_hours=1, reexport_late=True)
    with desk.control.read() as connection:
        schedules = connection.execute(sa.select(bulk_exports.c.id).where(bulk_exports.c.tenant_id == str(desk.tenant)))
        ids = list(schedules.scalars())
    tables = []
    for each in ids:
        child = spawn_child(desk.control, each, settings=desk.settings)
        assert child is not None
        tables.append(desk.units(child.id)[0].export_id)
        desk.set_export(child.id, status="Completed")
    return sorted(tables, key=str)


def test_late_changes_of_a_workspace_are_looked_for_in_every_round_however_slow_another_one_s_are(
    any_desk: Desk, neighbour: Desk, comparing: Comparing
) -> None:
    slow, (mine,) = exported_schedules(any_desk, 7), exported_schedules(neighbour, 1)
    comparing.slow = {any_desk.tenant}
    cursor = ""
    for number in range(7):
        before = comparing.now
        found = follow_changes(any_desk.control, MemorySource(), late_days=14, cursor=cursor)
        assert comparing.now - before < 21
        assert comparing.tables(neighbour) == [mine] * (number + 1)
        assert (found.looked_at, len(found.failed)) == (1, 1)
        cursor = found.cursor
    assert set(comparing.tables(any_desk)) == set(slow), "each one had its turn"


def test_a_table_whose_comparison_ends_the_connection_keeps_no_other_workspace_waiting(
    any_desk: Desk, neighbour: Desk, comparing: Comparing
) -> None:
    tables, (mine,) = exported_schedules(any_desk, 3), exported_schedules(neighbour, 1)
    comparing.failing = {tables[0]}
    first = follow_changes(any_desk.control, MemorySource(), late_days=14)
    assert (comparing.tables(any_desk), comparing.tables(neighbour)) == (tables[:1], [mine])
    assert [said.partition(" could ")[2] for said in first.failed] == ["not be looked at: broke off"]
    second = follow_changes(any_desk.control, MemorySource(), late_days=14, cursor=first.cursor)
    assert comparing.tables(any_desk) == [tables[0], tables[1], tables[2], tables[0]]
    assert second.looked_at == 3
    comparing.failing = {*tables, mine}
    with pytest.raises(SourceUnreachableError):
        follow_changes(any_desk.control, MemorySource(), late_days=14)
