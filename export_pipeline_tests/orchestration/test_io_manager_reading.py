"""Downstream assets: the committed days as one Polars LazyFrame."""

import uuid
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from export_pipeline.exports.destinations.stored import NewDestination, create_destination
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.secrets import new_key
from export_pipeline.orchestration.assets import asset_key
from export_pipeline.orchestration.partitions import daily_partitions
from export_pipeline.runs.schema import DEFAULT_FIELDS, polars_schema, select_fields
from export_pipeline.settings import PREFIX
from export_pipeline_tests.orchestration.house import START, House, failure_text, materialize
from export_pipeline_tests.servers import Weed

pytestmark = pytest.mark.slow

SECOND, THIRD = START + timedelta(days=1), START + timedelta(days=2)


def downstream(read: Callable[[pl.LazyFrame], Any], **options: Any) -> dg.AssetsDefinition:
    """An asset as users write them: the runs of the same days come in as a LazyFrame."""

    @dg.asset(
        key=["reports", "counted"],
        partitions_def=daily_partitions(START),
        ins={"runs": dg.AssetIn(asset_key("chat"), **options)},
        io_manager_key="memory",
    )
    def counted(runs: pl.LazyFrame) -> Any:
        return read(runs)

    return counted


def run_downstream(
    house: House, instance: dg.DagsterInstance, asset: dg.AssetsDefinition, *, first: date, last: date
) -> dg.ExecuteInProcessResult:
    definitions = house.definitions(extra_assets=[asset], resources={"memory": dg.mem_io_manager})
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=[asset.key],
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
        },
        raise_on_error=False,
    )


@pytest.fixture
def house(tmp_path: Path, seaweedfs: Weed) -> House:
    """Over SeaweedFS: rclone answers a range that covers a whole file with 200, which Polars refuses."""
    return House(tmp_path, seaweedfs)


@pytest.fixture
def exported(house: House, instance: dg.DagsterInstance) -> House:
    """Two days with three runs each, and an empty one between them."""
    house.add_project("chat", days=[START, THIRD])
    house.sync()
    assert materialize(house.definitions(), instance, "chat", first=START, last=THIRD).success
    return house


def test_a_range_of_days_comes_as_one_frame(exported: House, instance: dg.DagsterInstance) -> None:
    by_day = (pl.col("start_time").dt.date().alias("day"), pl.col("name"))
    asset = downstream(lambda runs: runs.select(by_day).sort("day", "name").collect().rows())
    result = run_downstream(exported, instance, asset, first=START, last=THIRD)
    assert result.success
    assert result.output_for_node("reports__counted") == [
        (day, f"run {number}") for day in (START, THIRD) for number in range(3)
    ]


def test_the_files_of_a_stored_destination_are_read_with_its_credentials(
    house: House, instance: dg.DagsterInstance
) -> None:
    house.variables[PREFIX + "SECRET_KEYS"] = new_key()
    house.control.migrate()
    lake = NewDestination(
        "Lake",
        DestinationConfig(house.bucket, endpoint_url=house.server.endpoint_url),
        Credentials(*house.server.identity("admin")),
    )
    stored = create_destination(house.control, lake, tenant_id=uuid.UUID(int=7), settings=house.settings, actor="cli")
    for name in ("BUCKET", "ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        del house.variables[PREFIX + name]
    house.variables[PREFIX + "DESTINATION_ID"] = str(stored.id)
    house.add_project("chat", days=[START])
    house.sync()
    assert materialize(house.definitions(), instance, "chat", first=START).success
    asset = downstream(lambda runs: sorted(runs.collect()["name"]))
    result = run_downstream(house, instance, asset, first=START, last=START)
    assert result.output_for_node("reports__counted") == ["run 0", "run 1", "run 2"]


def test_an_empty_day_gives_an_empty_frame_with_the_columns_of_the_files(
    exported: House, instance: dg.DagsterInstance
) -> None:
    asset = downstream(lambda runs: (runs.collect().height, runs.collect_schema()))
    empty = run_downstream(exported, instance, asset, first=SECOND, last=SECOND).output_for_node("reports__counted")
    full = run_downstream(exported, instance, asset, first=START, last=START).output_for_node("reports__counted")
    assert (empty[0], full[0]) == (0, 3)
    assert empty[1] == full[1] == polars_schema(select_fields(DEFAULT_FIELDS), "v1")


def test_a_day_that_was_never_exported_is_an_error_with_its_name(exported: House, instance: dg.DagsterInstance) -> None:
    asset = downstream(lambda runs: runs.collect().height)
    result = run_downstream(exported, instance, asset, first=START, last=THIRD + timedelta(days=2))
    assert not result.success
    assert "2 days of runs/chat were never exported: 2026-03-04, 2026-03-05; materialize them first" in failure_text(
        instance, result.run_id
    )


def test_days_that_were_never_exported_are_left_out_where_the_input_allows_it(
    exported: House, instance: dg.DagsterInstance
) -> None:
    asset = downstream(lambda runs: runs.collect().height, metadata={"allow_missing_partitions": True})
    result = run_downstream(exported, instance, asset, first=START, last=THIRD + timedelta(days=2))
    assert result.output_for_node("reports__counted") == 6


def test_a_file_that_was_replaced_is_not_given_to_assets(exported: House, instance: dg.DagsterInstance) -> None:
    client, bucket = exported.server.client(), exported.bucket
    keys = [key for key in exported.server.keys(bucket) if key.endswith(".parquet")]
    first, last = (client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys)
    asset = downstream(lambda runs: runs.collect().height)
    for other in (last, first[:100] + bytes([first[100] ^ 1]) + first[101:]):
        client.put_object(Bucket=bucket, Key=keys[0], Body=other)
        result = run_downstream(exported, instance, asset, first=START, last=THIRD)
        assert not result.success
        assert f"{START}: {keys[0]} is not the file that was committed" in failure_text(instance, result.run_id)
    client.put_object(Bucket=bucket, Key=keys[0], Body=first)  # with another ETag, as in a copied bucket
    result = run_downstream(exported, instance, asset, first=START, last=THIRD)
    assert result.output_for_node("reports__counted") == 6
