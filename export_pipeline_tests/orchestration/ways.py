"""The ways in which days leave a trace store, for tests that compare the bucket with plain SQL."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.projects.sync import SyncReport
from export_pipeline.files.manifest import Manifest
from export_pipeline.settings import PREFIX
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.house import House, materialize
from export_pipeline_tests.sources.stores import Store


@dataclass(frozen=True)
class Exported:
    """What lies in the bucket afterwards: all rows of the data files, and the manifests."""

    rows: pl.DataFrame
    manifests: list[Manifest]

    @property
    def ids(self) -> list[str]:
        """The ids of all rows, sorted."""
        return sorted(self.rows["id"].to_list())


Way = Callable[[House, dg.DagsterInstance, str, date, int], Exported]
"""Exports so many days of a project, by its name, from a first one on."""


def house_over(house: House, store: Store, **settings: str) -> House:
    """The house with another trace store."""
    house.variables[PREFIX + "SOURCE_URL"] = store.url
    house.variables.update({PREFIX + name.upper(): value for name, value in settings.items()})
    return house


def synced(house: House) -> SyncReport:
    """`export-pipeline projects sync`."""
    source = open_source(house.settings)
    try:
        return sync_projects(house.control, source, house.settings)
    finally:
        source.close()


def by_asset(house: House, instance: dg.DagsterInstance, project: str, first: date, days: int) -> Exported:
    """One run of the project's asset, over a range of partitions."""
    name = find_project(house.control, project).asset_name
    last = first + timedelta(days=days - 1)
    assert materialize(house.definitions(), instance, name, first=first, last=last).success
    return _exported(house)


def by_asset_day_by_day(house: House, instance: dg.DagsterInstance, project: str, first: date, days: int) -> Exported:
    """A run of the asset for each day."""
    for offset in range(days):
        by_asset(house, instance, project, first + timedelta(days=offset), 1)
    return _exported(house)


def by_bulk_export(house: House, instance: dg.DagsterInstance, project: str, first: date, days: int) -> Exported:
    """A bulk export, planned and worked off."""
    bulk = BulkHouse(house)
    asked = bulk.ask(str(find_project(house.control, project).session_id), first=first, days=days)
    bulk.work_off(instance)
    done = bulk.export(asked.id)
    assert (done.status, done.error) == ("Completed", None)
    return _exported(house)


WAYS: dict[str, Way] = {"asset": by_asset, "day by day": by_asset_day_by_day, "bulk export": by_bulk_export}


def _exported(house: House) -> Exported:
    bodies = {key: _body(house, key) for key in house.keys()}  # noqa: SIM118 - a method of the house
    files = [pl.read_parquet(io.BytesIO(body)) for key, body in bodies.items() if key.endswith(".parquet")]
    manifests = [Manifest.load(body) for key, body in bodies.items() if "/manifests/" in f"/{key}"]
    return Exported(pl.concat(files) if files else pl.DataFrame({"id": []}), manifests)


def _body(house: House, key: str) -> bytes:
    body: bytes = house.server.client().get_object(Bucket=house.bucket, Key=key)["Body"].read()
    return body


def asked(store: Store, query: str) -> list[Any]:
    """The first column of a query's rows; MariaDB's word for text in a cast is put in."""
    cursor = store.connection.cursor()
    cursor.execute(query.replace(" AS TEXT)", " AS CHAR)") if store.dialect == "mysql" else query)
    return [str(row[0]) for row in cursor.fetchall()]
