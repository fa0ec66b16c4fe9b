"""One small project, exported once for all tests of this folder."""

from collections.abc import Iterator

import pytest

from export_pipeline_tests.files.statements.house import House
from export_pipeline_tests.servers import Weed


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Weed) -> Iterator[House]:
    """The project and its exports in every form."""
    with House.make(seaweedfs, tmp_path_factory.mktemp("statements")) as made:
        yield made
