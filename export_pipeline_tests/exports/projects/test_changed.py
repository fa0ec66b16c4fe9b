"""Days that change after they were exported, in each database."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.errors import SourceUnusableError
from export_pipeline.exports.control.tables import days
from export_pipeline.exports.projects.changed import DayChanges, reason
from export_pipeline_tests.exports.projects.conftest import AT, CHANGES, Exported
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, PROJECT, Store, uuid

pytestmark = pytest.mark.slow

FEEDBACK = {"id": "{uuid}", "run_id": "{uuid}", "key": "TEXT", "score": "FLOAT", "modified_at": "{time}"}
OLD, NEW = "2026-03-14 10:01:00+00:00", "2026-03-20 08:00:00+00:00"

Make = Callable[..., Exported]


def with_rows(store: Store, columns: dict[str, str] | None = None, *, rows: int = 3) -> None:
    """Fills the day."""
    store.runs(columns, unique=True)
    for number in range(1, rows + 1):
        store.add(number, AT, **({"modified_at": OLD} if columns else {}))


def exported(make: Make) -> Exported:
    """Everything after its first export, in which nothing is late."""
    made = make()
    assert made.publish() == ["committed"]
    assert made.look() == DayChanges()
    return made


def why(found: DayChanges) -> str:
    """The reason of the late days without the instant of the reading, which is now."""
    assert found.shrunk == ()
    return reason(found.late).rpartition(" since ")[0]


def settle(made: Exported, *, outcome: str = "committed") -> None:
    """The day is exported again, and then nothing is late any more."""
    assert made.publish() == [outcome]
    assert made.look() == DayChanges()


@EVERYWHERE
def test_a_row_that_came_late_makes_its_day_late(store: Store, export: Make) -> None:
    with_rows(store, CHANGES)
    made = exported(export)
    store.add(4, AT, modified_at=NEW)
    assert why(made.look()) == "1 row more"
    settle(made)


@EVERYWHERE
def test_a_changed_row_makes_its_day_late(store: Store, export: Make) -> None:
    with_rows(store, CHANGES)
    made = exported(export)
    store.run("UPDATE runs SET name = 'changed', modified_at = ? WHERE id = ?", NEW, uuid(2))
    assert why(made.look()) == "1 row changed"
    settle(made)


@EVERYWHERE
def test_new_rows_and_changed_ones_are_told_apart_and_only_rows_of_the_export_count(store: Store, export: Make) -> None:
    with_rows(store, CHANGES, rows=5)
    made = export()
    made.export = replace(made.export, filter='neq(name, "other")')
    assert made.publish() == ["committed"]
    for number in (2, 3):
        store.run("UPDATE runs SET name = 'changed', modified_at = ? WHERE id = ?", NEW, uuid(number))
    store.add(6, AT, modified_at=NEW)
    store.add(7, AT, modified_at=NEW, name="other")
    assert why(made.look()) == "1 row more, 2 changed,"
    settle(made)


@EVERYWHERE
def test_a_newest_change_that_is_older_now_is_a_change_of_no_known_number(store: Store, export: Make) -> None:
    with_rows(store, CHANGES)
    made = exported(export)
    store.run("UPDATE runs SET modified_at = ?", "2026-03-14 10:00:30+00:00")
    assert why(made.look()) == "rows changed"


@EVERYWHERE
def test_a_row_that_was_only_touched_publishes_nothing_and_is_then_known(store: Store, export: Make) -> None:
    with_rows(store, CHANGES)
    made = exported(export)
    store.run("UPDATE runs SET modified_at = ? WHERE id = ?", NEW, uuid(2))
    assert len(made.look().late) == 1
    settle(made, outcome="unchanged")


@EVERYWHERE
def test_late_feedback_makes_its_run_s_day_late_and_feedback_that_is_gone_too(store: Store, export: Make) -> None:
    with_rows(store, {**CHANGES, "feedback_stats": "{json}"})
    store.table("feedbacks", FEEDBACK)
    made = exported(export)
    for number in (1, 2):
        store.insert("feedbacks", id=uuid(number), run_id=uuid(number), key="k", score=1.0, modified_at=NEW)
        store.run("UPDATE runs SET feedback_stats = ? WHERE id = ?", '{"k": {"n": 1}}', uuid(number))
    assert why(made.look()) == "2 feedbacks more"
    settle(made)
    store.run("UPDATE feedbacks SET score = 0.5, modified_at = ? WHERE id = ?", "2026-03-21 08:00:00+00:00", uuid(1))
    assert why(made.look()) == "feedback changed"
    settle(made, outcome="unchanged")
    store.run("DELETE FROM feedbacks WHERE id = ?", uuid(2))
    store.run("UPDATE runs SET feedback_stats = NULL WHERE id = ?", uuid(2))
    assert why(made.look()) == "1 feedback fewer"
    settle(made)


@EVERYWHERE
def test_feedback_is_nothing_to_an_export_without_its_columns(store: Store, export: Make) -> None:
    with_rows(store, CHANGES)
    store.table("feedbacks", FEEDBACK)
    made = export()
    made.export = replace(made.export, fields=("id", "start_time"))
    assert made.publish() == ["committed"]
    store.insert("feedbacks", id=uuid(1), run_id=uuid(1), key="k", score=1.0, modified_at=NEW)
    assert made.look() == DayChanges()


@EVERYWHERE
def test_a_day_with_fewer_rows_is_not_late_but_shrunk(store: Store, export: Make) -> None:
    with_rows(store, CHANGES)
    made = exported(export)
    store.run("DELETE FROM runs WHERE id = ?", uuid(1))
    found = made.look()
    assert found.late == ()
    ((day, committed, left),) = ((each.day, each.committed, each.found) for each in found.shrunk)
    assert (day, committed, left) == (DAY, 3, 2)
    assert made.publish() == ["ShrunkError"]
    store.run("DELETE FROM runs")
    assert [day.found for day in made.look().shrunk] == [0]
    for number in (1, 2, 3, 4):
        store.add(number, AT, modified_at=NEW)
    assert made.look().shrunk == ()
    settle(made)


@EVERYWHERE
def test_a_row_that_is_marked_deleted_counts_as_gone(store: Store, export: Make) -> None:
    with_rows(store, {**CHANGES, "is_deleted": "{flag}"})
    made = export()
    source = store.source("runs: {deleted: is_deleted}")
    made.source.close()
    made.source = source
    assert made.publish() == ["committed"]
    assert made.look() == DayChanges()
    store.run("UPDATE runs SET is_deleted = ? WHERE id = ?", True, uuid(1))
    assert [day.found for day in made.look().shrunk] == [2]


@EVERYWHERE
def test_a_store_without_modified_at_shows_late_rows_by_their_number(store: Store, export: Make) -> None:
    with_rows(store)
    made = exported(export)
    store.run("UPDATE runs SET name = 'changed' WHERE id = ?", uuid(2))
    assert made.look() == DayChanges(), "there is nothing to see it by"
    store.add(4, AT)
    assert why(made.look()) == "1 row more"
    settle(made)


@EVERYWHERE
def test_a_store_without_modified_at_shows_changed_rows_by_a_digest_of_what_the_mapping_names(
    store: Store, export: Make
) -> None:
    with_rows(store, rows=40)
    made = export("runs:\n  digest:\n    sql: name || run_type\n")
    assert made.publish() == ["committed"]
    assert made.look() == DayChanges()
    store.run("UPDATE runs SET run_type = 'tool' WHERE id = ?", uuid(2))
    assert why(made.look()) == "rows changed"
    settle(made)
    for number, name in ((3, None), (4, "\u00e9")):
        store.run("UPDATE runs SET name = ? WHERE id = ?", name, uuid(number))
        assert why(made.look()) == "rows changed"
        settle(made)
    for number in (5, 6):
        store.run("UPDATE runs SET name = ? WHERE id = ?", f"swapped {number % 2}", uuid(number))
    settle(made)
    for number in (5, 6):
        store.run("UPDATE runs SET start_time = ? WHERE id = ?", "2026-03-14 11:00:00+00:00", uuid(number))
    assert made.look() == DayChanges(), "it is not among what the mapping names"


@EVERYWHERE
def test_rows_on_a_day_that_was_committed_empty_make_it_late(store: Store, export: Make) -> None:
    with_rows(store, CHANGES, rows=0)
    made = export()
    assert made.publish() == ["empty"]
    assert made.look() == DayChanges()
    store.add(1, AT, modified_at=NEW)
    assert why(made.look()) == "1 row more"
    settle(made)


@EVERYWHERE
def test_rows_that_are_set_aside_do_not_make_a_day_late_for_ever(store: Store, export: Make) -> None:
    with_rows(store, {**CHANGES, "total_tokens": "TEXT"})
    store.add("not a uuid" if store.dialect == "sqlite" else 9, AT, modified_at=OLD)
    made = exported(export)
    made.read_hours_ago(5)
    assert made.look() == DayChanges()


@contextmanager
def open_transaction(store: Store) -> Iterator[Callable[..., None]]:
    """Another connection, in a transaction that is committed at the end of the block."""
    with closing(store.connect()) as other:
        cursor = other.cursor()
        cursor.execute("BEGIN")

        def run(statement: str, *values: Any) -> None:
            cursor.execute(statement if store.dialect == "sqlite" else statement.replace("?", "%s"), values)

        yield run
        cursor.execute("COMMIT")


def test_a_row_of_a_transaction_that_commits_late_is_counted_although_its_time_is_old(
    store: Store, export: Make
) -> None:
    with_rows(store, CHANGES)
    store.add(8, AT, modified_at=NEW)
    made = export()
    with open_transaction(store) as run:
        run(
            "INSERT INTO runs (id, session_id, name, run_type, start_time, modified_at) VALUES (?, ?, ?, ?, ?, ?)",
            *(uuid(9), PROJECT, "late", "llm", AT, OLD),
        )
        assert made.publish() == ["committed"]
        assert made.look() == DayChanges()
    assert why(made.look()) == "1 row more"
    settle(made)


def test_a_change_of_a_transaction_that_commits_late_is_found_by_reading_the_day_once_more(
    store: Store, export: Make
) -> None:
    with_rows(store, CHANGES)
    just_now = datetime.now(UTC)
    store.run("UPDATE runs SET modified_at = ? WHERE id = ?", just_now.isoformat(), uuid(1))
    made = export()
    with open_transaction(store) as run:
        earlier = (just_now - timedelta(seconds=30)).isoformat()
        run("UPDATE runs SET name = 'changed', modified_at = ? WHERE id = ?", earlier, uuid(2))
        assert made.publish() == ["committed"]
    assert made.look() == DayChanges(), "nothing can be seen from outside, and it is too early to look again"
    made.read_hours_ago(3.1)
    (late,) = made.look().late
    assert late.again
    assert reason([late]).startswith("read once more: rows had changed shortly before ")
    settle(made)


@EVERYWHERE
def test_a_day_that_nothing_had_changed_in_for_long_is_not_read_once_more(store: Store, export: Make) -> None:
    with_rows(store, CHANGES)
    made = exported(export)
    made.read_hours_ago(48)
    assert made.look() == DayChanges()


@EVERYWHERE
def test_a_failed_read_is_no_empty_read(store: Store, export: Make) -> None:
    with_rows(store, CHANGES)
    made = exported(export)
    store.run("DROP TABLE runs")
    with pytest.raises(SourceUnusableError):
        made.look()


@EVERYWHERE
def test_days_under_way_and_days_never_exported_are_left_alone(store: Store, export: Make) -> None:
    with_rows(store, CHANGES)
    made = export()
    assert made.look() == DayChanges(), "never exported: the schedule's work"
    made.publish()
    store.add(4, AT, modified_at=NEW)
    with made.control.begin() as connection:
        connection.execute(days.update().values(lease_until=made.control.now() + 60_000_000))
    assert made.look() == DayChanges()
