"""What DuckDB and Polars read back from the bucket is the source's rows, value for value, in all 30 columns.

What is expected comes from a driver's own answer to a plain SELECT and the slow, obvious reference of the transform.
"""

import json
import sqlite3
import uuid
from collections import Counter
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.runs.schema import FORMAT_VERSIONS, RUN_FIELDS, FormatVersion, Kind
from export_pipeline.runs.window import Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_sample.write import write_sample
from export_pipeline_tests.exports.round_trip import NAMES, Published, Rows, cells_of, published
from export_pipeline_tests.runs import reference
from export_pipeline_tests.runs.rows import NOON, ORDINARY, table
from export_pipeline_tests.servers import ClickhouseServer, Postgres, Weed
from export_pipeline_tests.sources.sql.expressions import EXTRACT, expected
from export_pipeline_tests.sources.stores import PROJECT as MAPPED
from export_pipeline_tests.sources.stores import Store, clickhouse_literal, execute

pytestmark = pytest.mark.slow

DAY = date(2026, 1, 9)
DAY_STARTS, DAY_ENDS = NOON - 12 * 3_600_000_000, NOON + 12 * 3_600_000_000
PROJECT = str(ORDINARY["session_id"])
KINDS = {field.name: field.kind for field in RUN_FIELDS}
ABSENT = {"feedbacks", "parent_run_ids", "tenant_id"}
"""Not read from the sample's runs: feedback lies apart, ancestors are derived, the workspace is that of the export."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind; with `EVERYWHERE` of ClickHouse's too."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/traces.db"
    if request.param == "clickhouse":
        clickhouse: ClickhouseServer = request.getfixturevalue("clickhouse")
        return clickhouse.url(clickhouse.new_database())
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


EVERYWHERE = pytest.mark.parametrize("url", ["sqlite", "postgresql", "clickhouse"], indirect=True)


def dialect_of(url: str) -> str:
    return url.partition(":")[0].partition("+")[0]


def select(url: str, query: str) -> list[tuple[Any, ...]]:
    """A driver's answer, SQLite's texts as bytes."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.text_factory = bytes
            return connection.execute(query).fetchall()
    import psycopg2

    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def expected_of(raw: list[dict[str, Any]], export: Published) -> tuple[Rows, list[reference.Outcome]]:
    """The rows of the file in their order, and what became of every row that has a time within the day."""
    record = export.export
    slow = reference.Transform(
        tenant_id=record.tenant_id,
        session_id=record.session_id,
        fields=RUN_FIELDS,
        format_version=record.format_version,
        epoch_unit="s",
    )
    outcomes = [(cells["id"], outcome) for cells in raw if (outcome := slow(cells))]
    rows: Rows = []
    met: set[str] = set()
    for _, found in sorted(
        outcomes, key=lambda each: (each[1].row["start_time"], each[0]) if each[1].row else (0, b"")
    ):
        if found.row is not None and found.row["id"] not in met:
            met.add(found.row["id"])
            rows.append(found.row)
        elif found.row is not None:
            found.reason = "id: comes twice"
    return rows, [outcome for _, outcome in outcomes]


def check(found: Rows, expected: Rows) -> None:
    """The same rows, in the same order; says which cell is not."""
    ids, wanted_ids = ({row["id"]: row["start_time"] for row in rows} for rows in (found, expected))
    assert ids.items() ^ wanted_ids.items() == set()
    assert list(ids) == list(wanted_ids)
    for row, wanted in zip(found, expected, strict=True):
        wrong = {name: (row[name], wanted[name]) for name in NAMES if row[name] != wanted[name]}
        assert wrong == {}, row["id"]


# Sample data


def sample_query(url: str, session: str) -> str:
    if url.startswith("sqlite"):
        columns = ["NULL" if name in ABSENT else name for name in NAMES]
    else:
        forms = {Kind.TIME: "(extract(epoch FROM {}) * 1000000)::bigint", Kind.COUNT: "{}", Kind.FLAG: "{}"}
        columns = ["NULL" if name in ABSENT else forms.get(KINDS[name], "{}::text").format(name) for name in NAMES]
    return f"SELECT {', '.join(columns)} FROM runs WHERE session_id = '{session}'"


def sample_feedback(url: str) -> dict[str, list[Any]]:
    """The feedback records of every run that has any, as objects, in the order in which they were given."""
    if url.startswith("sqlite"):
        names = [row[1].decode() for row in select(url, "PRAGMA table_info(feedbacks)")]
        values = select(url, "SELECT * FROM feedbacks ORDER BY created_at, id")
        plain = [[cell.decode() if isinstance(cell, bytes) else cell for cell in row] for row in values]
        records = [dict(zip(names, row, strict=True)) for row in plain]
    else:
        records = [row[0] for row in select(url, "SELECT to_jsonb(f) FROM feedbacks f ORDER BY created_at, id")]
    found: dict[str, list[Any]] = {}
    for record in records:
        found.setdefault(record["run_id"], []).append(record)
    return found


def test_sample_traces_come_back_value_for_value(url: str, seaweedfs: Weed, tmp_path: Path) -> None:
    last = date(2026, 3, 14)
    report = write_sample(url, projects=1, experiments=0, days=4, runs_per_day=120, last_day=last)
    (session,) = [project.id for project in report.projects]
    raw = [cells_of(row) for row in select(url, sample_query(url, session))]
    feedback = sample_feedback(url)
    days = [last - timedelta(days=number) for number in range(4)]
    for version in FORMAT_VERSIONS:
        folder = tmp_path / version
        with published(
            url, server=seaweedfs, folder=folder, project=session, days=days, format_version=version
        ) as export:
            expected, outcomes = expected_of(raw, export)
            assert len(expected) == report.runs > 200
            assert sum((outcome.replaced for outcome in outcomes), start=Counter()) == Counter()
            for row in expected:
                row["feedbacks"] = feedback.get(row["id"], [])
            assert sum(len(row["feedbacks"]) for row in expected) == report.feedbacks > 1
            for found in (export.by_polars(), export.by_duckdb()):
                in_order = sorted(found, key=lambda row: (row["start_time"], row["id"]))
                check([{**row, "feedbacks": json.loads(row["feedbacks"])} for row in in_order], expected)


# Hostile rows

UNREAD = {"session_id", "tenant_id", "feedbacks"}
"""Columns of runs whose cells are not taken: the export has its project and workspace, feedback has its own table."""


def storable(url: str, cell: Any) -> bool:
    """Whether a database can hold the text at all."""
    if dialect_of(url) != "postgresql" or not isinstance(cell, bytes):
        return True
    try:
        return "\x00" not in cell.decode()
    except UnicodeDecodeError:
        return False


def hostile_rows(url: str) -> list[dict[str, Any]]:
    """A row for each hostile cell of each column, all of them text, each with a time of its own and its own id."""
    rows: list[dict[str, Any]] = []
    for name in NAMES:
        if name in UNREAD:
            continue
        for cell in table(name, as_text=True):
            if not storable(url, cell):
                continue
            number = len(rows)
            usual = {key: None if value is None else str(value).encode() for key, value in ORDINARY.items()}
            usual |= {
                "id": str(uuid.UUID(int=number + 1)).encode(),
                "tenant_id": None,
                "feedbacks": None,
                "start_time": f"2026-01-09 12:00:00.{number:06}".encode(),
                "end_time": b"2026-01-09T12:00:01.5Z",
                "first_token_time": b"2026-01-09T12:00:00.2Z",
            }
            rows.append({**usual, name: cell})
    return rows


def fill(url: str, rows: list[dict[str, Any]]) -> None:
    """A store whose columns are all text."""
    marks = ", ".join(("CAST(? AS TEXT)" if url.startswith("sqlite") else "%s") for _ in NAMES)
    kind = "" if url.startswith("sqlite") else "TEXT"
    statements = [
        f"CREATE TABLE sessions (id {kind}, name {kind})",
        f"INSERT INTO sessions VALUES ('{PROJECT}', 'a/../=é 🙂')",
        f"CREATE TABLE runs ({', '.join(f'{name} {kind}' for name in NAMES)})",
    ]
    if dialect_of(url) == "clickhouse":
        for statement in statements:
            execute(url, f"{statement} ENGINE = Memory" if statement.startswith("CREATE") else statement)
        for some in (rows[place : place + 100] for place in range(0, len(rows), 100)):
            values = (f"({', '.join(clickhouse_literal(row[name]) for name in NAMES)})" for row in some)
            execute(url, f"INSERT INTO runs VALUES {', '.join(values)}")
        return
    insert = f"INSERT INTO runs VALUES ({marks})"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            for statement in statements:
                connection.execute(statement)
            connection.executemany(insert, [[row[name] for name in NAMES] for row in rows])
        return
    import psycopg2

    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection, connection.cursor() as to:
        for statement in statements:
            to.execute(statement)
        texts = [[row[name].decode() if row[name] is not None else None for name in NAMES] for row in rows]
        to.executemany(insert, texts)


@EVERYWHERE
def test_hostile_rows_come_back_as_the_rules_say_and_fail_no_day(url: str, seaweedfs: Weed, tmp_path: Path) -> None:
    raw = hostile_rows(url)
    fill(url, raw)
    with closing(open_source(load_settings(source_url=url, control_url="sqlite:///c", bucket="any"))) as source:
        outside = source.outside(ProjectKey(PROJECT), Window.of_day(DAY))
    assert outside.total == sum(not starts_in_day(cells["start_time"]) for cells in raw) > 30
    assert (outside.unreadable > 25, outside.before > 5, outside.after > 3) == (True, True, True)
    for version in FORMAT_VERSIONS:
        hostile_day(url, raw, version, server=seaweedfs, folder=tmp_path / version)


def hostile_day(url: str, raw: list[dict[str, Any]], version: FormatVersion, *, server: Weed, folder: Path) -> None:
    with published(url, server=server, folder=folder, project=PROJECT, days=[DAY], format_version=version) as export:
        in_day = [cells for cells in raw if starts_in_day(cells["start_time"])]
        expected, outcomes = expected_of(in_day, export)
        rejected = Counter(outcome.reason for outcome in outcomes if outcome.reason)
        replaced: Counter[str] = sum((each.replaced for each in outcomes), start=Counter())
        check(export.by_polars(), expected)
        check(export.by_duckdb(), expected)
        result, manifest = export.outcomes[DAY], export.manifest()
        assert export.rejected() == rejected
        assert manifest.replaced == replaced
        assert (result.rows, result.rejected, result.replaced) == (
            len(expected),
            rejected.total(),
            replaced.total(),
        )
        assert manifest.rows_source == len(in_day) > 500
        assert (len(expected) > 450, rejected.total() > 40) == (True, True)


UNUSUAL = {
    b"2026-01-09t12:00:00,25z",
    b"2026-01-09 12:00:00 utc",
    b"2026-01-09 12:00:00 +01:00:30",
    b"2026-01-09 23:59:59.",
    b"1.76796e9",
}
"""Times within the day in forms that a start_time may not have, so that an index can find days among texts."""


def starts_in_day(cell: bytes | None) -> bool:
    """Whether a text is a time within the day; others are in no day, and are counted by themselves."""
    if cell is None or cell in UNUSUAL:
        return False
    try:
        found = reference.time(cell.decode(), "s")
    except UnicodeDecodeError:
        return False
    return found is not None and DAY_STARTS <= found < DAY_ENDS


# A mapping


@EVERYWHERE
def test_rows_on_which_an_expression_fails_are_named_by_the_manifest_and_all_others_published(
    url: str, seaweedfs: Weed, tmp_path: Path
) -> None:
    store = Store(dialect_of(url), url, tmp_path)
    store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(40):
        text = "{" if number in {5, 17, 39} else f'{{"q": "question-{number}"}}'
        store.add(number, f"2026-01-09T10:00:{number:02}+00:00", inputs=text)
    question = EXTRACT[store.dialect]
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(f'runs: {{fields: {{inputs: {{sql: "{question}"}}}}}}')
    with published(
        url, server=seaweedfs, folder=tmp_path / "v1", project=MAPPED, days=[DAY], format_version="v1", mapping=mapping
    ) as export:
        wanted = expected(store, "inputs LIKE '%}'")
        assert {uuid.UUID(row["id"]).int: row["inputs"] for row in export.by_duckdb()} == wanted
        manifest = export.manifest()
        assert (manifest.rows, manifest.rows_read, export.outcomes[DAY].rejected) == (37, 40, 3)
        assert export.rejected() == {"inputs: the mapping's expression fails": 3}
        assert [row.id for row in manifest.rejected.rows] == [str(uuid.UUID(int=number)) for number in (5, 17, 39)]
    store.close()
