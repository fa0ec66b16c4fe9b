"""Houses over each control database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline_tests.api.house import House, make_house
from export_pipeline_tests.control_databases import new_sqlite
from export_pipeline_tests.servers import Weed


@pytest.fixture
def house(tmp_path: Path, seaweedfs: Weed) -> Iterator[House]:
    """A house over SQLite."""
    control = new_sqlite(tmp_path)
    yield make_house(tmp_path, control, seaweedfs)
    control.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def any_house(request: pytest.FixtureRequest, tmp_path: Path, seaweedfs: Weed) -> Iterator[House]:
    """A house over SQLite, and one over PostgreSQL."""
    if request.param == "sqlite":
        control = new_sqlite(tmp_path)
    else:
        control = ControlDatabase(request.getfixturevalue("postgres").new_database())
        control.migrate()
    yield make_house(tmp_path, control, seaweedfs)
    control.close()
