"""Dagster takes the configuration files that are delivered."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from dagster_aws.s3 import S3ComputeLogManager

from export_pipeline_tests.orchestration.house import instance_of
from export_pipeline_tests.servers import Postgres

DEPLOY = Path(__file__).parents[2] / "export_pipeline" / "deploy"


def instance_info(home: Path, **variables: str) -> str:
    """What `dagster instance info` prints in a process of its own; it makes the storage's tables."""
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "instance", "info"],
        env={**os.environ, "DAGSTER_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def places(text: str) -> str:
    """The line that says how many runs there may be at once."""
    return f"max_concurrent_runs: {yaml.safe_load(text)['concurrency']['runs']['max_concurrent_runs']}"


@pytest.mark.slow
def test_the_file_for_one_machine_is_taken_and_its_storage_is_sqlite(tmp_path: Path) -> None:
    text = (DEPLOY / "one-machine" / "dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text)
    shown = instance_info(tmp_path)
    for line in (places(text), "start_timeout_seconds: 300", "retry_on_asset_or_op_failure: false"):
        assert line in shown
    assert (tmp_path / "history" / "runs.db").exists()


@pytest.mark.slow
def test_the_file_for_postgresql_is_taken_and_its_tables_are_made_there(tmp_path: Path, postgres: Postgres) -> None:
    text = (DEPLOY / "postgres" / "dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text)
    url = sa.make_url(postgres.new_database())
    names = {"HOST": url.host, "PORT": url.port, "USER": url.username, "PASSWORD": url.password, "DB": url.database}
    shown = instance_info(tmp_path, **{f"DAGSTER_POSTGRES_{name}": str(value) for name, value in names.items()})
    assert places(text) in shown
    assert postgres.password not in shown
    tables = postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=str(url.database))
    assert {"runs", "event_logs", "daemon_heartbeats", "bulk_actions"} <= {name for (name,) in tables}
    assert not (tmp_path / "history").exists()


def test_step_logs_go_to_a_bucket_with_the_lines_of_the_deploy_readme(tmp_path: Path) -> None:
    (lines,) = re.findall(r"```yaml\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    (tmp_path / "dagster.yaml").write_text((DEPLOY / "one-machine" / "dagster.yaml").read_text() + "\n" + lines)
    with instance_of(tmp_path) as instance:
        assert isinstance(instance.compute_log_manager, S3ComputeLogManager)
        assert instance.compute_log_manager.upload_interval == 30


def test_both_files_set_the_same_limits_of_runs_apart_from_their_size() -> None:
    one, shared = (yaml.safe_load((DEPLOY / kind / "dagster.yaml").read_text()) for kind in ("one-machine", "postgres"))
    for section in ("run_monitoring", "run_retries", "retention", "code_servers", "telemetry", "nux"):
        assert one[section] == shared[section]


def test_the_workspace_is_that_of_the_project_without_its_folder() -> None:
    delivered = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())
    own = yaml.safe_load((DEPLOY.parents[1] / "workspace.yaml").read_text())
    assert own["load_from"][0]["python_module"].pop("working_directory") == "."
    assert delivered == own
