"""Verifying and following bulk exports: several tables under one id, days cut at the window's ends."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from export_pipeline.exports.bulk.read import tables_of
from export_pipeline.exports.bulk.records import BulkExport
from export_pipeline.exports.control.tables import projects
from export_pipeline.exports.destinations.opened import open_destination
from export_pipeline.exports.proof.changes import bulk_changes_since
from export_pipeline.exports.proof.verify.export import VerifyReport, verify_export
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline_tests.exports.bulk.workers import worker_of
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.house import START, House
from export_pipeline_tests.servers import Rclone

pytestmark = pytest.mark.slow  # whole exports, published and read back

DAYS = [START + timedelta(days=offset) for offset in range(4)]


@pytest.fixture
def bulk(house: House) -> BulkHouse:
    """A house with a destination and two experiments; the second day of the window has no rows."""
    made = BulkHouse(house)
    for name in ("one", "two"):
        house.add_project(name, days=[DAYS[0], DAYS[2], DAYS[3]])
    house.sync()
    with made.control.begin() as connection:
        connection.execute(projects.update().values(is_experiment=True))
    return made


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory, rclone: Rclone) -> House:
    """A trace store, a control database and a bucket."""
    return House(tmp_path_factory.mktemp("house"), rclone)


def exported(bulk: BulkHouse) -> BulkExport:
    """All experiments from noon of the first day until just before the last day's rows."""
    noon = datetime.combine(DAYS[0], datetime.min.time(), UTC) + timedelta(hours=12)
    export = bulk.ask(
        str(uuid.uuid4()), session_id=None, all_experiments=True, start=noon, end=noon + timedelta(days=3)
    )
    attempts = {unit.id: unit.attempt for unit in bulk.units(export.id)}
    worker_of(bulk.house.settings).publish_units(export.id, attempts)
    assert bulk.export(export.id).status == "Completed"
    return export


@contextmanager
def opened(bulk: BulkHouse) -> Iterator[ObjectStore]:
    settings = bulk.house.settings
    store = open_destination(bulk.control, bulk.destination, tenant_id=bulk.tenant, settings=settings)
    yield store
    store.close()


def reports(bulk: BulkHouse, export: BulkExport) -> list[VerifyReport]:
    with opened(bulk) as store:
        return [
            verify_export(table, store=store, control=bulk.control, source=bulk.connections.source, deep=True)
            for table in tables_of(bulk.control, export.id)
        ]


def test_each_table_of_an_export_is_verified_by_itself(bulk: BulkHouse) -> None:
    found = reports(bulk, exported(bulk))
    assert [[str(problem) for problem in report.problems] for report in found] == [[], []]
    counts = [
        (report.counts.days, report.counts.files, report.counts.empty_days, report.counts.rows) for report in found
    ]
    assert counts == [(4, 2, 2, 6)] * 2
    assert [report.counts.days_compared_with_source for report in found] == [4, 4]


def test_what_is_no_file_of_the_export_is_reported_and_so_is_a_row_in_an_empty_part(bulk: BulkHouse) -> None:
    export = exported(bulk)
    stray = f"lake/export_id={export.id}/stray.txt"
    bulk.house.server.client().put_object(Bucket=bulk.house.bucket, Key=stray, Body=b"x")
    (first, _) = tables_of(bulk.control, export.id)
    with closing(sqlite3.connect(bulk.house.folder / "traces.db")) as traces, traces:
        row = (str(uuid.uuid4()), first.project, "late", "chain", f"{DAYS[3]}T11:00:00+00:00", "{}")
        traces.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", row)
    one, two = reports(bulk, export)
    assert [problem.key for problem in two.problems] == [stray]
    assert sorted(str(problem.day) for problem in one.problems) == [str(DAYS[3]), "None"]


def test_the_changes_of_all_tables_are_listed_under_the_exports_id(bulk: BulkHouse) -> None:
    export = exported(bulk)
    changes, _ = bulk_changes_since(bulk.control, export.id, tenant_id=bulk.tenant)
    assert len(changes) == 8
    assert len({change.session_id for change in changes}) == 2
