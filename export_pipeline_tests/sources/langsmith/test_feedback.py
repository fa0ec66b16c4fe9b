"""Feedback comes one by one, whole and as it was written, whatever becomes of the list meanwhile."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers.http import Answer, Asked
from export_pipeline_tests.servers.langsmith import LangSmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT, add_day, source_of
from export_pipeline_tests.sources.presets.known_stores import DAY

LIST = "/api/v1/feedback"


@pytest.fixture
def project(server: LangSmith) -> str:
    return server.add_project("chat", start=MIDNIGHT)


def give(server: LangSmith, run: str, count: int, **more: Any) -> list[str]:
    """Feedback of a run, each later than the one before; the ids."""
    made = []
    for _ in range(count):
        number = len(server.feedback)
        own = f"f0000000-0000-4000-8000-{number:012}"
        at = (MIDNIGHT + timedelta(seconds=number)).isoformat()
        server.feedback.append({"id": own, "run_id": run, "key": "a", "score": 1, "created_at": at, **more})
        made.append(own)
    return made


def records(source: RunSource, project: str) -> dict[str, list[str]]:
    """The ids of the records of each run that has any."""
    found: dict[str, list[str]] = {}
    with source.open(ProjectKey(project), Window.of_day(DAY), ["id", "feedbacks"]) as snapshot:
        for batch in snapshot.batches():
            columns = (batch.column(name).to_pylist() for name in ("id", "feedbacks"))
            found |= {run: [each["id"] for each in json.loads(text)] for run, text in zip(*columns, strict=True)}
    return {run: ids for run, ids in found.items() if ids}


def pages(server: LangSmith) -> list[dict[str, list[str]]]:
    """What lists of feedback were asked for."""
    assert server.server is not None
    asked = [each for each in server.server.asked if urlsplit(each.path).path == LIST]
    return [parse_qs(urlsplit(each.path).query) for each in asked]


@pytest.mark.parametrize("has_v2", [True, False])
def test_each_run_has_its_own_oldest_first(server: LangSmith, project: str, has_v2: bool) -> None:
    server.has_v2 = has_v2
    runs = [run for _, run in add_day(server, project, 400)]
    expected = {run: give(server, run, 1 + number % 3) for number, run in enumerate(runs[::2])}

    assert records(source_of(server), project) == expected
    assert all(len(page["run"]) <= 50 for page in pages(server))


def test_only_runs_that_have_feedback_are_asked_about(server: LangSmith, source: RunSource, project: str) -> None:
    runs = [run for _, run in add_day(server, project, 300)]
    assert records(source, project) == {}
    assert pages(server) == []

    expected = {runs[7]: give(server, runs[7], 2)}
    assert records(source, project) == expected
    assert [page["run"] for page in pages(server)] == [[runs[7]]]


def test_feedback_is_not_asked_for_where_it_is_not_exported(server: LangSmith, source: RunSource, project: str) -> None:
    give(server, server.add_run(project, MIDNIGHT), 1)
    with source.open(ProjectKey(project), Window.of_day(DAY)) as snapshot:
        (batch,) = snapshot.batches()

    assert batch.column("feedbacks").to_pylist() == [None]
    assert pages(server) == []


def test_a_record_is_as_the_api_has_written_it(server: LangSmith, source: RunSource, project: str) -> None:
    run = server.add_run(project, MIDNIGHT)
    (own,) = give(
        server,
        run,
        1,
        score=Decimal("0.10000000000000000001"),
        value={"label": "gut"},
        comment='it said "no" \u2708 \U0001f600',
        correction={"outputs": {"text": "yes", "n": 12345678901234567890}},
        feedback_source={"type": "api", "metadata": {"by": "é"}},
    )

    with source.open(ProjectKey(project), Window.of_day(DAY), ["feedbacks"]) as snapshot:
        ((text,),) = (batch.column("feedbacks").to_pylist() for batch in snapshot.batches())

    assert '"score":0.10000000000000000001' in text
    (found,) = json.loads(text)
    given = server.feedback[0]
    for name in ("id", "run_id", "key", "value", "comment", "correction", "feedback_source", "created_at"):
        assert found[name] == given[name]
    assert own == found["id"]


@pytest.mark.parametrize("count", [99, 100, 101, 199, 200, 350])
def test_a_run_with_pages_of_feedback_has_all_of_it(
    server: LangSmith, source: RunSource, project: str, count: int
) -> None:
    run = server.add_run(project, MIDNIGHT)
    expected = give(server, run, count)

    assert records(source, project) == {run: expected}


@pytest.mark.parametrize("count", [3, 100, 250])
def test_a_server_that_heeds_neither_limit_nor_offset_gives_each_record_once(
    server: LangSmith, source: RunSource, project: str, count: int
) -> None:
    run = server.add_run(project, MIDNIGHT)
    expected = give(server, run, count)
    everything = [{**each, "comment": None} for each in server.feedback[::-1]]
    server.always[LIST] = lambda asked, answer: Answer(200, json.dumps(everything).encode())

    assert records(source, project) == {run: expected}


def deletes(server: LangSmith, ids: list[str]) -> Callable[[Asked, Answer], Answer]:
    def fault(asked: Asked, answer: Answer) -> Answer:
        server.feedback[:] = [each for each in server.feedback if each["id"] not in ids]
        return answer

    return fault


def test_a_record_that_is_deleted_between_two_pages_hides_no_other(
    server: LangSmith, source: RunSource, project: str
) -> None:
    run = server.add_run(project, MIDNIGHT)
    ids = give(server, run, 250)
    server.play(LIST, deletes(server, ids[240:243]))

    assert records(source, project) == {run: ids[:240] + ids[243:]}


def test_a_record_that_is_written_between_two_pages_hides_no_other(
    server: LangSmith, source: RunSource, project: str
) -> None:
    run = server.add_run(project, MIDNIGHT)
    ids = give(server, run, 250)

    def writes(asked: Asked, answer: Answer) -> Answer:
        give(server, run, 2)
        return answer

    server.play(LIST, writes)

    assert set(ids) <= set(records(source, project)[run])


def test_a_page_that_loses_records_is_read_again(server: LangSmith, source: RunSource, project: str) -> None:
    run = server.add_run(project, MIDNIGHT)
    ids = give(server, run, 5)
    server.play(LIST, lambda asked, answer: replace(answer, body=json.dumps(json.loads(answer.body)[2:]).encode()))

    assert records(source, project) == {run: ids}


def test_statistics_that_count_otherwise_do_not_keep_a_day_from_being_read(
    server: LangSmith, source: RunSource, project: str
) -> None:
    run = server.add_run(project, MIDNIGHT)
    ids = give(server, run, 3)
    more = {"run_id": run, "key": "b", "score": 1}
    server.always[LIST] = lambda asked, answer: replace(
        answer, body=json.dumps([each for each in json.loads(answer.body) if each["key"] == "a"]).encode()
    )
    server.feedback.append(more)

    assert records(source, project) == {run: ids}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[", "cut off"),
        (b'{"detail": "no"}', "not a list"),
        (b'[{"id": "f"}]', "no id or no run_id"),
        (b'[{"id": "f", "run_id": "other"}]', "was not asked about"),
    ],
)
def test_an_answer_that_is_no_list_of_feedback_fails_the_day(
    server: LangSmith, source: RunSource, project: str, body: bytes, reason: str
) -> None:
    give(server, server.add_run(project, MIDNIGHT), 1)
    server.always[LIST] = lambda asked, answer: Answer(200, body)

    with pytest.raises(SourceUnreachableError, match=reason):
        records(source, project)


def test_a_list_that_changes_all_the_time_fails_the_day(server: LangSmith, source: RunSource, project: str) -> None:
    run = server.add_run(project, MIDNIGHT)
    give(server, run, 250)

    def changes(asked: Asked, answer: Answer) -> Answer:
        server.feedback.pop()
        return answer

    server.always[LIST] = changes

    with pytest.raises(SourceUnreachableError, match="list of feedback changed each time"):
        records(source, project)
