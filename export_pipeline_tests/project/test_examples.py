"""The examples do what they say, on a real bucket."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from export_pipeline.exports.proof.changes import all_changes_since
from export_pipeline_tests.exports.memory_source import rows_of_day
from export_pipeline_tests.exports.world import EMPTY, FIRST, LAST, PROJECT, World
from export_pipeline_tests.servers import S3Server

pytestmark = pytest.mark.slow

FOLLOWER = Path(__file__).parents[2] / "examples" / "follow_into_duckdb.py"


def environment(world: World, **more: str) -> dict[str, str]:
    settings = world.settings
    variables = {
        "BUCKET": settings.bucket,
        "PREFIX": settings.prefix,
        "REGION": settings.region,
        "ENDPOINT_URL": settings.endpoint_url,
        "ALLOW_PRIVATE_ENDPOINTS": "true",
        "ACCESS_KEY_ID": world.server.access_key_id,
        "SECRET_ACCESS_KEY": world.server.secret_access_key,
        **more,
    }
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("EXPORT_PIPELINE_")},
        **{f"EXPORT_PIPELINE_{name}": str(value) for name, value in variables.items()},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def follower(world: World, table: Path) -> "subprocess.Popen[bytes]":
    control_url = world.control.url.render_as_string(hide_password=False)
    variables = environment(world, SOURCE_URL="sqlite:///traces.db", CONTROL_URL=control_url)
    return subprocess.Popen([sys.executable, FOLLOWER, table], env=variables, cwd=table.parent)


def told_by_the_bucket(world: World, folder: Path) -> set[str]:
    """The commits that are told of without a control database."""
    command = ["export-pipeline", "changes", "--all", "--bucket-only", "--json"]
    done = subprocess.run(command, env=environment(world), cwd=folder, capture_output=True, text=True, check=True)
    return {change["commit_id"] for change in json.loads(done.stdout)["changes"]}


def loaded(table: Path) -> list[Any]:
    with duckdb.connect(str(table), read_only=True) as database:
        database.execute("SET TimeZone = 'UTC'")
        return database.sql("SELECT id, start_time::VARCHAR, inputs FROM runs ORDER BY ALL").fetchall()


def in_bucket(world: World, folder: Path) -> list[Any]:
    """The rows of all files of the bucket, read by listing it."""
    files = []
    for number, key in enumerate(key for key in world.objects() if key.endswith(".parquet")):
        files.append(str(folder / f"{number}.parquet"))
        Path(files[-1]).write_bytes(world.get(key))
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        query = "SELECT id, start_time::VARCHAR, inputs FROM read_parquet(?) ORDER BY ALL"
        return database.execute(query, [files]).fetchall()


def test_a_follower_that_is_killed_again_and_again_ends_with_what_is_in_the_bucket(
    rclone: S3Server, tmp_path: Path
) -> None:
    world, chance, table = World.make(rclone, tmp_path), random.Random(20261129), tmp_path / "runs.duckdb"
    days = (FIRST, EMPTY, LAST)
    try:
        for step in range(5):
            world.source.rows = [
                row
                for day in days
                for row in rows_of_day(PROJECT, day, chance.choice([0, 3, 40, 200]), text=json.dumps({"step": step}))
            ]
            world.publish(allow_shrink=True)
            with follower(world, table) as process:
                time.sleep(chance.uniform(0.5, 4))  # no condition: any moment is one
                process.kill()
            assert process.returncode in {0, -signal.SIGKILL}
        listed, _ = all_changes_since(world.control)
        assert {change.superseded for change in listed} == {False, True}
        with follower(world, table) as process:
            assert process.wait() == 0
        expected = in_bucket(world, tmp_path)
        assert expected != []
        current, _ = all_changes_since(world.control, current=True)
        assert told_by_the_bucket(world, tmp_path) == {str(change.commit_id) for change in current}
        assert loaded(table) == expected
        with follower(world, table) as process:
            assert process.wait() == 0
        assert loaded(table) == expected
    finally:
        world.close()
