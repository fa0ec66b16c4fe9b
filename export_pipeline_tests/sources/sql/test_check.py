"""What `source check` says, and the sentences for a store that cannot be opened."""

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from export_pipeline.errors import ExportPipelineError, SettingsError, SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.postgres.session import stream_sql
from export_pipeline.sources.postgres.source import PostgresSource
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql.queries import RunQueries
from export_pipeline.sources.sqlite.source import SqliteSource
from export_pipeline_tests.servers import Postgres
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, PROJECT, TWO, Store, rows_of, settings_for

START = "2026-03-14 10:00:00+00:00"
SECRET = "pass%40wo:rd"


@EVERYWHERE
def test_an_empty_database_lacks_both_tables_and_says_so_at_once(store: Store) -> None:
    source = store.source()
    report = source.check()
    assert report.problems == ("runs: table runs does not exist", "projects: table sessions does not exist")
    assert (report.sample, report.index, report.projects) == (None, None, 0)
    assert len(report.columns) == 30
    with pytest.raises(SourceUnusableError, match="table runs does not exist; projects: table sessions does not exist"):
        source.projects()
    source.close()


@EVERYWHERE
def test_every_required_column_that_is_missing_is_listed(store: Store) -> None:
    store.table("sessions", {"title": "TEXT"})
    store.table("runs", {"names": "TEXT", "id": "TEXT"})
    store.table("feedbacks", {"id": "TEXT"})
    source = store.source()
    assert source.check().problems == (
        "runs.session_id: table runs has no column session_id",
        "runs.name: table runs has no column name; did you mean names?",
        "runs.run_type: table runs has no column run_type",
        "runs.start_time: table runs has no column start_time",
        "projects.id: table sessions has no column id",
        "projects.name: table sessions has no column name",
        "feedbacks.run_id: table feedbacks has no column run_id",
    )
    source.close()


@EVERYWHERE
def test_the_report_says_where_every_column_comes_from_and_shows_a_row(store: Store) -> None:
    store.runs({"dotted_order": "TEXT", "end_time": "{time}", "inputs": "TEXT", "total_tokens": "INTEGER"})
    store.add(1, START, inputs="x" * 500, total_tokens=5, end_time=START)
    source = store.source()
    report = source.check()
    assert report.problems == ()
    origins = {column.field: (column.origin, column.detail) for column in report.columns}
    assert origins["id"] == ("mapped", "column id")
    assert origins["tenant_id"] == ("derived", "setting EXPORT_PIPELINE_TENANT_ID")
    assert origins["status"] == ("derived", "from end_time")
    assert origins["parent_run_ids"] == ("derived", "from dotted_order")
    assert origins["outputs"] == ("missing", "null")
    assert report.sample is not None
    assert report.sample["inputs"] == "x" * 79 + "…"
    assert (report.sample["total_tokens"], report.sample["outputs"]) == ("5", None)
    assert report.sample["start_time"] == "2026-03-14T10:00:00+00:00"
    assert report.projects == 1
    assert report.extra["a run is identified by"] == (
        "id and session_id; of rows that agree in them the newest is exported, 0 are set aside"
    )
    source.close()


def test_the_missing_index_comes_with_the_statement_that_makes_it(store: Store) -> None:
    store.runs({"run_id": "TEXT"}, unique=True)
    store.table("feedbacks", {"id": "TEXT", "run_id": "{uuid}"})
    source = store.source()
    report = source.check()
    assert report.index is None
    first, second = report.warnings
    assert second == "the feedback's run_id has no index, so exporting feedbacks is slow"
    store.run(first.partition("run: ")[2])
    store.run("CREATE INDEX by_run ON feedbacks (run_id)")
    report = source.check()
    assert report.index is not None
    assert report.warnings == ()
    assert report.extra["a run is identified by"] == "id, which is unique"
    source.close()


@pytest.mark.parametrize(
    ("index", "serves", "key"),
    [
        ("CREATE INDEX i ON runs (session_id, start_time, id)", True, None),
        ("CREATE INDEX i ON runs (start_time, session_id)", False, None),
        ("CREATE UNIQUE INDEX i ON runs (id)", False, "id, which is unique"),
        ("CREATE UNIQUE INDEX i ON runs (session_id, id)", False, "id and session_id, which are unique"),
        ("CREATE UNIQUE INDEX i ON runs (id, start_time)", False, None),
        ("CREATE UNIQUE INDEX i ON runs (id, session_id, start_time)", False, None),
    ],
)
def test_which_indexes_serve(store: Store, index: str, serves: bool, key: str | None) -> None:
    store.runs()
    store.run(index)
    source = store.source()
    report = source.check()
    assert report.index == ("i" if serves else None)
    versions = "id and session_id; of rows that agree in them the newest is exported, 0 are set aside"
    assert report.extra["a run is identified by"] == (key or versions)
    source.close()


@TWO
@pytest.mark.parametrize("index", ["INDEX i ON runs (session_id, start_time)", "UNIQUE INDEX i ON runs (id)"])
def test_an_index_of_some_rows_serves_nothing_and_tells_no_runs_apart(store: Store, index: str) -> None:
    store.runs()
    store.run(f"CREATE {index} WHERE name = 'x'")
    source = store.source()
    report = source.check()
    assert report.index is None
    assert report.extra["a run is identified by"].endswith("the newest is exported, 0 are set aside")
    source.close()


def test_the_index_is_searched_for_every_form_of_time(sqlite_store: Store) -> None:
    sqlite_store.runs(unique=True)
    sqlite_store.run("CREATE INDEX by_day ON runs (session_id, start_time)")
    source = sqlite_store.source()
    assert isinstance(source, SqliteSource)
    with closing(source._begin(ProjectKey(PROJECT))) as session:
        sql = RunQueries(source._plan(session), ProjectKey(PROJECT)).keys(Window.of_day(DAY))
        steps = [row[3].decode() for row in session.rows(f"EXPLAIN QUERY PLAN {sql}")]
    searches = [step for step in steps if "by_day (session_id=? AND start_time>? AND start_time<?)" in step]
    assert len(searches) == 5
    assert not [step for step in steps if step.startswith("SCAN r")]
    source.close()


def test_the_order_of_a_day_comes_from_the_index(postgres_store: Store) -> None:
    postgres_store.runs(unique=True)
    postgres_store.run("CREATE INDEX by_day ON runs (session_id, start_time, id)")
    source = postgres_store.source()
    assert isinstance(source, PostgresSource)
    with closing(source._begin(ProjectKey(PROJECT))) as session:
        queries = RunQueries(source._plan(session), ProjectKey(PROJECT))
        sql = stream_sql(queries, Window.of_day(DAY), queries.outputs(None))
    with postgres_store.connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("SET enable_bitmapscan = off")
        cursor.execute("SELECT set_config('export_pipeline.project', %s, false)", [PROJECT])
        cursor.execute(f"EXPLAIN {sql}")
        plan = " ".join(line for (line,) in cursor.fetchall())
    source.close()
    assert "Index Scan using by_day" in plan or "Index Only Scan using by_day" in plan
    assert "Sort" not in plan


def test_columns_that_may_not_be_read_are_named(postgres: Postgres, postgres_store: Store) -> None:
    postgres_store.runs({"inputs": "TEXT", "outputs": "TEXT"})
    postgres_store.add(1, START, inputs="in", outputs="out")
    schema = postgres_store.url.rpartition("%3D")[2]
    role = f"reader_{schema}"
    postgres_store.run(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
    url = postgres_store.url.replace(f"postgres:{postgres.password}@", f"{role}:reader@")
    postgres_store.run(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    postgres_store.run(f"GRANT SELECT ON sessions TO {role}")
    source = open_source(settings_for(url))
    assert source.check().problems == ("runs: no right to read table runs; grant SELECT on it to the user of the URL",)
    postgres_store.run(f"GRANT SELECT (id, session_id, name, run_type, start_time, inputs) ON runs TO {role}")
    report = source.check()
    assert report.problems == ()
    expected = "runs.outputs: no right to read the column outputs of table runs; grant SELECT on it"
    assert report.warnings[0] == expected
    assert [(row["inputs"], row["outputs"]) for row in rows_of(source)] == [(b"in", None)]
    source.close()


@pytest.mark.parametrize(
    ("field", "kind", "complaint"),
    [
        ("name", "BYTEA", "runs.name: column name holds bytes; map an expression such as"),
        ("end_time", "UUID", "runs.end_time: column end_time is of type uuid, which is not a time"),
        ("start_time", "INTERVAL", "runs.start_time: column start_time is of type interval, which is not a time"),
    ],
)
def test_types_that_cannot_be_exported_are_problems(
    postgres_store: Store, field: str, kind: str, complaint: str
) -> None:
    postgres_store.runs({field: kind})
    source = postgres_store.source()
    (problem,) = source.check().problems
    assert problem.startswith(complaint)
    source.close()


def refused(url: str) -> ExportPipelineError:
    with pytest.raises(ExportPipelineError) as caught:
        open_source(settings_for(url))
    text = str(caught.value)
    assert "EXPORT_PIPELINE_SOURCE_URL" in text
    assert "\n" not in text
    return caught.value


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql+pymysql://me:{secret}@db/traces", "begins with mysql+pymysql://; write mysql:// instead"),
        ("mssql://me:{secret}@db/traces", "names a mssql database; trace stores can be"),
        ("duckdb:///traces.duckdb", "names a duckdb database"),
        ("clickhouse+native://me:{secret}@db/traces", "names a clickhouse+native database"),
        ("traces.db", "is not a database URL: it looks like"),
        ("postgresql://me:{secret}@db:port/traces", "is not a database URL: it looks like"),
        ("sqlite://", "must name a SQLite file"),
        ("sqlite:///:memory:", "must name a SQLite file"),
    ],
)
def test_other_databases_and_wrong_urls_are_refused_by_name(url: str, words: str) -> None:
    error = refused(url.replace("{secret}", SECRET))
    assert isinstance(error, SettingsError)
    assert words in str(error)
    assert "wo:rd" not in str(error)


def test_files_that_are_no_store_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in str(refused(f"sqlite:///{tmp_path}/missing.db"))
    assert not (tmp_path / "missing.db").exists()
    assert "is not a file" in str(refused(f"sqlite:///{tmp_path}"))
    (tmp_path / "text").write_text("This is a text, and certainly not a database. " * 50)
    assert "is no SQLite database" in str(refused(f"sqlite:///{tmp_path}/text"))


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_a_file_whose_text_is_not_utf_8_is_refused_by_its_encoding(tmp_path: Path, encoding: str) -> None:
    connection = sqlite3.connect(tmp_path / "traces.db")
    connection.execute(f"PRAGMA encoding = '{encoding}'")
    connection.execute("CREATE TABLE runs (id)")
    connection.close()
    error = refused(f"sqlite:///{tmp_path}/traces.db")
    assert isinstance(error, SourceUnusableError)
    assert f"holds its text as {encoding}" in str(error)


@pytest.mark.parametrize("cut", [5000, 20_000, 60_000])
def test_a_damaged_file_is_unusable_and_never_a_short_day(tmp_path: Path, cut: int) -> None:
    store = Store("sqlite", f"sqlite:///{tmp_path / 'traces.db'}", tmp_path)
    store.runs({"inputs": "TEXT"})
    for number in range(50):
        store.add(number, START, inputs="x" * 2000)
    store.run("PRAGMA wal_checkpoint(TRUNCATE)")
    store.run("PRAGMA journal_mode = DELETE")
    store.close()
    path = tmp_path / "traces.db"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(SourceUnusableError):
        rows_of(open_source(settings_for(store.url)))


def test_a_store_that_is_locked_is_unreachable_and_not_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export_pipeline.sources.sqlite.session.BUSY_SECONDS", 0.05)
    path = tmp_path / "traces.db"
    store = sqlite3.connect(path, isolation_level=None)
    store.execute("CREATE TABLE runs (id)")
    store.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SourceUnreachableError, match="database is locked"):
        open_source(settings_for(f"sqlite:///{path}"))
    store.close()


def test_a_server_that_refuses_or_is_not_there(postgres: Postgres) -> None:
    good = postgres.url()
    wrong = good.replace(postgres.password, SECRET)
    error = refused(wrong)
    assert isinstance(error, SourceUnusableError)
    assert "password authentication failed" in str(error)
    assert "pass@wo:rd" not in str(error)
    assert SECRET not in str(error)
    error = refused(postgres.url("nowhere"))
    assert isinstance(error, SourceUnusableError)
    assert 'database "nowhere" does not exist' in str(error)
    assert postgres.password not in str(error)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for url in (good.replace(f":{postgres.port}/", f":{port}/"), "postgresql://me:secret@no-such-host.invalid/x"):
            error = refused(url)
            assert isinstance(error, SourceUnreachableError)
            assert "secret" not in str(error)


def test_a_driver_s_words_never_carry_the_password(postgres: Postgres) -> None:
    for extra in ("?sslmode=nonsense", "?keepalives_idle=soon", "?no_such_option=1"):
        error = refused(postgres.url() + extra)
        assert isinstance(error, SourceUnusableError)
        assert postgres.password not in str(error)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgres"])
def test_every_name_of_postgresql_is_taken(postgres: Postgres, scheme: str) -> None:
    source = open_source(settings_for(postgres.url().replace("postgresql+psycopg2", scheme)))
    assert source.check().problems == ("runs: table runs does not exist", "projects: table sessions does not exist")
    source.close()
