"""Projects, counts of days, filters and errors of a LangSmith."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.errors import (
    ExportPipelineError,
    InputError,
    SettingsError,
    SourceSlowError,
    SourceUnreachableError,
    SourceUnusableError,
)
from export_pipeline.runs.filter import read_filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.langsmith.stats import stats_of
from export_pipeline.sources.protocol import OutsideRows, Project, ProjectKey, RunSource, UnassignedRows
from export_pipeline_tests.servers.http import Answer, Asked
from export_pipeline_tests.servers.langsmith import KEY, TENANT, LangSmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT, add_day, ids, source_of
from export_pipeline_tests.sources.presets.known_stores import DAY

STATS = "/runs/stats"
_END = "2026-03-14T12:00:00Z"


@pytest.fixture
def project(server: LangSmith) -> str:
    return server.add_project("chat", start=MIDNIGHT)


def test_projects_are_listed_oldest_first_over_many_pages(server: LangSmith, source: RunSource) -> None:
    keys = [server.add_project(f"p {number}", start=MIDNIGHT - timedelta(days=number)) for number in range(250)]
    made_for = server.add_project("experiment", start=MIDNIGHT + timedelta(days=1), reference_dataset_id="d")

    found = source.projects()

    assert [each.key for each in found] == [*keys[::-1], made_for]
    assert found[-1] == Project(
        made_for, "experiment", tenant_key=TENANT, is_experiment=True, start_time=MIDNIGHT + timedelta(days=1)
    )


def test_a_project_that_is_deleted_while_they_are_listed_hides_no_other(server: LangSmith, source: RunSource) -> None:
    keys = [server.add_project(f"p {number}", start=MIDNIGHT + timedelta(days=number)) for number in range(150)]

    def deletes(asked: Asked, answer: Answer) -> Answer:
        server.projects.pop(keys[0])
        return answer

    server.play("/sessions", deletes)

    assert [each.key for each in source.projects()] == keys[1:]


@pytest.mark.parametrize("days", [1, 5, 31, 3_653])
def test_days_are_those_that_have_runs(server: LangSmith, source: RunSource, project: str, days: int) -> None:
    first = DAY - timedelta(days=days - 1)
    held = {first: 1, DAY - timedelta(days=days // 2): 2, DAY: 3}
    for day, count in held.items():
        for number in range(count):
            server.add_run(project, datetime(day.year, day.month, day.day, 23, number, tzinfo=UTC))
    server.add_run(project, MIDNIGHT + timedelta(days=1))
    server.add_run(project, datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(microseconds=1))

    found = source.days(ProjectKey(project), Window.of_days(first, DAY))

    assert {day: counted.rows for day, counted in found.items()} == held
    assert list(found) == sorted(found)
    assert len(server.asked(STATS)) <= 2 * 3 * 9 + 3 * 8


def test_a_day_that_statistics_leave_out_is_not_taken_for_an_empty_one(
    server: LangSmith, source: RunSource, project: str
) -> None:
    run = server.add_run(project, MIDNIGHT)
    server.always[STATS] = lambda asked, answer: Answer(200, b'{"run_count": 0}')

    with pytest.raises(SourceUnreachableError, match=f"count no run .* where it lists {run}"):
        source.days(ProjectKey(project), Window.of_days(DAY - timedelta(days=3), DAY))


def test_a_day_of_a_cut_window_counts_what_is_in_it(server: LangSmith, source: RunSource, project: str) -> None:
    add_day(server, project, 24 * 3)
    window = Window(MIDNIGHT + timedelta(hours=20), MIDNIGHT + timedelta(days=3))

    found = source.days(ProjectKey(project), window)

    assert {day: counted.rows for day, counted in found.items()} == {DAY: len(ids(source, project, window))}


CHANGES: dict[str, tuple[dict[str, str], Callable[[LangSmith, str], object]]] = {
    "a run more": ({}, lambda server, run: server.add_run(server.runs[run]["session_id"], MIDNIGHT)),
    "tokens": ({"total_tokens": "7"}, lambda server, run: server.runs[run].update(total_tokens=7)),
    "an error": ({"errors": "1"}, lambda server, run: server.runs[run].update(error="boom")),
    "a cost": ({"total_cost": "0.5"}, lambda server, run: server.runs[run].update(total_cost=0.5)),
    "a small cost among large ones": (
        {"total_cost": "12345.0001"},
        lambda server, run: server.runs[run].update(total_cost=12345.0001),
    ),
    "a run that has not ended": ({"pending_runs": "1"}, lambda server, run: server.runs[run].update(end_time=None)),
    "feedback": (
        {"feedback a": "1, average 1"},
        lambda server, run: server.feedback.append({"run_id": run, "key": "a", "score": 1}),
    ),
    "feedback without a score": (
        {"feedback a": "1, average 0"},
        lambda server, run: server.feedback.append({"run_id": run, "key": "a", "value": "good"}),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("days", [1, 30])
def test_a_day_that_changed_has_another_fingerprint(
    server: LangSmith, source: RunSource, project: str, name: str, days: int
) -> None:
    run = server.add_run(project, MIDNIGHT)
    window = Window.of_days(DAY - timedelta(days=days - 1), DAY)
    before = source.days(ProjectKey(project), window)
    figures, change = CHANGES[name]

    assert source.days(ProjectKey(project), window) == before
    assert before[DAY].figures == {}
    change(server, run)
    after = source.days(ProjectKey(project), window)[DAY]
    assert after != before[DAY]
    assert after.figures == figures
    with source.open(ProjectKey(project), Window.of_day(DAY)) as snapshot:
        assert snapshot.fingerprint == after


def test_another_score_is_seen(server: LangSmith, source: RunSource, project: str) -> None:
    run = server.add_run(project, MIDNIGHT)
    server.feedback.append({"run_id": run, "key": "a", "score": 1})
    before = source.days(ProjectKey(project), Window.of_day(DAY))[DAY]
    server.feedback[0]["score"] = 0

    after = source.days(ProjectKey(project), Window.of_day(DAY))[DAY]

    assert (after.feedbacks, before.feedbacks) == (1, 1)
    assert (before.figures, after.figures) == ({"feedback a": "1, average 1"}, {"feedback a": "1, average 0"})


@pytest.mark.parametrize("rows", [400_000, 10_000_000])
def test_one_error_more_among_millions_is_seen(rows: int) -> None:
    def errors(count: int) -> str:
        return stats_of(f'{{"run_count": {rows}, "error_rate": {count / rows!r}}}').figures["errors"]

    assert [errors(count) for count in (1, 2, rows // 3, rows - 1)] == ["1", "2", str(rows // 3), str(rows - 1)]


def test_the_last_digits_of_a_sum_are_no_change() -> None:
    """A server may add up the same costs in another order each time."""
    costs = [0.1, 0.2, 0.3, 1e-7, 12.7] * 1000
    told = {
        stats_of(f'{{"run_count": 5000, "total_cost": {sum(each)!r}}}').figures["total_cost"]
        for each in (costs, sorted(costs), sorted(costs, reverse=True))
    }

    assert len(told) == 1


def test_runs_that_have_not_ended_are_counted_with_the_filter(
    server: LangSmith, source: RunSource, project: str
) -> None:
    for number in range(24):
        kind = "llm" if number % 2 else "chain"
        server.add_run(
            project, MIDNIGHT - timedelta(days=number), run_type=kind, end_time=None if number in {3, 4, 20} else _END
        )
    window = Window.of_days(DAY - timedelta(days=23), DAY)

    everything = source.days(ProjectKey(project), window)
    asked = len(server.asked(STATS))
    llm = source.days(ProjectKey(project), window, filter=read_filter('eq(run_type, "llm")'))

    pending = {(DAY - day).days for day, found in everything.items() if found.figures}
    assert (pending, everything[DAY - timedelta(days=3)].figures) == ({3, 4, 20}, {"pending_runs": "1"})
    assert {(DAY - day).days for day, found in llm.items() if found.figures} == {3}
    assert asked <= 2 * (2 + 4 + 24) + 1


def test_runs_outside_of_the_partitions_are_counted(server: LangSmith, source: RunSource, project: str) -> None:
    for day in (-400, -1, 0, 1, 2, 300):
        server.add_run(project, MIDNIGHT + timedelta(days=day))

    assert source.outside(ProjectKey(project), Window.of_days(DAY, DAY)) == OutsideRows(2, 3, 0)
    assert source.unassigned() == UnassignedRows()
    assert source.changed(ProjectKey(project), Window.of_day(DAY), MIDNIGHT) is None


def test_a_count_that_takes_too_long_ends(server: LangSmith, source: RunSource, project: str) -> None:
    server.always[STATS] = lambda asked, answer: Answer(429)

    with pytest.raises(SourceSlowError, match="LangSmith took more than"):
        source.days(ProjectKey(project), Window.of_day(DAY), seconds=0.05)


def test_a_day_that_cannot_be_counted_ends_the_counting_of_all(
    server: LangSmith, source: RunSource, project: str
) -> None:
    """Otherwise each of the other days would be waited for as long as the first."""

    def refuses_the_first(asked: Asked, answer: Answer) -> Answer:
        return Answer(400 if b"2026-03-14T00:00:00.000000Z" in asked.body else 503)

    server.always[STATS] = refuses_the_first

    with pytest.raises(SourceUnusableError, match="HTTP 400"):
        source.days(ProjectKey(project), Window.of_days(DAY, DAY + timedelta(days=7)))


def test_a_server_that_is_away_is_not_taken_for_a_slow_one(server: LangSmith, source: RunSource, project: str) -> None:
    server.always[STATS] = lambda asked, answer: Answer(503)

    with pytest.raises(SourceUnreachableError, match="HTTP 503"):
        source.days(ProjectKey(project), Window.of_day(DAY), seconds=2)


FILTERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    'eq(run_type, "llm")': lambda run: run["run_type"] == "llm",
    'and(eq(status, "error"), eq(is_root, true))': lambda run: bool(run.get("error")),
    'or(eq(name, "two"), has(tags, "gold"))': lambda run: run["name"] == "two" or "gold" in (run.get("tags") or ()),
    'in(run_type, ["llm", "tool"])': lambda run: run["run_type"] in {"llm", "tool"},
    "gt(total_tokens, 5)": lambda run: (run.get("total_tokens") or 0) > 5,
    'and(gte(start_time, "2026-03-14T06:00:00Z"), lt(start_time, "2026-03-14T12:00:00+01:00"))': lambda run: (
        "2026-03-14T06" <= run["start_time"] < "2026-03-14T11"
    ),
}


EVERY_FOURTH: list[dict[str, Any]] = [
    {"run_type": "llm"},
    {"error": "x"},
    {"name": "two", "run_type": "tool"},
    {"tags": ["gold"]},
]


@pytest.mark.parametrize("has_v2", [True, False])
@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_is_judged_by_the_server(server: LangSmith, project: str, text: str, has_v2: bool) -> None:
    server.has_v2 = has_v2
    for hour in range(24):
        more = EVERY_FOURTH[hour % 4]
        server.add_run(project, MIDNIGHT + timedelta(hours=hour), total_tokens=hour, **more)
    expected = sorted(run["id"] for run in server.runs.values() if FILTERS[text](run))
    source = source_of(server)

    assert sorted(each for _, each in ids(source, project, filter=text)) == expected
    counted = source.days(ProjectKey(project), Window.of_day(DAY), filter=read_filter(text))
    assert counted[DAY].rows == len(expected) > 0


@pytest.mark.parametrize(
    "text",
    [
        'not(eq(name, "a"))',
        'neq(name, "a")',
        'like(name, "a%")',
        'search("parcel")',
        "eq(error, null)",
        'and(eq(name, "a"), eq(metadata_key, "env"), eq(metadata_value, "prod"))',
        "lt(total_tokens, 5)",
        "gte(total_tokens, 0)",
        "gt(total_tokens, -1)",
        "gt(latency, 5)",
        "gt(feedback_score, 1)",
        'gt(name, "a")',
        'in(start_time, ["2026-03-14T06:00:00Z"])',
    ],
)
def test_a_filter_that_the_server_might_judge_otherwise_is_refused(
    server: LangSmith, source: RunSource, project: str, text: str
) -> None:
    asked = len(server.asked(""))

    with pytest.raises(InputError, match="a trace store behind LangSmith's API cannot be asked for"):
        ids(source, project, filter=text)
    with pytest.raises(InputError, match="a trace store behind LangSmith's API cannot be asked for"):
        source.days(ProjectKey(project), Window.of_day(DAY), filter=read_filter(text))
    assert len(server.asked("")) == asked


def test_the_check_says_where_each_column_comes_from(server: LangSmith, source: RunSource, project: str) -> None:
    server.add_run(project, datetime.now(UTC) - timedelta(hours=1), name="the newest")

    report = source.check()

    origins = {column.field: (column.origin, column.detail) for column in report.columns}
    assert origins["trace_tier"] == ("missing", "the API does not give it")
    assert origins["extra"] == ("derived", "extra, with metadata and the names of attachments in it")
    assert origins["total_cost"] == ("mapped", "TOTAL_COST")
    assert report.sample is not None
    assert report.sample["name"] == "the newest"
    assert (report.projects, report.problems, report.warnings) == (1, (), [])
    assert report.extra["API"] == "v2"


def test_the_check_says_that_a_server_has_only_the_first_version(server: LangSmith, project: str) -> None:
    server.has_v2 = False

    report = source_of(server).check()

    assert report.extra["API"] == "v1"
    assert [text.partition(",")[0] for text in report.warnings] == ["this server has only the first version of the API"]


def test_a_wrong_key_is_told_without_the_key(server: LangSmith) -> None:
    with pytest.raises(
        SourceUnusableError, match=r"refuses the key \(HTTP 403.*EXPORT_PIPELINE_SOURCE_API_KEY"
    ) as found:
        source_of(server, source_api_key="lsv2_wrong_secret")
    assert "wrong_secret" not in str(found.value)


def test_an_unknown_workspace_is_told(server: LangSmith) -> None:
    with pytest.raises(SourceUnusableError, match=r"no access to that workspace.*EXPORT_PIPELINE_SOURCE_WORKSPACE_ID"):
        source_of(server, source_workspace_id="00000000-0000-4000-8000-000000000000")
    assert source_of(server, source_workspace_id=TENANT).projects() == []


def test_an_unknown_project_is_told(server: LangSmith, source: RunSource) -> None:
    with pytest.raises(SourceUnusableError, match=r"does not know what was asked for .*Session not found"):
        ids(source, "00000000-0000-4000-8000-000000000000")


def test_a_redirect_is_not_followed_with_the_key(server: LangSmith, source: RunSource, project: str) -> None:
    server.always[STATS] = lambda asked, answer: Answer(307, headers={"Location": "http://127.0.0.1:1/elsewhere"})

    with pytest.raises(SourceUnusableError, match="leads elsewhere"):
        ids(source, project)


def test_the_key_is_nowhere(
    server: LangSmith, source: RunSource, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in what is logged, shown or raised, even where the server repeats it."""
    caplog.set_level(logging.DEBUG)
    add_day(server, project, 30)
    texts = [repr(source), str(source.check())]
    for code in (400, 401, 403, 404, 418, 301):
        server.always[STATS] = lambda asked, answer, code=code: Answer(code, f"your key {KEY}".encode())  # type: ignore[misc]
        with suppress(ExportPipelineError):
            ids(source, project)
        with pytest.raises(ExportPipelineError) as found:
            source.days(ProjectKey(project))
        texts += [str(found.value), repr(found.value)]
    texts.append(caplog.text)

    assert all(KEY not in text for text in texts)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"source_api_key": None}, "EXPORT_PIPELINE_SOURCE_API_KEY must be set"),
        ({"source_api_key": " "}, "EXPORT_PIPELINE_SOURCE_API_KEY must be set"),
        ({"source_api_key": "two words"}, "holds a character that no key has"),
        ({"source_api_key": "lsv2\nX-Evil: 1"}, "holds a character that no key has"),
        ({"source_kind": "langfuse"}, "are for databases; remove them"),
        ({"mapping": Path("m.yaml")}, "are for databases; remove them"),
        ({"allow_private_endpoints": False}, "must begin with langsmith://, which is https"),
        ({"source_url": f"langsmith://{KEY}@host"}, "the key belongs into EXPORT_PIPELINE_SOURCE_API_KEY"),
        ({"source_url": "langsmith://"}, "must look like langsmith://"),
        ({"source_url": "langsmith://host?key=1"}, "must look like langsmith://"),
        ({"source_url": "langsmith://host:port"}, "cannot be read as a URL"),
        ({"source_url": "langsmith+http://8.8.8.8"}, "leads to 8.8.8.8, a public address"),
    ],
)
def test_settings_that_do_not_fit_are_told(server: LangSmith, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as found:
        source_of(server, **settings)
    assert KEY not in str(found.value)


@pytest.mark.parametrize("suffix", ["", "/", "/api", "/api/v1", "/api/v1/"])
def test_addresses_are_taken_as_the_sdk_has_them(server: LangSmith, project: str, suffix: str) -> None:
    source = source_of(server, source_url=server.source_url + suffix)

    assert [each.key for each in source.projects()] == [project]


def test_a_server_that_is_not_there_is_unreachable(server: LangSmith) -> None:
    with pytest.raises(SourceUnreachableError, match="gives no usable answer"):
        source_of(server, source_url="langsmith+http://127.0.0.1:1", source_minutes=0.001)


def test_dates_of_days_are_utc(server: LangSmith, source: RunSource, project: str) -> None:
    server.add_run(project, datetime(2026, 3, 14, 23, 30, tzinfo=UTC))

    assert list(source.days(ProjectKey(project), Window.of_days(DAY, DAY + timedelta(days=1)))) == [date(2026, 3, 14)]
