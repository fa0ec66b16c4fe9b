"""The stand-in, and the trace store that reads it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from export_pipeline.sources.http import client, reading
from export_pipeline.sources.protocol import RunSource
from export_pipeline_tests.servers.langfuse import Langfuse, langfuse
from export_pipeline_tests.sources.langfuse_cloud.observations import source_of


@pytest.fixture
def server() -> Iterator[Langfuse]:
    """An empty Langfuse."""
    with langfuse() as made:
        yield made


@pytest.fixture
def source(server: Langfuse) -> Iterator[RunSource]:
    """The same as a trace store."""
    with closing(source_of(server)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is repeated is repeated soon."""
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.001)
