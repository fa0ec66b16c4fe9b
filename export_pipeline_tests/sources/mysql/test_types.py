"""Types, collations and keys of MySQL and MariaDB: values to the last digit, texts by their bytes, by an index."""

from contextlib import closing
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.runs.transform import RunTransform
from export_pipeline.runs.window import Window
from export_pipeline.sources.mysql.queries import MysqlQueries
from export_pipeline.sources.mysql.session import MysqlSession
from export_pipeline.sources.mysql.source import MysqlSource
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.sources.stores import DAY, PROJECT, START, Store, ids_of, matching, micros, rows_of, uuid

pytestmark = pytest.mark.slow

WINDOW = Window.of_day(DAY)


def exported(store: Store, mapping: str | None = None) -> list[dict[str, Any]]:
    """The day's runs as they stand in the file."""
    with closing(store.source(mapping)) as source:
        transform = RunTransform(
            tenant_id=UUID(int=1), session_id=UUID(int=2), fields=RUN_FIELDS, format_version="v2_beta", window=WINDOW
        )
        with source.open(ProjectKey(PROJECT), WINDOW, [field.name for field in RUN_FIELDS]) as snapshot:
            batches = list(transform.stream(snapshot.batches()))
    assert [each for batch in batches for each in batch.rejected] == []
    return [row for batch in batches for row in batch.rows.to_pylist()]


def test_numbers_and_flags_arrive_to_the_last_digit(mysql_store: Store) -> None:
    mysql_store.runs(
        {"total_tokens": "BIGINT UNSIGNED", "total_cost": "DECIMAL(38, 12)", "prompt_cost": "DOUBLE",
         "completion_cost": "FLOAT", "is_root": "BIT(1)", "prompt_tokens": "INT UNSIGNED"},
        unique=True,
    )  # fmt: skip
    mysql_store.run(
        f"INSERT INTO runs VALUES ('{uuid(1)}', '{PROJECT}', 'run', 'llm', '2026-03-14 10:00:00', "
        "9223372036854775807, 123456.123456789012, 0.1234567, 123456.5, b'1', 4294967295)"
    )
    mysql_store.run(
        f"INSERT INTO runs VALUES ('{uuid(2)}', '{PROJECT}', 'run', 'llm', '2026-03-14 10:00:00', "
        "18446744073709551615, -0.000000000001, 1e-7, 0.5, b'0', 0)"
    )
    first, second = exported(mysql_store)
    assert first["total_tokens"] == 2**63 - 1
    assert first["total_cost"] == Decimal("123456.123456789012")
    assert (first["prompt_cost"], first["completion_cost"]) == (Decimal("0.123456700000"), Decimal("123456.5"))
    assert (first["is_root"], first["prompt_tokens"]) == (True, 4294967295)
    assert (second["total_tokens"], second["is_root"]) == (None, False), "no number of 64 bits"
    assert (second["total_cost"], second["completion_cost"]) == (Decimal("-0.000000000001"), Decimal("0.5"))


def test_ids_of_sixteen_bytes_are_uuids(mysql_store: Store) -> None:
    kind = "BINARY(16)"
    mysql_store.table("sessions", {"id": kind, "name": "TEXT"})
    mysql_store.insert("sessions", id=UUID(PROJECT).bytes, name="bot")
    mysql_store.table(
        "runs",
        {"id": f"{kind} PRIMARY KEY", "session_id": kind, "name": "TEXT", "run_type": "TEXT", "start_time": "{time}",
         "parent_run_id": kind},
    )  # fmt: skip
    for number in (1, 2, 3):
        above = UUID(int=number - 1).bytes if number > 1 else None
        mysql_store.insert(
            "runs", id=UUID(int=number).bytes, session_id=UUID(PROJECT).bytes, name="run", run_type="llm",
            start_time=START, parent_run_id=above,
        )  # fmt: skip
    with closing(mysql_store.source()) as source:
        (project,) = source.projects()
        assert UUID(project.key) == UUID(PROJECT)
        assert ids_of(source, project=project.key) == [1, 2, 3]
        paths = [row["dotted_order"] for row in rows_of(source, project=project.key)]
        assert [path.count(b".") for path in paths] == [0, 1, 2]
        assert matching_of(source, project.key, f'eq(id, "{uuid(2)}")') == 1


def matching_of(source: Any, project: str, text: str) -> int:
    """How many runs of a project match a filter."""
    from export_pipeline.runs.filter import parse_filter

    days = source.days(ProjectKey(project), filter=parse_filter(text))
    return sum(day.rows for day in days.values())


def test_times_are_exact_and_zero_dates_are_none(mysql_store: Store) -> None:
    mysql_store.runs({"end_time": "TIMESTAMP(6) NULL", "modified_at": "DATETIME(6)"}, unique=True)
    add = "INSERT INTO runs VALUES ('{}', '" + PROJECT + "', 'run', 'llm', {}, {}, {})"
    mysql_store.run("SET time_zone = '+05:00'")
    day = "'2026-03-14 10:00:00.123456'"
    mysql_store.run(add.format(uuid(1), day, "'2026-03-14 15:00:01.654321'", "'9999-12-31 23:59:59.999999'"))
    mysql_store.run(add.format(uuid(2), day, "NULL", "'0000-00-00 00:00:00'"))
    mysql_store.run(add.format(uuid(3), "'0000-00-00 00:00:00'", "NULL", "NULL"))
    mysql_store.run(add.format(uuid(4), "'2026-03-00 10:00:00'", "NULL", "NULL"))
    mysql_store.run(add.format(uuid(5), "'2026-00-10 10:00:00'", "NULL", "NULL"))
    with closing(mysql_store.source()) as source:
        first, second = rows_of(source)
        assert first["start_time"] == second["start_time"] == micros("2026-03-14T10:00:00.123456+00:00")
        assert (first["end_time"], second["end_time"]) == (micros("2026-03-14T10:00:01.654321+00:00"), None)
        assert source.outside(ProjectKey(PROJECT), WINDOW).unreadable == 3
        assert source.days(ProjectKey(PROJECT)).keys() == {DAY}
        for before in (date(2025, 12, 31), date(2026, 2, 28)):
            assert rows_of(source, window=Window.of_day(before)) == []
        assert source.check().extra["times without a zone"] == "start_time, modified_at: taken as UTC"


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "ucs2", "utf16", "utf8mb4", "cp1251"])
def test_texts_of_every_character_set_arrive_as_utf_8(mysql_store: Store, charset: str) -> None:
    written = {"latin1": "naïve €", "cp1251": "привет"}.get(charset, "naïve € привет 日本")
    written += "🌍" if charset in {"utf8mb4", "utf16"} else ""
    kind = f"VARCHAR(90) CHARACTER SET {charset}"
    mysql_store.projects(PROJECT)
    mysql_store.table(
        "runs",
        {"id": f"{kind} PRIMARY KEY", "session_id": kind, "name": kind, "run_type": kind, "start_time": "{time}",
         "parent_run_id": kind, "inputs": kind},
    )  # fmt: skip
    mysql_store.add(1, START, name=written, inputs=written)
    mysql_store.add(2, START, name="x", parent_run_id=uuid(1))
    with closing(mysql_store.source()) as source:
        first, second = rows_of(source)
        assert first["name"].decode() == first["inputs"].decode() == written
        assert second["dotted_order"].count(b".") == 1
        assert matching(source, f'eq(name, "{written}")') == [1]
        assert rows_of(source, project="日本🌍") == []


def explained(source: MysqlSource, sql: str) -> list[tuple[str, str]]:
    """The table and key of each step."""
    with closing(source._begin(ProjectKey(PROJECT))) as session:
        assert isinstance(session, MysqlSession)
        steps = session.rows(f"EXPLAIN {sql}")
    return [tuple((part or b"").decode() for part in (row[2], row[5])) for row in steps]  # type: ignore[misc]


@pytest.mark.parametrize(
    "kind", ["VARCHAR(64)", "VARCHAR(64) COLLATE utf8mb4_unicode_ci", "CHAR(36) CHARACTER SET latin1"]
)
@pytest.mark.parametrize("time", ["{time}", "TIMESTAMP(6)", "BIGINT", "VARCHAR(40)"])
def test_a_day_a_parent_and_feedback_are_found_by_indexes(mysql_store: Store, kind: str, time: str) -> None:
    mysql_store.table("sessions", {"id": kind, "name": "TEXT"})
    mysql_store.table(
        "runs",
        {"id": f"{kind} PRIMARY KEY", "session_id": kind, "name": "TEXT", "run_type": "TEXT", "start_time": time,
         "parent_run_id": "VARCHAR(64)"},
    )  # fmt: skip
    mysql_store.run("CREATE INDEX by_day ON runs (session_id, start_time)")
    mysql_store.table("feedbacks", {"id": "{uuid}", "run_id": "VARCHAR(64)", "key": "TEXT"})
    mysql_store.run("CREATE INDEX by_run ON feedbacks (run_id)")
    start = {"BIGINT": "1773446400 + 86400 * (seq DIV 100)"}.get(time, "'2026-03-14' + INTERVAL (seq DIV 100) DAY")
    mysql_store.run(
        "INSERT INTO runs SELECT concat('00000000-0000-0000-0000-', lpad(hex(seq), 12, '0')), "
        f"if(seq % 2, '{PROJECT}', 'other'), 'run', 'llm', {start}, NULL FROM seq_1_to_5000"
    )
    mysql_store.run("INSERT INTO feedbacks SELECT id, id, 'k' FROM runs")
    mysql_store.run("ANALYZE TABLE runs, feedbacks")
    source = mysql_store.source()
    assert isinstance(source, MysqlSource)
    assert source.check().index == "by_day"
    assert source.days(ProjectKey(PROJECT), WINDOW)[DAY].rows == 50
    with closing(source._begin(ProjectKey(PROJECT))) as session:
        queries = source._queries(session, ProjectKey(PROJECT))
    assert isinstance(queries, MysqlQueries)
    steps = explained(source, queries.day(WINDOW, ["id", "inputs", "feedbacks", "dotted_order"]).sql)
    assert [key for table, key in steps if table == "r"] == ["by_day", "by_day", "PRIMARY"]
    assert [key for table, key in steps if table == "f"] == ["by_run"]
    source.close()
