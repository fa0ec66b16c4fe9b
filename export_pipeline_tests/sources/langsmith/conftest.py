"""The stand-in, and the trace store that reads it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from export_pipeline.settings import PREFIX
from export_pipeline.sources.http import client, reading
from export_pipeline.sources.protocol import RunSource
from export_pipeline_tests.orchestration.house import House
from export_pipeline_tests.servers import Weed
from export_pipeline_tests.servers.langsmith import KEY, TENANT, LangSmith, langsmith
from export_pipeline_tests.sources.langsmith.runs import source_of
from export_pipeline_tests.sources.presets.known_stores import DAY


@pytest.fixture
def server() -> Iterator[LangSmith]:
    """An empty LangSmith."""
    with langsmith() as made:
        yield made


@pytest.fixture
def source(server: LangSmith) -> Iterator[RunSource]:
    """The same as a trace store."""
    with closing(source_of(server)) as opened:
        yield opened


@pytest.fixture
def house(tmp_path: Path, seaweedfs: Weed, server: LangSmith) -> House:
    """A house whose trace store is the server."""
    made = House(tmp_path, seaweedfs, start=DAY)
    given = {"SOURCE_URL": server.source_url, "SOURCE_API_KEY": KEY, "SOURCE_WORKSPACE_ID": TENANT}
    given["SOURCE_RATE"] = "10000"
    made.variables.update({PREFIX + name: value for name, value in given.items()})
    return made


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is repeated is repeated soon."""
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.001)
