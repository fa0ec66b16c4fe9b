"""`export-pipeline projects sync`, as far as the bucket is concerned."""

import json
from pathlib import Path

from export_pipeline.exports.control.database import open_control
from export_pipeline.exports.projects.registry import find_project
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.settings import load_settings
from export_pipeline_tests.cli.command import run
from export_pipeline_tests.servers import Rclone
from export_pipeline_tests.small_store import NAME, settings_of, write_store

KEY = "_export_pipeline/projects.json"


def test_a_sync_lists_the_projects_in_the_bucket_once_there_are_tables(rclone: Rclone, tmp_path: Path) -> None:
    write_store(tmp_path / "traces.db")
    bucket = rclone.new_bucket()
    values = settings_of(tmp_path, rclone, bucket)
    assert run("projects", "sync", folder=tmp_path, settings=values).status == 0
    assert rclone.keys(bucket) == []
    settings = load_settings(**{name.lower(): value for name, value in values.items()})
    control = open_control(settings)
    export = standing_table(control, find_project(control, NAME), settings)
    control.close()
    done = run("projects", "sync", "--json", folder=tmp_path, settings=values)
    assert (done.status, json.loads(done.out)["warnings"]) == (0, [])
    (table,) = json.loads(rclone.client().get_object(Bucket=bucket, Key=KEY)["Body"].read())["tables"]
    assert (table["name"], table["export_id"], table["newest_day"]) == (NAME, str(export.export_id), None)


def test_a_bucket_that_refuses_is_a_warning_of_the_sync(rclone: Rclone, tmp_path: Path) -> None:
    write_store(tmp_path / "traces.db")
    values = settings_of(tmp_path, rclone, "no-such-bucket")
    assert run("projects", "sync", folder=tmp_path, settings=values).status == 0
    settings = load_settings(**{name.lower(): value for name, value in values.items()})
    control = open_control(settings)
    standing_table(control, find_project(control, NAME), settings)
    control.close()
    done = run("projects", "sync", folder=tmp_path, settings=values)
    assert done.status == 0
    told = " ".join(done.out.split())
    assert f"Warning: s3://no-such-bucket/{KEY} could not be brought up to date" in told
    assert "NoSuchBucket" in told
