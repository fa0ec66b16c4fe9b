"""A backfill of five weeks that meets the schedule, and one that loses its code server; all on PostgreSQL."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import psycopg2
import pytest
import sqlalchemy as sa

from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.tables import commits, days, uploads
from export_pipeline.exports.projects.standing import current_table
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.paths import data_key, manifest_folder
from export_pipeline.settings import PREFIX
from export_pipeline_tests.cli.command import run
from export_pipeline_tests.clock import today
from export_pipeline_tests.live.dagster import PATIENCE, Live
from export_pipeline_tests.orchestration.house import House
from export_pipeline_tests.servers import Postgres, Weed, wait_for

pytestmark = pytest.mark.slow

PROJECTS = ("agent", "chat")
LAST = today() - timedelta(days=1)
DAYS = [LAST - timedelta(days=back) for back in range(32, -1, -1)]
"""More than one run holds: a run has 31 days at most."""

ROWS = 3
UNFINISHED = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED}

_TABLES = """
CREATE TABLE sessions (id UUID PRIMARY KEY, name TEXT, start_time TIMESTAMPTZ);
CREATE TABLE runs (
  id UUID PRIMARY KEY, session_id UUID, name TEXT, run_type TEXT, start_time TIMESTAMPTZ, inputs JSONB);
CREATE INDEX runs_by_day ON runs (session_id, start_time);
"""


@dataclass
class Shop:
    """The instance and the trace store that it reads."""

    live: Live
    traces: str

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Runs a statement in the trace store."""
        connection = psycopg2.connect(self.traces)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def add_rows(self, name: str, rows: int) -> None:
        """Rows at noon of each of `DAYS`."""
        self.execute(
            "INSERT INTO runs SELECT gen_random_uuid(), %s, 'a run', 'chain', day + number * interval '1 second', '{}' "
            "FROM generate_series(%s::timestamptz, %s, '1 day') day, generate_series(1, %s) number",
            House.project(name), f"{DAYS[0]} 12:00Z", f"{DAYS[-1]} 12:00Z", rows,
        )  # fmt: skip

    def ids(self, name: str) -> dict[date, list[str]]:
        """The ids of a project's rows by day, as the trace store has them."""
        found: dict[date, list[str]] = {day: [] for day in DAYS}
        query = "SELECT id::text, (start_time AT TIME ZONE 'UTC')::date FROM runs WHERE session_id = %s ORDER BY id"
        for row, day in self.execute(query, House.project(name)):
            found[day].append(row)
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody reads a run until this ends, as while an operator alters the table: whoever wants to waits."""
        connection = psycopg2.connect(self.traces)
        try:
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
                yield
        finally:
            connection.close()

    def backfill(self, *words: str) -> Any:
        """What `export-pipeline backfill … --json` says."""
        settings = {name.removeprefix(PREFIX): value for name, value in self.live.environment.items()
                    if name.startswith(PREFIX)}  # fmt: skip
        ended = run("backfill", *words, "--json", folder=self.live.folder, settings=settings)
        assert ended.status == 0, ended.err
        return json.loads(ended.out)

    def backfill_all_days(self, *projects: str) -> dict[str, str]:
        """Queues a backfill; the tags of its runs."""
        queued = self.backfill(*projects, "--from", str(DAYS[0]), "--to", str(LAST))
        return {"dagster/backfill": queued["backfill_id"]}

    def wait_for_success(self, tags: dict[str, str], *, projects: int) -> None:
        """Waits until a backfill has ended, and with every day done."""
        followed = self.backfill("--follow", tags["dagster/backfill"])
        assert (followed["ok"], followed["status"]) == (True, "COMPLETED_SUCCESS")
        assert [asset["done"] for asset in followed["assets"]] == [len(DAYS)] * projects
        self.wait_for_ends(tags)

    def at_their_days(self, tags: dict[str, str]) -> int:
        """How many of the runs with these tags have come to publishing."""
        return sum(
            bool(self.live.instance.all_logs(found.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT))
            for found in self.live.runs(tags)
        )

    def wait_for_ends(self, tags: dict[str, str]) -> None:
        """Waits until the runs with these tags have ended, and each of them well."""
        wait_for(
            lambda: not any(found.status in UNFINISHED for found in self.live.runs(tags)),
            what="the end of the runs", seconds=2 * PATIENCE,
        )  # fmt: skip
        assert {found.status for found in self.live.runs(tags)} == {dg.DagsterRunStatus.SUCCESS}

    def export(self, name: str) -> TableRecord | None:
        """The standing export of a project, where it has begun."""
        (project,) = [one for one in self.live.house.projects() if one.name == name]
        return current_table(self.live.control, project, self.live.house.settings)

    def read(self, query: sa.Select[Any]) -> list[Any]:
        """Rows of the control database."""
        with self.live.control.read() as connection:
            return list(connection.execute(query))

    def bytes_of(self, key: str) -> bytes:
        """An object of the bucket."""
        house = self.live.house
        return bytes(house.server.client().get_object(Bucket=house.bucket, Key=key)["Body"].read())


def commits_a_day(shop: Shop, name: str) -> dict[date, int]:
    """How often each day was committed."""
    export = shop.export(name)
    of_export = commits.c.export_id == str(export.export_id if export else None)
    count = Counter(row.day for row in shop.read(sa.select(commits.c.day).where(of_export)))
    return {day: count[day] for day in DAYS}


def one_run_of_a_backfill_at_a_time(configuration: Path) -> None:
    """So that another one waits when the code server is killed."""
    place = "- key: dagster/backfill\n        limit: "
    before = configuration.read_text()
    assert place + "3" in before
    configuration.write_text(before.replace(place + "3", place + "1"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Weed, postgres: Postgres) -> Iterator[Shop]:
    """Web server and daemon over two projects, of which nothing is exported yet."""
    folder = tmp_path_factory.mktemp("shop")
    house = House(folder, seaweedfs, start=DAYS[0])
    traces = postgres.new_database()
    house.variables |= {PREFIX + "SOURCE_URL": traces, PREFIX + "CONTROL_URL": postgres.new_database()}
    house.variables[PREFIX + "LATE_DAYS"] = "0"
    house.control.migrate()
    live = Live(house, folder)
    one_run_of_a_backfill_at_a_time(folder / "dagster" / "dagster.yaml")
    try:
        made = Shop(live, traces.replace("+psycopg2", ""))
        made.execute(_TABLES)
        for name in PROJECTS:
            made.execute("INSERT INTO sessions VALUES (%s, %s, '2020-01-01Z')", House.project(name), name)
            made.add_rows(name, ROWS)
        house.sync()
        live.start_web()
        live.start_daemon()
        yield made
    finally:
        live.stop()


def check_every_day(shop: Shop, name: str, *, committed: dict[date, int]) -> None:
    """Every day is Completed, committed so often and no more, and its file holds the trace store's rows once each."""
    export, rows, house = shop.export(name), shop.ids(name), shop.live.house
    assert export is not None
    of_export = days.c.export_id == str(export.export_id)
    found = shop.read(sa.select(days.c.day, days.c.status, days.c.rows, days.c.owner, days.c.intent).where(of_export))
    assert {row.day: (row.status, row.rows, row.owner, row.intent) for row in found if row.day in rows} == {
        day: ("Completed", len(ids), None, None) for day, ids in rows.items()
    }
    assert commits_a_day(shop, name) == committed
    for day in DAYS:
        manifests = house.server.keys(house.bucket, manifest_folder(export.prefix, export.key(day)))
        assert len(manifests) == committed[day], day
        file = Manifest.load(shop.bytes_of(manifests[-1])).file
        assert file is not None
        assert file.key == data_key(export.prefix, export.key(day), export.format_version)
        assert sorted(pl.read_parquet(io.BytesIO(shop.bytes_of(file.key)))["id"]) == rows[day], day
    data = house.server.keys(house.bucket, f"{export.prefix}export_id={export.layout_id}")
    assert len(data) == len(DAYS)
    assert house.server.open_uploads(house.bucket) == []
    assert shop.read(sa.select(uploads)) == []


def test_a_backfill_over_a_running_schedule_commits_every_day_once(shop: Shop) -> None:
    by_schedule = {"dagster/schedule_name": "daily_export"}
    with shop.locked():
        shop.live.put_the_schedule_back(days=1)
        wait_for(lambda: shop.at_their_days(by_schedule) == 2, what="the schedule's runs", seconds=PATIENCE)
        by_backfill = shop.backfill_all_days("--all")
        wait_for(lambda: shop.at_their_days(by_backfill) == 1, what="the backfill's first run", seconds=PATIENCE)
    shop.wait_for_success(by_backfill, projects=2)
    shop.wait_for_ends(by_schedule)
    for name in PROJECTS:
        check_every_day(shop, name, committed=dict.fromkeys(DAYS, 1))


def test_a_backfill_whose_code_server_is_killed_completes_every_day(shop: Shop) -> None:
    before = commits_a_day(shop, "chat")
    shop.add_rows("chat", 1)
    with shop.locked():
        by_backfill = shop.backfill_all_days("chat")
        wait_for(lambda: shop.at_their_days(by_backfill) == 1, what="the backfill's first run", seconds=PATIENCE)
        wait_for(lambda: len(shop.live.runs(by_backfill)) == 2, what="the backfill's second run", seconds=PATIENCE)
        assert shop.live.runs(by_backfill)[0].status == dg.DagsterRunStatus.QUEUED
        killed = shop.live.code_servers()
        assert killed
        for process in killed:
            process.kill()
    shop.wait_for_success(by_backfill, projects=1)
    check_every_day(shop, "chat", committed={day: 1 + number for day, number in before.items()})
    assert {process.pid for process in shop.live.code_servers()} - {process.pid for process in killed}
