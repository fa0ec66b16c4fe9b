"""What several tests of the Dagster layer use."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline_tests.orchestration.house import House
from export_pipeline_tests.servers import Rclone


@pytest.fixture
def house(tmp_path: Path, rclone: Rclone) -> House:
    """A trace store, a control database and a bucket, all empty."""
    return House(tmp_path, rclone)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def stored_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance on disk, which schedules and processes can find again."""
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made
