"""What the tests of LangSmith share: days of runs, and how the product opens and reads them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from export_pipeline.runs.filter import read_filter
from export_pipeline.runs.window import Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.http.budget import Budgets
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers.langsmith import KEY, LangSmith
from export_pipeline_tests.sources.presets.known_stores import DAY

MIDNIGHT = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)


def source_of(server: LangSmith, budgets: Budgets | None = None, **settings: Any) -> RunSource:
    """The stand-in as the settings name it, asked as quickly as can be unless they say otherwise."""
    given = {"source_url": server.source_url, "source_api_key": KEY, "allow_private_endpoints": True, **settings}
    given.setdefault("source_rate", 10_000)
    return open_source(load_settings(control_url="sqlite:///control.db", bucket="bucket", **given), budgets=budgets)


def add_day(server: LangSmith, project: str, count: int, **more: Any) -> list[tuple[datetime, str]]:
    """Runs spread over the day, three of them to each instant; their starts and ids, ordered."""
    step = timedelta(days=1) / (count // 3 + 1)
    starts = [MIDNIGHT + number // 3 * step for number in range(count)]
    return sorted((start, server.add_run(project, start, **more)) for start in starts)


def ids(source: RunSource, project: str, window: Window | None = None, filter: str | None = None) -> list[Any]:  # noqa: A002
    """Starts and ids of the runs of a window, by default the day, as the source hands them over."""
    tree = None if filter is None else read_filter(filter)
    found: list[tuple[datetime, str]] = []
    with source.open(ProjectKey(project), window or Window.of_day(DAY), filter=tree) as snapshot:
        for batch in snapshot.batches():
            found += zip(batch.column("start_time").to_pylist(), batch.column("id").to_pylist(), strict=True)
        assert snapshot.fingerprint.rows == len(found)
    return found
