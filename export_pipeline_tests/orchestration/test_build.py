"""Loading the Dagster location."""

import json
import logging
import os
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.remote_representation.external_data import RepositorySnap

from export_pipeline.errors import SettingsError
from export_pipeline.orchestration.assets import build_project_assets
from export_pipeline.orchestration.build import build_definitions
from export_pipeline.orchestration.sensors.projects import LOCATION
from export_pipeline.runs.schema import DEFAULT_FIELDS, FIELD_BY_NAME
from export_pipeline.settings import PREFIX
from export_pipeline_tests.orchestration.house import START, House

ROOT = Path(__file__).parents[2]


def asset_keys(definitions: dg.Definitions) -> list[str]:
    return sorted(key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys())


def test_every_project_is_an_asset_and_all_share_partitions_and_backfill_policy(house: House) -> None:
    house.add_project("chat", days=[START])
    house.add_project("My Agent / v2", days=[START])
    house.sync()
    graph = house.definitions().resolve_asset_graph()
    assert asset_keys(house.definitions()) == ["runs/chat", "runs/my_agent_v2"]
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert {node.partitions_def for node in nodes} == {dg.DailyPartitionsDefinition("2026-03-01", end_offset=0)}
    assert {node.backfill_policy for node in nodes} == {dg.BackfillPolicy.multi_run(31)}
    assert {node.group_name for node in nodes} == {"projects"}


def test_an_asset_shows_kinds_description_and_the_columns_with_their_meaning(house: House) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    spec = house.definitions().resolve_assets_def(["runs", "chat"]).get_asset_spec()
    assert spec.kinds == {"polars", "parquet", "s3"}
    assert (spec.description or "").startswith("The runs of the project `chat`, one Parquet file for each UTC day")
    assert spec.metadata["dagster/uri"] == f"s3://{house.bucket}"
    assert spec.metadata["dagster/table_name"] == "runs.chat"
    schema = spec.metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == list(DEFAULT_FIELDS)
    assert [column.description for column in schema.columns] == [
        FIELD_BY_NAME[name].description for name in DEFAULT_FIELDS
    ]
    assert [column.name for column in schema.columns if not column.constraints.nullable][:4] == [
        "id",
        "tenant_id",
        "session_id",
        "trace_id",
    ]


def test_owners_come_from_the_settings(house: House) -> None:
    house.variables[PREFIX + "OWNERS"] = "team:traces, ann@example.com"
    house.add_project("chat", days=[START])
    house.sync()
    spec = house.definitions().resolve_assets_def(["runs", "chat"]).get_asset_spec()
    assert list(spec.owners) == ["team:traces", "ann@example.com"]


def test_without_a_control_database_the_location_is_empty_and_says_so(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="dagster.export_pipeline"):
        definitions = house.definitions()
    assert asset_keys(definitions) == []
    assert "loads without assets: the control database" in caplog.text
    assert not (house.folder / "control.db").exists()
    definitions.get_repository_def().load_all_definitions()


def test_before_the_first_sync_the_location_is_empty_and_says_so(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.control.migrate()
    with caplog.at_level(logging.WARNING, logger="dagster.export_pipeline"):
        assert asset_keys(house.definitions()) == []
    assert "run `export-pipeline projects sync`" in caplog.text


def test_the_location_loads_while_trace_store_and_bucket_are_away(house: House) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    house.lose_the_trace_store()
    house.variables[PREFIX + "ENDPOINT_URL"] = "http://127.0.0.1:9"
    assert asset_keys(house.definitions()) == ["runs/chat"]


def test_half_of_the_settings_is_refused_with_the_names_of_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + "BUCKET", "some-bucket")
    with pytest.raises(SettingsError, match=f"{PREFIX}SOURCE_URL and {PREFIX}CONTROL_URL must be set too"):
        build_definitions()


@pytest.mark.slow
def test_loading_needs_neither_polars_nor_pyarrow_nor_any_driver(house: House) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    heavy = ("polars", "pyarrow", "boto3", "botocore", "adbc_driver_manager", "dagster_aws", "pandas", "alembic")
    script = (
        "import json, sys; import export_pipeline.definitions as d; "
        "d.defs.get_repository_def().load_all_definitions(); "
        f"print(json.dumps([name for name in {heavy!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **house.variables},
        capture_output=True,
        text=True,
        check=True,
    )
    # Dagster itself brings Alembic where it opens an instance; reading definitions opens none.
    assert json.loads(done.stdout) == []


def test_no_secret_is_in_what_dagster_stores_or_shows_of_the_location(house: House) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    definitions = house.definitions()
    job = definitions.resolve_job_def("export_runs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Dagster reads a property of its own that it will remove
        stored = dg.serialize_value(RepositorySnap.from_def(definitions.get_repository_def()))
    shown = "".join(map(repr, (definitions, job.get_job_snapshot(), definitions.resources))) + stored
    assert "day_files" in stored
    assert "traces.db" not in stored
    assert house.server.access_key_id not in shown
    assert house.server.secret_access_key not in shown


def test_schedule_and_sensor_run_by_themselves(house: House) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    house.variables[PREFIX + "DAILY_AT"] = "04:15"
    definitions = house.definitions()
    schedule = definitions.resolve_schedule_def("daily_export")
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 4 * * *", "UTC")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert definitions.resolve_sensor_def("sync_projects").default_status is dg.DefaultSensorStatus.RUNNING


def test_many_projects_share_one_partitions_definition_and_their_job(house: House) -> None:
    project = house.add_project("chat", days=[START])
    house.sync()
    (record,) = house.projects()
    many = [type(record)(**{**vars(record), "asset_name": f"p{number}", "project": project}) for number in range(100)]
    assets = build_project_assets(many, start=START, settings=house.settings)
    assert len({id(asset.partitions_def) for asset in assets}) == 1
    definitions = house.definitions(projects=many, start=START)
    assert definitions.jobs is not None
    assert sorted(job.name for job in definitions.jobs) == ["bulk_export", "export_runs"]


def test_both_ways_of_starting_dagster_name_the_location_alike() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    module = workspace["load_from"][0]["python_module"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dagster"]
    assert module["location_name"] == project["code_location_name"] == LOCATION
    assert module["module_name"] == project["module_name"] == "export_pipeline.definitions"


def test_the_resource_s3_opens_the_bucket_for_assets_of_ones_own(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[START])
    house.sync()
    listed: list[int] = []

    @dg.asset(required_resource_keys={"s3"})
    def mine(context: dg.AssetExecutionContext) -> None:
        client = context.resources.s3  # dagster-aws puts the client itself there
        client.put_object(Bucket=house.bucket, Key="mine", Body=b"x")
        listed.append(client.list_objects_v2(Bucket=house.bucket)["KeyCount"])

    job = house.definitions(extra_assets=[mine]).resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, asset_selection=[mine.key]).success
    assert (listed, house.keys()) == ([1], ["mine"])
