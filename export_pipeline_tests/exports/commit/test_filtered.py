"""An export with a filter: its files, counts, manifests and its verification know the matching rows only."""

import dataclasses
import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from export_pipeline.exports.control.tables import exports
from export_pipeline.exports.proof.verify.export import NO_KEYS, What, exports_in_bucket, verify_export
from export_pipeline.exports.proof.verify.report import VerifyReport
from export_pipeline.files.manifest import Manifest
from export_pipeline.runs.filter import parse_filter
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import RunSource
from export_pipeline_tests.exports.world import DAYS, EMPTY, FIRST, LAST, PROJECT, World
from export_pipeline_tests.servers import S3Server
from export_pipeline_tests.sources.stores import settings_for

FILTER = str(parse_filter("and(eq(status, 'error'), neq(metadata_key, 'internal'))"))
ROWS = 30


def add(connection: sqlite3.Connection, number: int, day: Any, *, error: str | None, extra: str = "{}") -> None:
    values = (str(UUID(int=number)), PROJECT, f"{day}T10:00:00Z", error, extra)
    connection.execute("INSERT INTO runs VALUES (?, ?, 'step', 'llm', ?, ?, ?)", values)


class Filtered:
    """A world whose standing export has a filter, over a real trace store."""

    def __init__(self, world: World, source: RunSource, connection: sqlite3.Connection) -> None:
        self.world, self.source, self.connection = world, source, connection

    def publish(self) -> None:
        self.world.publish()

    def verify(self, **options: Any) -> VerifyReport:
        world = self.world
        return verify_export(world.export, store=world.store, source=self.source, control=world.control, **options)

    def ids(self, day: Any) -> list[int]:
        table = pq.read_table(io.BytesIO(self.world.get(self.world.data(day))), columns=["id"])
        return [UUID(found).int for found in table.column("id").to_pylist()]


@pytest.fixture
def filtered(seaweedfs: S3Server, tmp_path: Path) -> Iterator[Filtered]:
    """On the first and the last day every third run failed, on the day between none did."""
    connection = sqlite3.connect(tmp_path / "traces.db", isolation_level=None)
    connection.execute("CREATE TABLE sessions (id TEXT, name TEXT)")
    connection.execute("INSERT INTO sessions VALUES (?, 'chatbot')", (PROJECT,))
    columns = "session_id TEXT, name TEXT, run_type TEXT, start_time TEXT, error TEXT, extra TEXT"
    connection.execute(f"CREATE TABLE runs (id TEXT PRIMARY KEY, {columns})")
    for place, day in enumerate(DAYS):
        for number in range(place * ROWS, (place + 1) * ROWS):
            internal = '{"metadata": {"internal": true}}' if number % 2 else "{}"
            add(connection, number, day, error="boom" if number % 3 == 0 and day != EMPTY else None, extra=internal)
    source = open_source(settings_for(f"sqlite:///{tmp_path / 'traces.db'}"))
    world = World.make(seaweedfs, tmp_path)
    world.source = source  # type: ignore[assignment]
    assert world.export.filter is None
    world.control.run(lambda control: control.execute(sa.update(exports).values(filter=FILTER)))
    yield Filtered(world, source, connection)
    source.close()
    connection.close()
    world.close()


def test_files_counts_and_manifests_hold_the_matching_rows_only(filtered: Filtered) -> None:
    outcomes = filtered.world.publish()
    assert filtered.ids(FIRST) == [0, 6, 12, 18, 24]
    assert filtered.ids(LAST) == [60, 66, 72, 78, 84]
    assert {day: outcome.rows for day, outcome in outcomes.items()} == {FIRST: 5, EMPTY: 0, LAST: 5}
    assert outcomes[EMPTY].uri is None
    manifest = Manifest.load(filtered.world.get(filtered.world.manifest(FIRST)))
    assert (manifest.filter, manifest.rows_source) == (FILTER, 5)


def test_verifying_against_the_trace_store_asks_with_the_filter(filtered: Filtered) -> None:
    filtered.publish()
    assert [str(problem) for problem in filtered.verify(deep=True).problems] == []
    add(filtered.connection, 900, FIRST, error=None)
    add(filtered.connection, 901, LAST, error="boom", extra='{"metadata": {"internal": 1}}')
    add(filtered.connection, 902, EMPTY, error=None)
    assert filtered.verify(deep=True).ok
    add(filtered.connection, 903, FIRST, error="boom")
    add(filtered.connection, 904, EMPTY, error="boom")
    found = {(problem.day, problem.what, problem.found) for problem in filtered.verify(deep=True).problems}
    assert found == {
        (FIRST, What.SOURCE_ROWS, "6"),
        (FIRST, What.IDS_MISSING, f"1: {UUID(int=903)}"),
        (EMPTY, What.SOURCE_ROWS, "1"),
    }


def test_the_bucket_alone_tells_the_filter(filtered: Filtered) -> None:
    filtered.publish()
    (export,), _ = exports_in_bucket(filtered.world.store, filtered.world.settings.prefix, keys=NO_KEYS)
    assert export.filter == FILTER
    assert verify_export(export, store=filtered.world.store, source=filtered.source, deep=True).ok


def test_a_manifest_of_another_filter_is_a_problem(filtered: Filtered) -> None:
    filtered.publish()
    other = dataclasses.replace(filtered.world.export, filter='eq(status, "success")')
    report = verify_export(other, store=filtered.world.store, control=filtered.world.control)
    assert {problem.what for problem in report.problems} == {What.MANIFEST_FORM}
    assert {problem.day for problem in report.problems} == set(DAYS)
