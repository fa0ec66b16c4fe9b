"""What the tests of Langfuse Cloud share: how the product opens the stand-in, and days of observations."""

from datetime import UTC, datetime, timedelta
from typing import Any

from export_pipeline.runs.window import Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers.langfuse import KEY, PROJECT, Langfuse
from export_pipeline_tests.sources.presets.known_stores import DAY

MIDNIGHT = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
CHAT = ProjectKey(PROJECT)


def source_of(server: Langfuse, **settings: Any) -> RunSource:
    """The stand-in as the settings name it."""
    given = {"source_url": server.source_url, "source_api_key": KEY, "allow_private_endpoints": True, **settings}
    given.setdefault("source_rate", 10_000)
    return open_source(load_settings(control_url="sqlite:///control.db", bucket="bucket", **given))


def add_day(server: Langfuse, count: int) -> list[tuple[datetime, str]]:
    """Traces of a root and two children spread over the day; starts and ids of all, ordered."""
    step = timedelta(days=1) / (count // 3 + 1)
    found = []
    for number in range(count):
        trace, start = (
            f"trace-{number // 3:05}",
            MIDNIGHT + timedelta(milliseconds=number // 3 * step // timedelta(milliseconds=1)),
        )
        parent = None if number % 3 == 0 else f"span-{number // 3 * 3:05}"
        found.append((start, server.add(trace, f"span-{number:05}", start, parentObservationId=parent)))
    return sorted(found)


def ids(source: RunSource, window: Window | None = None) -> list[tuple[datetime, str]]:
    """Starts and ids of the runs of a window, by default the day, as the source hands them over."""
    found: list[tuple[datetime, str]] = []
    with source.open(CHAT, window or Window.of_day(DAY)) as snapshot:
        for batch in snapshot.batches():
            found += zip(batch.column("start_time").to_pylist(), batch.column("id").to_pylist(), strict=True)
        assert snapshot.fingerprint.rows == len(found)
    return found
