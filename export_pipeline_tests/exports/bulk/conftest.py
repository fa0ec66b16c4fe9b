"""Fixtures: a workspace on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline_tests.control_databases import new_sqlite
from export_pipeline_tests.exports.bulk.desk import Desk
from export_pipeline_tests.servers import Postgres


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def any_desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """A workspace on each kind of control database in turn."""
    if request.param == "sqlite":
        control = new_sqlite(tmp_path)
    else:
        server: Postgres = request.getfixturevalue("postgres")
        control = ControlDatabase(server.new_database())
        control.migrate()
    yield from _desk(control)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A workspace on SQLite."""
    yield from _desk(new_sqlite(tmp_path))


def _desk(control: ControlDatabase) -> Iterator[Desk]:
    yield Desk(control)
    control.close()
