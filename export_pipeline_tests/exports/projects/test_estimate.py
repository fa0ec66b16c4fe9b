"""What a back-fill would bring is what it brings, and its time is what the limits allow."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.errors import UnknownProjectError
from export_pipeline.exports.projects.estimate import Estimate, estimates, wanted_projects
from export_pipeline.runs.window import Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.http import intervals
from export_pipeline.sources.langsmith import api
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers.langsmith import KEY, LangSmith, langsmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT, add_day, source_of
from export_pipeline_tests.sources.presets.known_stores import DAY
from export_pipeline_tests.sources.stores import Store, settings_for

WINDOW = Window.of_days(DAY - timedelta(days=20), DAY)
SETTINGS = {"source_api_key": KEY, "control_url": "sqlite:///control.db", "bucket": "bucket"}


@pytest.fixture
def server() -> Iterator[LangSmith]:
    with langsmith() as made:
        yield made


def estimated(source: RunSource, name: str | None = None, **settings: Any) -> list[Estimate]:
    """With these settings, of the window."""
    given = load_settings(source_url="langsmith://host", **SETTINGS, **settings)
    return list(estimates(source, wanted_projects(source, given, name), WINDOW))


@pytest.mark.parametrize("has_v2", [True, False])
def test_days_rows_and_requests_are_those_of_the_reading(
    server: LangSmith, monkeypatch: pytest.MonkeyPatch, has_v2: bool
) -> None:
    monkeypatch.setattr(intervals, "ROWS", 50)
    monkeypatch.setattr(api, "PAGE_ROWS", {"v1": 10, "v2": 20})
    server.has_v2 = has_v2
    project = server.add_project("chat", start=MIDNIGHT)
    days = {DAY - timedelta(days=9): 1, DAY: 300}
    for day, count in days.items():
        at = datetime(day.year, day.month, day.day, tzinfo=UTC)
        for number in range(count):
            server.add_run(project, at + timedelta(minutes=4 * number), inputs={"text": "x" * 4_000})
    server.add_run(project, MIDNIGHT + timedelta(days=1))

    with closing(source_of(server, source_rate=4)) as source:
        source.projects()
        (found,) = estimated(source)
        assert (found.first, found.last, found.days, found.rows) == (min(days), DAY, 2, 301)
        assert found.bytes is not None
        assert 301 * 4_000 < found.bytes < 301 * 6_000
        assert found.seconds == (found.requests or 0) / 4

    with closing(source_of(server)) as source:
        asked = len(server.asked(""))
        for day, count in days.items():
            with source.open(ProjectKey(project), Window.of_day(day)) as snapshot:
                assert sum(batch.num_rows for batch in snapshot.batches()) == count
        # One more page where the last one of an interval is full, and one question about the version.
        assert found.requests is not None
        assert found.requests <= len(server.asked("")) - asked <= found.requests + 7


@pytest.mark.parametrize(("has_v2", "rate"), [(True, 27.0), (False, 1.25)])
def test_the_time_is_that_of_the_versions_limit(server: LangSmith, has_v2: bool, rate: float) -> None:
    server.has_v2 = has_v2
    with closing(source_of(server, source_rate=None)) as source:
        pace = source.pace
        assert pace is not None
        assert pace.rate == rate
        assert pace.requests(1_000_000) == (2 + 205 * (5 + 1) if has_v2 else 2 + 205 * (49 + 1))
        assert pace.requests(1) == 4


def test_projects_are_those_that_become_assets_or_the_one_that_is_named(server: LangSmith) -> None:
    for name in ("chat", "chat test", "other"):
        add_day(server, server.add_project(name, start=MIDNIGHT), 3)
    server.add_project("experiment", start=MIDNIGHT, reference_dataset_id="d")

    with closing(source_of(server)) as source:
        some = estimated(source, projects_include="chat*", projects_exclude="* test")
        assert [(each.project, each.rows) for each in some] == [("chat", 3)]
        assert sorted(each.project for each in estimated(source)) == ["chat", "chat test", "other"]
        (named,) = estimated(source, "experiment", projects_include="chat*")
        assert (named.project, named.days, named.rows, named.bytes, named.requests) == ("experiment", 0, 0, 0, 0)
        with pytest.raises(UnknownProjectError, match="the trace store has no project 'chart'"):
            estimated(source, "chart")


def test_a_database_has_days_and_rows_and_no_limit(store: Store) -> None:
    store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(40):
        store.add(number, f"{DAY - timedelta(days=number % 2)} 10:00:{number:02}+00:00", inputs="x" * 1_000)

    with closing(store.source()) as source:
        (found,) = estimates(source, wanted_projects(source, settings_for(store.url), None), WINDOW)

    assert (found.project, found.first, found.last) == ("project 0", DAY - timedelta(days=1), DAY)
    assert (found.days, found.rows, found.requests, found.seconds) == (2, 40, None, None)
    assert found.bytes is not None
    assert 40_000 < found.bytes < 60_000
