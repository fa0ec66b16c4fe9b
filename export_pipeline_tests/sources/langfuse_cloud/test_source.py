"""Langfuse Cloud as a trace store: its settings, its project, its days, its filters."""

from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from export_pipeline.errors import InputError, SettingsError, SourceUnusableError
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import RunSource
from export_pipeline_tests.servers.langfuse import KEY, PROJECT, SECRET, Langfuse
from export_pipeline_tests.sources.langfuse_cloud.observations import CHAT, MIDNIGHT, add_day, source_of
from export_pipeline_tests.sources.presets.known_stores import DAY

MORNING = MIDNIGHT + timedelta(hours=10)


def test_the_key_s_project_is_the_project(source: RunSource) -> None:
    assert [(each.key, each.name) for each in source.projects()] == [(PROJECT, "support bot")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source_api_key": None}, "SOURCE_API_KEY must be set"),
        ({"source_api_key": "sk-lf-1"}, "the public and the secret key"),
        ({"source_api_key": "pk-lf-1:"}, "the public and the secret key"),
        ({"source_kind": "langfuse"}, "SOURCE_KIND are for databases"),
        ({"allow_private_endpoints": False}, r"must begin with langfuse-cloud://"),
    ],
)
def test_wrong_settings_are_named(server: Langfuse, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        source_of(server, **changes)


def test_a_wrong_key_is_one_sentence_without_the_key(server: Langfuse) -> None:
    with pytest.raises(SourceUnusableError) as raised:
        source_of(server, source_api_key="pk-lf-x:sk-lf-wrong-one")
    assert "refuses the key (HTTP 401" in str(raised.value)
    assert "sk-lf-wrong-one" not in str(raised.value)
    assert SECRET not in repr(vars(source_of(server)))


def test_the_check_says_where_each_field_comes_from_and_shows_a_row(source: RunSource) -> None:
    report = source.check()

    assert (report.problems, report.projects) == ((), 1)
    columns = {column.field: (column.origin, column.detail) for column in report.columns}
    assert columns["id"] == ("mapped", "traceId:id")
    assert columns["trace_tier"] == ("missing", "the API does not give it")


def test_days_are_counted_by_one_question(server: Langfuse, source: RunSource) -> None:
    add_day(server, 30)
    server.add("later", "span", MIDNIGHT + timedelta(days=1))

    days = source.days(CHAT, Window.of_days(DAY, DAY + timedelta(days=1)))

    assert {day: each.rows for day, each in days.items()} == {DAY: 30, DAY + timedelta(days=1): 1}
    assert len(server.asked("/metrics")) == 1
    outside = source.outside(CHAT, Window.of_day(DAY))
    assert (outside.before, outside.after) == (0, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda server: server.add("new", "span", MORNING),
        lambda server: server.observations[0].update(usageDetails={"total": 5}),
        lambda server: server.observations[0].update(costDetails={"total": 0.5}),
        lambda server: server.score("trace-00000", "span-00000", "good", 1),
    ],
    ids=["row", "tokens", "cost", "score"],
)
def test_a_day_that_has_changed_has_other_figures(server: Langfuse, source: RunSource, change: Any) -> None:
    add_day(server, 9)
    window = Window.of_day(DAY)
    before = source.days(CHAT, window)[DAY]
    assert source.days(CHAT, window)[DAY] == before

    change(server)

    after = source.days(CHAT, window)[DAY]
    assert (after.figures, after.feedbacks) != (before.figures, before.feedbacks)


FILTERS = {
    'eq(name, "a")': ["a"],
    'eq(run_type, "llm")': ["b"],
    'and(eq(run_type, "chain"), eq(status, "error"))': ["a"],
    'has(tags, "x")': ["b", "c"],
}


@pytest.mark.parametrize(("text", "expected"), FILTERS.items())
def test_filters_are_asked_of_the_api(server: Langfuse, source: RunSource, text: str, expected: list[str]) -> None:
    server.add("t", "a", MORNING, name="a", level="ERROR")
    server.add("t", "b", MORNING, name="b", type="GENERATION", tags=["x", "y"], parentObservationId="a")
    server.add("t", "c", MORNING, name="c", tags=["x"], parentObservationId="a")
    server.add("t", "d", MORNING - timedelta(days=1), name="a", level="ERROR", tags=["x"], type="GENERATION")
    tree, window = parse_filter(text), Window.of_day(DAY)

    with source.open(CHAT, window, filter=tree) as snapshot:
        rows = [row for batch in snapshot.batches() for row in batch.to_pylist()]

    assert [row["name"] for row in rows] == expected
    assert source.days(CHAT, window, filter=tree)[DAY].rows == len(expected)
    assert all(row["dotted_order"].endswith(row["id"]) for row in rows)


@pytest.mark.parametrize(
    "text", ['eq(id, "x")', 'neq(name, "a")', "gt(total_tokens, 1)", 'or(eq(name, "a"), eq(name, "b"))']
)
def test_other_filters_are_refused_by_name(source: RunSource, text: str) -> None:
    with (
        pytest.raises(InputError, match="cannot be asked for"),
        source.open(CHAT, Window.of_day(DAY), filter=parse_filter(text)),
    ):
        pass


def test_the_key_is_in_no_text_of_an_error(server: Langfuse) -> None:
    source = source_of(server)
    server.always["/observations"] = lambda asked, answer: type(answer)(
        400, dict(asked.headers)["Authorization"].encode()
    )
    with closing(source), pytest.raises(SourceUnusableError) as raised, source.open(CHAT, Window.of_day(DAY)) as opened:
        list(opened.batches())
    assert all(each not in str(raised.value) for each in (KEY, SECRET, "Basic c"))
