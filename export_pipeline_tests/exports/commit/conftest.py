"""A bench over a real S3 server, on each control database and server."""

from collections.abc import Iterator

import pytest

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline_tests.exports.commit.bench import Bench
from export_pipeline_tests.exports.conftest import make_bench
from export_pipeline_tests.servers import Rclone, S3Server, Weed


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def either_bench(request: pytest.FixtureRequest, rclone: Rclone) -> Iterator[Bench]:
    """Each control database in turn, and rclone."""
    made = make_bench(request.getfixturevalue("control" if request.param == "sqlite" else "postgres_control"), rclone)
    yield made
    made.store.close()


@pytest.fixture
def weed_bench(control: ControlDatabase, seaweedfs: Weed) -> Iterator[Bench]:
    """SQLite and SeaweedFS, which has conditional writes and rights."""
    made = make_bench(control, seaweedfs)
    yield made
    made.store.close()


@pytest.fixture
def any_bench(control: ControlDatabase, s3_server: S3Server) -> Iterator[Bench]:
    """SQLite and each S3 server in turn."""
    made = make_bench(control, s3_server)
    yield made
    made.store.close()
