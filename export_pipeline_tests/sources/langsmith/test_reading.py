"""A day through the API is whole and in order, or fails: whatever the server and the way to it do."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.window import Window
from export_pipeline.settings import Settings
from export_pipeline.sources.http import intervals, reading
from export_pipeline.sources.langsmith import api
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers.http import Answer, Asked
from export_pipeline_tests.servers.langsmith import Fault, LangSmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT, add_day, ids, source_of
from export_pipeline_tests.sources.presets.known_stores import DAY

QUERY, STATS = "/runs/query", "/runs/stats"
AT_ONCE = Settings.model_fields["source_intervals"].default


@pytest.fixture
def project(server: LangSmith) -> str:
    return server.add_project("chat", start=MIDNIGHT)


@pytest.fixture
def small_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred runs are many."""
    monkeypatch.setattr(intervals, "ROWS", 50)
    monkeypatch.setattr(api, "PAGE_ROWS", {"v1": 10, "v2": 20})


def test_a_day_of_many_pages_comes_once_and_in_order(server: LangSmith, source: RunSource, project: str) -> None:
    expected = add_day(server, project, 2_500)

    assert ids(source, project) == expected
    assert [body["page_size"] for body in server.asked(QUERY)[1:]] == [1_000] * 3


@pytest.mark.parametrize("has_v2", [True, False])
def test_a_large_day_is_cut_into_intervals(
    server: LangSmith, project: str, small_intervals: None, has_v2: bool
) -> None:
    server.has_v2 = has_v2
    expected = add_day(server, project, 600)

    assert ids(source_of(server), project) == expected
    assert len(server.asked(STATS)) == 2 + 12


def test_runs_that_turn_out_large_are_read_in_shorter_intervals(
    server: LangSmith, source: RunSource, project: str, small_intervals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BYTES", 50 * 1_500)
    expected = add_day(server, project, 600, inputs={"text": "x" * 1_000})

    assert ids(source, project) == expected
    assert len(server.asked(STATS)) == 2 + AT_ONCE + (12 - AT_ONCE) * 2


@pytest.mark.parametrize("most_bytes", [100, 5_000, 40_000])
@pytest.mark.parametrize("spread", [timedelta(days=1), timedelta(minutes=1), timedelta(milliseconds=5), timedelta(0)])
def test_runs_that_crowd_together_are_cut_as_they_lie(  # noqa: PLR0917 - fixtures
    server: LangSmith,
    source: RunSource,
    project: str,
    small_intervals: None,
    monkeypatch: pytest.MonkeyPatch,
    spread: timedelta,
    most_bytes: int,
) -> None:
    monkeypatch.setattr(intervals.Interval, "__init__", _limited(most_bytes))
    starts = [MIDNIGHT + timedelta(hours=7) + spread / 400 * number for number in range(200)]
    expected = sorted((start, server.add_run(project, start)) for start in starts)

    assert ids(source, project) == expected


def _limited(most_bytes: int) -> Callable[..., None]:
    made = intervals.Interval.__init__

    def limited(self: intervals.Interval, start: int, end: int, most: int = most_bytes, **more: int) -> None:
        made(self, start, end, more.get("most_bytes", most))

    return limited


@pytest.mark.parametrize("lower_is_inside", [True, False])
@pytest.mark.parametrize("upper_is_inside", [True, False])
def test_a_run_on_a_border_is_in_one_day_whatever_the_server_takes_a_bound_for(
    server: LangSmith, source: RunSource, project: str, lower_is_inside: bool, upper_is_inside: bool
) -> None:
    server.lower_is_inside, server.upper_is_inside = lower_is_inside, upper_is_inside
    last = MIDNIGHT + timedelta(days=1)
    near = [MIDNIGHT, MIDNIGHT + timedelta(microseconds=1), last - timedelta(microseconds=1)]
    far = [MIDNIGHT - timedelta(microseconds=1), last, last + timedelta(microseconds=1)]
    expected = [(start, server.add_run(project, start)) for start in near]
    for start in far:
        server.add_run(project, start)

    assert ids(source, project) == expected


def test_a_window_within_a_day_has_its_own_runs_only(server: LangSmith, source: RunSource, project: str) -> None:
    runs = add_day(server, project, 300)
    window = Window(MIDNIGHT + timedelta(hours=3, microseconds=1), MIDNIGHT + timedelta(hours=9))

    assert ids(source, project, window) == [run for run in runs if window.start <= run[0] < window.end]


def test_an_empty_day_has_no_runs(server: LangSmith, source: RunSource, project: str) -> None:
    assert ids(source, project) == []


def status(code: int, **headers: str) -> Fault:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda asked, answer: Answer(code, b'{"detail": "not now"}', given)


def cut(asked: Asked, answer: Answer) -> Answer:
    """The connection breaks off within the body."""
    return replace(answer, body=answer.body[: len(answer.body) // 2], headers={"Content-Length": str(len(answer.body))})


def short(asked: Asked, answer: Answer) -> Answer:
    """The body is cut, and says that it is whole."""
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def error_body(asked: Asked, answer: Answer) -> Answer:
    return Answer(200, b'{"error": "query timed out"}')


def page_of_html(asked: Asked, answer: Answer) -> Answer:
    return Answer(200, b"<html>Just a moment</html>")


def ends_early(asked: Asked, answer: Answer) -> Answer:
    """A page that says that it is the last one."""
    return replace(answer, body=json.dumps({**json.loads(answer.body), "next_cursor": None}).encode())


def loses_a_run(asked: Asked, answer: Answer) -> Answer:
    body = json.loads(answer.body)
    return replace(answer, body=json.dumps({**body, "items": body["items"][1:]}).encode())


def repeats_a_run(asked: Asked, answer: Answer) -> Answer:
    body = json.loads(answer.body)
    return replace(answer, body=json.dumps({**body, "items": [body["items"][0], *body["items"]]}).encode())


def turns_around(asked: Asked, answer: Answer) -> Answer:
    body = json.loads(answer.body)
    return replace(answer, body=json.dumps({**body, "items": body["items"][::-1]}).encode())


def shifts_by_an_hour(asked: Asked, answer: Answer) -> Answer:
    """As a server does that reads UTC as its own time."""
    return replace(answer, body=answer.body.replace(b"T00:", b"T01:").replace(b"T23:", b"T00:"))


ONCE = {
    "503": status(503),
    "429 with Retry-After": status(429, Retry_After="0"),
    "429 without one": status(429),
    "502": status(502),
    "a cut body": cut,
    "a short body": short,
    "an error with 200": error_body,
    "a page of HTML": page_of_html,
    "a page that ends early": ends_early,
    "a lost run": loses_a_run,
    "a run twice": repeats_a_run,
    "a page the wrong way round": turns_around,
}


@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize("page", [0, 1, 4])
def test_a_fault_that_passes_costs_nothing_but_time(  # noqa: PLR0917 - fixtures
    server: LangSmith, source: RunSource, project: str, small_intervals: None, name: str, page: int
) -> None:
    expected = add_day(server, project, 120)
    server.play(QUERY, *[lambda asked, answer: answer] * page, ONCE[name])

    assert ids(source, project) == expected
    assert not server.faults[QUERY]


LASTING = {
    "a page that ends early": (ends_early, "were read where counting them gives"),
    "a lost run": (loses_a_run, "were read where counting them gives"),
    "a run twice": (repeats_a_run, "came twice"),
    "a page the wrong way round": (turns_around, "not ordered by start_time"),
    "an error with 200": (error_body, "query timed out"),
    "a short body": (short, "not JSON, or is cut off"),
}


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_stays_fails_the_day(
    server: LangSmith, source: RunSource, project: str, small_intervals: None, name: str
) -> None:
    fault, reason = LASTING[name]
    add_day(server, project, 120)
    server.always[QUERY] = fault

    with pytest.raises(SourceUnreachableError, match=reason):
        ids(source, project)


def test_the_first_page_for_ever_fails_the_day(
    server: LangSmith, source: RunSource, project: str, small_intervals: None
) -> None:
    """A server that does not see the cursor, or sees it in another place."""
    add_day(server, project, 120)
    first: dict[str, Answer] = {}

    def again(asked: Asked, answer: Answer) -> Answer:
        bounds = json.loads(asked.body)
        return first.setdefault(bounds["min_start_time"], answer)

    server.always[QUERY] = again

    with pytest.raises(SourceUnreachableError, match="came twice"):
        ids(source, project)


def test_statistics_that_count_more_fail_the_day(server: LangSmith, source: RunSource, project: str) -> None:
    add_day(server, project, 12)
    server.always[STATS] = lambda asked, answer: Answer(200, b'{"run_count": 13}')

    with pytest.raises(SourceUnreachableError, match="12 were read where counting them gives 13"):
        ids(source, project)


def test_times_that_are_shifted_fail_the_day(server: LangSmith, source: RunSource, project: str) -> None:
    add_day(server, project, 90)
    server.always[QUERY] = shifts_by_an_hour

    with pytest.raises(SourceUnreachableError, match=r"ordered by start_time|starts elsewhere|counting them gives"):
        ids(source, project)


def test_runs_of_another_project_fail_the_day(server: LangSmith, source: RunSource, project: str) -> None:
    other = server.add_project("other", start=MIDNIGHT)
    add_day(server, project, 6)

    def foreign(asked: Asked, answer: Answer) -> Answer:
        return replace(answer, body=answer.body.replace(project.encode(), other.encode()))

    server.always[QUERY] = foreign

    with pytest.raises(SourceUnreachableError, match=f"is one of another project, {other}"):
        ids(source, project)


def test_runs_that_are_written_while_a_day_is_read_displace_none(
    server: LangSmith, source: RunSource, project: str, small_intervals: None
) -> None:
    before = set(add_day(server, project, 300))
    added: list[tuple[object, str]] = []

    def writes(asked: Asked, answer: Answer) -> Answer:
        with server.lock:
            start = MIDNIGHT + timedelta(minutes=37 * len(added))
            if len(added) < 30:
                added.append((start, server.add_run(project, start)))
        return answer

    server.always[QUERY] = writes
    found = ids(source, project)

    assert before <= set(found) <= before | set(added)
    assert found == sorted(set(found))
    assert len(added) > 10


@pytest.mark.parametrize("has_v2", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_day_that_is_written_and_patched_while_it_is_read_has_whole_rows_and_loses_none(
    server: LangSmith, project: str, small_intervals: None, seed: int, has_v2: bool
) -> None:
    """Between any two requests runs come anywhere in the day, and others get another name and inputs at once."""
    server.has_v2, chance = has_v2, random.Random(seed)
    before = set(add_day(server, project, 300, inputs={"is": "a run"}))
    versions = {(key, "a run") for _, key in before}
    left = 150

    def changes(asked: Asked, answer: Answer) -> Answer:
        nonlocal left
        with server.lock:
            for number in range(chance.randrange(4) if left > 0 else 0):
                left -= 1
                name = f"version {left} {number}"
                key = chance.choice(list(server.runs))
                if chance.random() < 0.1:
                    at = MIDNIGHT + timedelta(microseconds=chance.randrange(86_400_000_000))
                    key = server.add_run(project, at, name=name, inputs={"is": name})
                server.runs[key].update(name=name, inputs={"is": name})
                versions.add((key, name))
        return answer

    server.always[QUERY] = server.always[STATS] = changes
    starts, rows = [], []
    with source_of(server).open(ProjectKey(project), Window.of_day(DAY)) as snapshot:
        for batch in snapshot.batches():
            columns = (batch.column(name).to_pylist() for name in ("start_time", "id", "name", "inputs"))
            for start, key, name, inputs in zip(*columns, strict=True):
                assert json.loads(inputs) == {"is": name}
                starts.append((start, key))
                rows.append((key, name))

    assert starts == sorted(set(starts))
    assert before <= set(starts)
    assert set(rows) <= versions
    assert left < 130


def test_pages_that_are_too_large_are_asked_for_in_smaller_ones(
    server: LangSmith, source: RunSource, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.sources.langsmith.api.MOST_BYTES", 100_000)
    expected = add_day(server, project, 30, inputs={"text": "x" * 10_000})

    assert ids(source, project) == expected
    sizes = [body["page_size"] for body in server.asked(QUERY)[1:]]
    assert sizes[:5] == [1_000, 250, 62, 15, 3]
    assert set(sizes[5:]) == {3}


def test_a_server_that_asks_for_patience_gets_it(server: LangSmith, source: RunSource, project: str) -> None:
    expected = add_day(server, project, 3)
    server.play(QUERY, status(429, Retry_After="1"))
    began = time.monotonic()

    assert ids(source, project) == expected
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("said", ["0", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-1", ""])
def test_whatever_a_server_says_of_when_it_can_be_asked_again(
    server: LangSmith, source: RunSource, project: str, said: str
) -> None:
    expected = add_day(server, project, 3)
    server.play(STATS, status(429, Retry_After=said), status(503, Retry_After=said))

    assert ids(source, project) == expected


def test_a_run_that_is_larger_than_a_page_may_be_comes_alone(
    server: LangSmith, source: RunSource, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.sources.langsmith.api.MOST_BYTES", 10_000)
    expected = add_day(server, project, 6, inputs={"text": "x" * 20_000})

    assert ids(source, project) == expected


def test_a_server_that_stays_away_is_given_up(server: LangSmith, project: str) -> None:
    source = source_of(server, source_minutes=0.03)
    server.always[STATS] = status(503)

    with pytest.raises(
        SourceUnreachableError, match=r"gives no usable answer to /api/v1/runs/stats: HTTP 503: .*not now"
    ):
        source.days(ProjectKey(project), Window.of_day(DAY))


def test_a_reading_that_is_left_stops(
    server: LangSmith, source: RunSource, project: str, small_intervals: None
) -> None:
    add_day(server, project, 600)
    with source.open(ProjectKey(project), Window.of_day(DAY)) as snapshot:
        next(iter(snapshot.batches()))

    asked = len(server.asked(QUERY))
    assert ids(source, project)[0][0] == MIDNIGHT
    assert asked < 40
