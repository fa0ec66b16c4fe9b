"""What the tests of known stores share: programs of their own, plain SQL, runs as they are exported, trees by hand."""

import json
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.ids import NAMESPACE
from export_pipeline.runs.rejected import RejectedRow
from export_pipeline.runs.schema import FIELD_BY_NAME, RUN_FIELDS
from export_pipeline.runs.transform import RunTransform
from export_pipeline.runs.window import Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.mysql.session import MysqlSession
from export_pipeline.sources.postgres.session import PostgresSession
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline.sources.sqlite.session import SqliteSession
from export_pipeline_tests.sources.stores import mysql_connection

DAY = date(2026, 3, 14)
NAMES = ["sqlite", "postgresql"]
PYTHON = Path(sys.prefix) / "stores" / "bin" / "python"
NOT_THERE = "Phoenix and MLflow are not installed: run `make stores`, which `make test` begins with"


def answer_of(script: str, *arguments: str, folder: Path) -> Any:
    """What a script of the stores' environment prints, as JSON."""
    assert PYTHON.exists(), NOT_THERE
    command = [str(PYTHON), script, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-4_000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def program(*command: str, folder: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A program of the stores' environment, until the end of the block; its output is in `folder`."""
    assert PYTHON.exists(), NOT_THERE
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(PYTHON.parent / command[0]), *command[1:]],
            cwd=folder,
            env=dict(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


@dataclass(frozen=True)
class Database:
    """A database that a known store has written, read and changed by plain SQL."""

    name: str
    url: str

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, by column; a statement without rows gives none."""
        if self.name == "sqlite":
            connection: Any = sqlite3.connect(self.url.removeprefix("sqlite:///"))
        elif self.name == "mysql":
            connection = mysql_connection(self.url)
        else:
            import psycopg2

            connection = psycopg2.connect(self.url)
        try:
            cursor = connection.cursor()
            cursor.execute(sql)
            found = cursor.fetchall() if cursor.description else []
            names = [item[0] for item in cursor.description or ()]
            connection.commit()
        finally:
            connection.close()
        return [dict(zip(names, row, strict=True)) for row in found]

    def source(self) -> RunSource:
        """The trace store as the product reads it, which has to recognise it."""
        return open_source(load_settings(source_url=self.url, control_url="sqlite:///control.db", bucket="bucket"))


def exported(source: RunSource, project: str, day: date = DAY) -> list[dict[str, Any]]:
    """The runs of a day as they stand in the file, all columns; no row is rejected."""
    found, rejected = exported_and_rejected(source, project, day)
    assert rejected == []
    return found


def exported_and_rejected(
    source: RunSource, project: str, day: date = DAY
) -> tuple[list[dict[str, Any]], list[RejectedRow]]:
    """The same, with the rows that are rejected."""
    transform = RunTransform(
        tenant_id=uuid.UUID(int=1),
        session_id=uuid.UUID(int=2),
        fields=RUN_FIELDS,
        format_version="v2_beta",
        epoch_unit=source.epoch_unit,
        window=Window.of_day(day),
    )
    found: list[dict[str, Any]] = []
    rejected: list[RejectedRow] = []
    with source.open(ProjectKey(project), Window.of_day(day), FIELD_BY_NAME) as snapshot:
        for batch in transform.stream(snapshot.batches()):
            found += batch.rows.to_pylist()
            rejected += batch.rejected
        assert snapshot.fingerprint.rows == len(found) + len(rejected)
    assert source.days(ProjectKey(project), Window.of_day(day))[day] == snapshot.fingerprint
    return found, rejected


def matching(source: RunSource, project: str, text: str) -> set[str]:
    """The names of the day's runs that match a filter, which the fingerprints count too."""
    tree, window = parse_filter(text), Window.of_day(DAY)
    with source.open(ProjectKey(project), window, ["name"], filter=tree) as snapshot:
        found = [name.as_py() for batch in snapshot.batches() for name in batch.column("name")]
        assert snapshot.fingerprint.rows == len(found)
    days = source.days(ProjectKey(project), window, filter=tree)
    assert {day: counted.rows for day, counted in days.items()} == ({DAY: len(found)} if found else {})
    return set(found)


@dataclass(frozen=True)
class Span:
    """A span as plain SQL has it."""

    trace: str
    id: str
    parent: str | None
    start: datetime

    @property
    def run_id(self) -> str:
        """The id of its run."""
        return str(uuid.uuid5(NAMESPACE, f"{self.trace}:{self.id}"))


def place_of(span: Span, spans: Mapping[tuple[str, str], Span], *, trace: uuid.UUID) -> dict[str, Any]:
    """A run's place in its tree, by walking up; `trace` is what the store calls its trace."""
    parent_id = None if span.parent is None else str(uuid.uuid5(NAMESPACE, f"{span.trace}:{span.parent}"))
    path, above = [span], span.parent
    while above is not None:
        found = spans.get((span.trace, above))
        if found is None or found in path:
            return {
                "id": span.run_id,
                "parent_run_id": parent_id,
                "trace_id": str(trace),
                "parent_run_ids": [],
                "dotted_order": None,
                "is_root": False,
            }
        path, above = [found, *path], found.parent
    return {
        "id": span.run_id,
        "parent_run_id": parent_id,
        "trace_id": path[0].run_id,
        "parent_run_ids": [each.run_id for each in path[:-1]],
        "dotted_order": ".".join(f"{each.start:%Y%m%dT%H%M%S%f}Z{each.run_id}" for each in path),
        "is_root": len(path) == 1,
    }


def twelve_places(number: float | None) -> Decimal | None:
    """A cost as the file has it: the number's shortest decimal form, rounded half-even."""
    step = Decimal(1).scaleb(-12)
    return None if number is None else Decimal(repr(number)).quantize(step, rounding=ROUND_HALF_EVEN)


@dataclass
class Work:
    """What reading a day takes: by session SQLite's steps, in hundreds, or MariaDB's rows; PostgreSQL's whole scans."""

    steps: list[int] = field(default_factory=list)
    scans: list[str] = field(default_factory=list)

    def does_not_grow_to(self, later: "Work", *, of: str) -> None:
        """Asserts that it is the same later, when the table `of` has many more rows."""
        assert later.steps == pytest.approx(self.steps, rel=0.2, abs=20)
        assert not [scan for scan in later.scans if f" on {of} " in scan]


def work_of_reading(database: Database, project: str) -> Work:
    """Reads a day, and looks on."""
    work, statements = Work(), list[str]()
    begin, stream, end = SqliteSession.__init__, PostgresSession.stream, MysqlSession.close

    def begun(session: SqliteSession, *arguments: Any, **named: Any) -> None:
        begin(session, *arguments, **named)
        work.steps.append(0)
        place = len(work.steps) - 1

        def step() -> None:
            work.steps[place] += 1

        session._connection.set_progress_handler(step, 100)

    def streamed(session: PostgresSession, sql: str) -> Any:
        statements.append(sql)
        return stream(session, sql)

    def ended(session: MysqlSession) -> None:
        counted = session.rows("SHOW SESSION STATUS LIKE 'Handler_read%'")
        work.steps.append(sum(int(count) for _, count in counted))
        end(session)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MysqlSession, "close", ended)
        patch.setattr(SqliteSession, "__init__", begun)
        patch.setattr(PostgresSession, "stream", streamed)
        source = database.source()
        exported(source, project)
        source.close()
    for sql in statements:
        plan = database.rows(f"SET export_pipeline.project = '{project}'; EXPLAIN {sql}")
        work.scans += [line.strip() for row in plan for line in row.values() if "Seq Scan" in line]
    assert bool(work.steps) != bool(statements)
    return work
