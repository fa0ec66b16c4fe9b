"""A day through the API is whole and in order, or fails: whatever the server and the way to it do."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from export_pipeline.errors import SourceSlowError, SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.http import intervals
from export_pipeline.sources.langfuse_cloud import api
from export_pipeline.sources.langfuse_cloud import source as langfuse_source
from export_pipeline.sources.protocol import RunSource
from export_pipeline_tests.servers.http import Answer, Asked
from export_pipeline_tests.servers.langfuse import Fault, Langfuse
from export_pipeline_tests.sources.langfuse_cloud.observations import CHAT, MIDNIGHT, add_day, ids, source_of
from export_pipeline_tests.sources.presets.known_stores import DAY

LIST, SCORES, METRICS = "/v2/observations", "/v3/scores", "/v2/metrics"


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred observations are many."""
    monkeypatch.setattr(intervals, "ROWS", 50)
    monkeypatch.setattr(langfuse_source, "PAGE_ROWS", 20)
    monkeypatch.setattr(api, "SPANS_A_PAGE", 30)
    monkeypatch.setattr(api, "MOST_KEYS", 100)


def test_a_large_day_comes_once_and_in_order(server: Langfuse, source: RunSource, small_pages: None) -> None:
    expected = add_day(server, 240)

    assert ids(source) == expected


def test_whether_it_is_complete_is_not_told_by_metrics_which_count_every_version(
    server: Langfuse, source: RunSource
) -> None:
    expected = add_day(server, 30)
    server.versions = {"span-00003": 7}

    assert ids(source) == expected
    assert source.days(CHAT, Window.of_day(DAY))[DAY].rows == 36


def test_a_day_is_read_where_metrics_are_used_up(server: Langfuse, source: RunSource) -> None:
    expected = add_day(server, 30)
    server.always[METRICS] = lambda asked, answer: Answer(429, b"{}", {"Retry-After": "3600"})

    assert ids(source) == expected
    with pytest.raises(SourceSlowError, match="has asked to be left alone"):
        source.days(CHAT, Window.of_day(DAY))


def test_a_window_within_a_day_has_its_own_runs_only(server: Langfuse, source: RunSource) -> None:
    runs = add_day(server, 300)
    window = Window(MIDNIGHT + timedelta(hours=3, milliseconds=1), MIDNIGHT + timedelta(hours=9))

    assert ids(source, window) == [run for run in runs if window.start <= run[0] < window.end]


def test_an_empty_day_has_no_runs(source: RunSource) -> None:
    assert ids(source) == []
    assert source.days(CHAT, Window.of_day(DAY)) == {}


def short(asked: Asked, answer: Answer) -> Answer:
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def error_body(asked: Asked, answer: Answer) -> Answer:
    return Answer(200, b'{"error": "query timed out"}')


def busy(asked: Asked, answer: Answer) -> Answer:
    return Answer(429, b'{"message": "Rate limit exceeded"}', {"Retry-After": "0"})


def down(asked: Asked, answer: Answer) -> Answer:
    return Answer(503, b"<html>no server is available</html>")


def ends_early(asked: Asked, answer: Answer) -> Answer:
    """A page that says that it is the last one."""
    return replace(answer, body=json.dumps({**json.loads(answer.body), "meta": {}}).encode())


def loses_one(asked: Asked, answer: Answer) -> Answer:
    body = json.loads(answer.body)
    return replace(answer, body=json.dumps({**body, "data": body["data"][1:]}).encode())


def repeats_one(asked: Asked, answer: Answer) -> Answer:
    body = json.loads(answer.body)
    return replace(answer, body=json.dumps({**body, "data": [body["data"][0], *body["data"]]}).encode())


def without_start(asked: Asked, answer: Answer) -> Answer:
    """An observation lacks what it must have."""
    body = json.loads(answer.body)
    return replace(answer, body=json.dumps({**body, "data": [{**body["data"][0], "startTime": None}]}).encode())


def turns_around(asked: Asked, answer: Answer) -> Answer:
    body = json.loads(answer.body)
    return replace(answer, body=json.dumps({**body, "data": body["data"][::-1]}).encode())


def first_page_again(server: Langfuse) -> Fault:
    def fault(asked: Asked, answer: Answer) -> Answer:
        without_cursor = "&".join(part for part in asked.path.split("&") if not part.startswith("cursor="))
        return server._answer(replace(asked, path=without_cursor))

    return fault


@pytest.mark.parametrize(
    "fault",
    [short, error_body, busy, down, ends_early, loses_one, repeats_one, turns_around, without_start],
    ids=lambda each: each.__name__,
)
@pytest.mark.parametrize("place", range(4))
def test_a_fault_of_one_answer_is_made_good(
    server: Langfuse, source: RunSource, small_pages: None, fault: Fault, place: int
) -> None:
    expected = add_day(server, 120)

    def untouched(asked: Asked, answer: Answer) -> Answer:
        return answer

    server.play(LIST, *[untouched] * place, fault)

    assert ids(source) == expected


@pytest.mark.parametrize("fault", [ends_early, loses_one, repeats_one], ids=lambda each: each.__name__)
def test_a_day_whose_pages_never_fit_together_fails(
    server: Langfuse, source: RunSource, small_pages: None, fault: Callable[[Asked, Answer], Answer]
) -> None:
    add_day(server, 120)

    def pages_only(asked: Asked, answer: Answer) -> Answer:
        return fault(asked, answer) if "basic" in asked.path else answer

    server.always[LIST] = pages_only

    with pytest.raises(SourceUnreachableError, match="Langfuse does not tell which runs of project"):
        ids(source)


def test_a_cursor_that_leads_to_the_first_page_again_ends_the_day(
    server: Langfuse, source: RunSource, small_pages: None
) -> None:
    add_day(server, 120)
    server.always[LIST] = first_page_again(server)

    with pytest.raises(SourceUnreachableError):
        ids(source)


def test_pages_that_are_too_large_are_asked_for_in_smaller_ones(server: Langfuse, source: RunSource) -> None:
    expected = add_day(server, 60)

    def limited(asked: Asked, answer: Answer) -> Answer:
        is_large = "basic" in asked.path and len(json.loads(answer.body)["data"]) > 10
        return Answer(413, b'{"message": "Response is too large"}') if is_large else answer

    server.always[LIST] = limited

    assert ids(source) == expected


def test_pages_with_long_metadata_come_twice_only_until_their_keys_are_known(
    server: Langfuse, source: RunSource, small_pages: None
) -> None:
    expected = add_day(server, 120)
    for number, each in enumerate(server.observations):
        each["metadata"] = {f"key {number % 2}": "x" * 300}

    assert ids(source) == expected

    pages = [asked for asked in server.asked(LIST) if "basic" in asked["fields"]]
    apart = {(asked["fromStartTime"], asked.get("cursor")) for asked in pages}
    assert len(pages) <= len(apart) + 4  # intervals that begin at once do not know of each other


def test_more_keys_than_fit_a_request_are_asked_for_in_smaller_pages(
    server: Langfuse, source: RunSource, small_pages: None
) -> None:
    expected = add_day(server, 120)
    for number, each in enumerate(server.observations):
        each["metadata"] = {f"key {number % 4}": "x" * 300, f"rare {number // 40} {'y' * 50}": "z" * 300}

    assert ids(source) == expected

    pages = [asked for asked in server.asked(LIST) if "basic" in asked["fields"]]
    assert min(int(asked["limit"]) for asked in pages) < 20
    assert max(len(asked.get("expandMetadata", "")) for asked in pages) <= 100


def test_scores_that_cannot_be_read_end_the_day(server: Langfuse) -> None:
    add_day(server, 3)
    server.always[SCORES] = error_body

    with pytest.raises(SourceUnreachableError, match="gives no usable answer to /api/public/v3/scores"):
        ids(source_of(server, source_minutes=1))


def test_an_older_langfuse_is_refused_by_what_it_lacks(server: Langfuse, source: RunSource) -> None:
    server.has_v2 = False

    with pytest.raises(SourceUnusableError, match="does not know what was asked for"):
        ids(source)
    with pytest.raises(SourceUnusableError, match="it comes with Langfuse 4"):
        source.check()
