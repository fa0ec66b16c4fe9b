"""Houses over each control database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline_tests.api.house import House, make_house
from export_pipeline_tests.servers import Weed


@pytest.fixture
def house(tmp_path: Path, seaweedfs: Weed) -> Iterator[House]:
    """A house over SQLite."""
    control = ControlDatabase(f"sqlite:///{tmp_path}/control.db")
    control.migrate()
    yield make_house(tmp_path, control, seaweedfs)
    control.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def any_house(request: pytest.FixtureRequest, tmp_path: Path, seaweedfs: Weed) -> Iterator[House]:
    """A house over SQLite, and one over PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/control.db"
    else:
        url = request.getfixturevalue("postgres").new_database()
    control = ControlDatabase(url)
    control.migrate()
    yield make_house(tmp_path, control, seaweedfs)
    control.close()
