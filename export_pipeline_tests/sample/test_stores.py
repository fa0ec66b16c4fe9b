"""Writing a sample: SQLite and PostgreSQL hold the same, what is there is not harmed, and failures leave nothing."""

import sqlite3
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.errors import InputError, SourceUnreachableError, SourceUnusableError
from export_pipeline_sample import write
from export_pipeline_sample.write import write_sample
from export_pipeline_tests.servers import Postgres

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"days": 2, "runs_per_day": 20, "last_day": date(2026, 3, 20)}


def _count(path: Path, table: str = "runs") -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_postgres_and_sqlite_hold_the_same_values_with_fitting_types_and_indexes(
    tmp_path: Path, postgres: Postgres
) -> None:
    url = postgres.new_database()
    report = write_sample(url, **SMALL)
    assert write_sample(f"sqlite:///{tmp_path / 's'}", **SMALL) == report
    database = url.rpartition("/")[2]
    query = "SELECT {} FROM runs r LEFT JOIN feedbacks f ON f.run_id = r.id ORDER BY r.id, f.id"
    there = postgres.execute(
        query.format(
            "r.id::text, r.start_time::text, r.inputs = r.inputs, r.error, r.total_tokens, r.total_cost, f.key, f.score"
        ),
        database=database,
    )
    with closing(sqlite3.connect(tmp_path / "s")) as connection:
        here = connection.execute(
            query.format("r.id, r.start_time, 1, r.error, r.total_tokens, r.total_cost, f.key, f.score")
        ).fetchall()
    assert len(there) == len(here) >= report.runs
    for one, other in zip(there, here, strict=True):
        assert one[0] == other[0]
        assert one[1].replace(" ", "T").partition("+")[0].ljust(26, "0")[:19] == other[1][:19]
        assert one[3:5] == other[3:5]
        assert one[5] == (None if other[5] is None else Decimal(other[5]))
        assert one[6] == other[6]
    types = dict(
        postgres.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'runs'", database=database
        )
    )
    assert types["id"] == "uuid"
    assert types["start_time"] == "timestamp with time zone"
    assert types["inputs"] == "jsonb"
    assert types["total_cost"] == "numeric"
    assert types["is_root"] == "boolean"
    indexes = postgres.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'runs'", database=database)
    assert any("(session_id, start_time, id)" in index[0] for index in indexes)


def _stores(tmp_path: Path, postgres: Postgres) -> list[str]:
    return [f"sqlite:///{tmp_path / 'folder' / 'traces.db'}", postgres.new_database()]


def test_a_store_with_runs_is_refused_appended_to_or_replaced(tmp_path: Path, postgres: Postgres) -> None:
    for url in _stores(tmp_path, postgres):
        first = write_sample(url, **SMALL, seed=1)
        with pytest.raises(InputError, match="holds runs already"):
            write_sample(url, **SMALL, seed=2)
        with pytest.raises(InputError, match=r"holds rows of this sample already \(.*id"):
            write_sample(url, **SMALL, seed=1, existing="append")
        second = write_sample(url, **SMALL, seed=2, existing="append")
        with pytest.raises(InputError, match="holds runs already"):
            write_sample(url, **SMALL)
        third = write_sample(url, **SMALL, seed=1, existing="replace")
        assert third == first != second
        if url.startswith("sqlite"):
            assert _count(tmp_path / "folder" / "traces.db") == first.runs
        else:
            assert postgres.execute("SELECT count(*) FROM runs", database=url.rpartition("/")[2]) == [(first.runs,)]


def test_a_failure_in_the_middle_leaves_nothing(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_BATCH_CHARACTERS", 1)

    def break_off(done: int, total: int) -> None:
        if done > 30:
            raise KeyboardInterrupt

    for url in _stores(tmp_path, postgres):
        with pytest.raises(KeyboardInterrupt):
            write_sample(url, **SMALL, on_progress=break_off)
    assert list((tmp_path / "folder").iterdir()) == []
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert postgres.execute(tables, database=url.rpartition("/")[2]) == [(0,)]


def test_other_tables_of_a_file_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 7 AS x")
        connection.commit()
    for existing in ("refuse", "replace"):
        report = write_sample(f"sqlite:///{path}", **SMALL, existing=existing)
        assert _count(path) == report.runs
        assert _count(path, "mine") == 1
    assert [item.name for item in tmp_path.iterdir()] == ["mine.db"]


def test_names_with_special_characters_work(tmp_path: Path) -> None:
    path = tmp_path / "a folder é" / "100 %.db"
    assert write_sample(f"sqlite:///{path}", **SMALL).runs == _count(path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://h/d", "to SQLite and PostgreSQL, not to 'mysql'"),
        ("not a url", "cannot be read; write sqlite:///"),
        ("sqlite://", "go into a file"),
        ("sqlite:////dev/null/x/traces.db", "cannot be written"),
    ],
)
def test_wrong_urls_are_explained(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_sample(url, **SMALL)


def test_a_file_that_is_no_database_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at by SQLite " * 20)
    with pytest.raises(InputError, match=r"notes\.txt cannot be written as a trace store: file is not a database"):
        write_sample(f"sqlite:///{path}", **SMALL, existing="replace")
    assert path.read_text().startswith("not a database")


@pytest.mark.parametrize(
    ("option", "value"), [("days", 0), ("runs_per_day", 0), ("projects", -1), ("row_bytes", 10), ("days", 10**6)]
)
def test_numbers_that_make_no_sense_are_refused_before_anything_is_made(
    tmp_path: Path, option: str, value: int
) -> None:
    with pytest.raises(InputError, match=r"at least|no calendar"):
        write_sample(f"sqlite:///{tmp_path / 's'}", **{**SMALL, option: value})
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_does_not_answer_or_fit_is_explained_without_its_password(postgres: Postgres) -> None:
    wrong = postgres.url().replace(postgres.password, "canary-secret")
    with pytest.raises(SourceUnreachableError, match=r"cannot be reached: .*password authentication failed") as caught:
        write_sample(wrong, **SMALL)
    assert "canary-secret" not in str(caught.value)
    url = postgres.new_database()
    postgres.execute("CREATE TABLE runs (id int)", database=url.rpartition("/")[2])
    with pytest.raises(SourceUnusableError, match=r"cannot be written to postgresql.*column"):
        write_sample(url, **SMALL)
