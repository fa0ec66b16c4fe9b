"""Scores of Langfuse and Opik become `feedbacks` one by one, and `feedback_stats` by name."""

import json
import math
from collections import Counter, defaultdict
from typing import Any

import pytest

from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.sources.clickhouse import opik
from export_pipeline_tests.sources.clickhouse.days import CHAT, exported
from export_pipeline_tests.sources.clickhouse.langfuse import add, make
from export_pipeline_tests.sources.stores import DAY, PROJECT, START, Store, execute, matching, uuid

pytestmark = pytest.mark.slow

TRACE, START_AT = "trace-1", "2026-03-14 10:00:00"
SCORES: list[dict[str, Any]] = [
    {"id": "s1", "observation_id": "g1", "name": "good", "value": 0.5},
    {"id": "s2", "observation_id": "g1", "name": "good", "value": 0.25},
    {
        "id": "s3",
        "observation_id": "g1",
        "name": "tone",
        "value": 2,
        "data_type": "CATEGORICAL",
        "string_value": "warm",
    },
    {
        "id": "s4",
        "observation_id": "g1",
        "name": "tone",
        "value": 1,
        "data_type": "CATEGORICAL",
        "string_value": 'c"old',
    },
    {
        "id": "s5",
        "observation_id": "g1",
        "name": "tone",
        "value": 2,
        "data_type": "CATEGORICAL",
        "string_value": "warm",
    },
    {"id": "s6", "observation_id": "g1", "name": 'is "ok"', "value": 1, "string_value": "True"},
    {"id": "s7", "name": "whole", "value": 0.75},
    {"id": "s8", "observation_id": "", "name": "whole", "value": 0.25},
    {"id": "s9", "observation_id": "gone", "name": "lost", "value": 1},
    {"id": "s10", "session_id": "thread", "trace_id": None, "name": "of a session", "value": 1},
]


def scored(store: Store, version: int) -> Store:
    """A trace with a generation and a tool, which has no score, and scores in versions, deleted, and of others."""
    make(store, version=version)
    basic = {"trace_id": TRACE, "start_time": START_AT}
    if version == 4:
        add(store, "events_full", **basic, span_id="root", type="SPAN", name="chat")
        for name in ("g1", "t1"):
            add(store, "events_full", **basic, span_id=name, parent_span_id="root", type="GENERATION", name=name)
    else:
        add(store, "traces", id=TRACE, timestamp=START_AT, name="chat")
        for name in ("g1", "t1"):
            add(store, "observations", **basic, id=name, type="GENERATION", name=name)
    for score in SCORES:
        kind = "NUMERIC" if "string_value" not in score else "BOOLEAN" if "ok" in score["name"] else "CATEGORICAL"
        given = {"trace_id": TRACE, "timestamp": START_AT, "data_type": kind, "source": "API", **score}
        add(store, "scores", **{**given, "value": 99, "event_ts": "2026-03-14 12:00:00"})
        add(store, "scores", **given)
        add(store, "scores", **given, project_id="other")
    gone = {"trace_id": TRACE, "timestamp": START_AT, "id": "d1", "observation_id": "t1", "name": "gone"}
    add(store, "scores", **gone)
    add(store, "scores", **gone, is_deleted=1, event_ts="2026-03-14 21:00:00")
    return store


def wanted(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """What is to be counted of scores, by their names."""
    by_name: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for score in scores:
        by_name[score["name"]].append(score)
    stats = {}
    for name, own in by_name.items():
        numbers = [each["value"] for each in own if each["name"] != "tone"]
        labels = Counter(each["string_value"] for each in own if each.get("string_value"))
        stats[name] = {"n": len(own), "avg": math.fsum(numbers) / len(numbers) if numbers else None, "values": labels}
    return stats


@pytest.mark.parametrize("version", [3, 4])
def test_the_scores_of_langfuse_are_counted_at_their_runs(clickhouse_store: Store, version: int) -> None:
    source = scored(clickhouse_store, version).source()
    rows = {row["name"]: row for row in exported(source)}
    of_run = {name: [s for s in SCORES if s.get("observation_id") == name] for name in ("g1", "t1")}
    of_run["chat"] = [s for s in SCORES if s["name"] == "whole"]
    assert rows.keys() == of_run.keys()
    for name, scores in of_run.items():
        records = {each["id"]: each for each in json.loads(rows[name]["feedbacks"])}
        assert records.keys() == {each["id"] for each in scores}
        assert {each["key"] for each in records.values()} == {each["name"] for each in scores}
        assert json.loads(rows[name]["feedback_stats"] or "{}") == wanted(scores)
    assert rows["t1"]["feedback_stats"] is None
    tone = [record for record in json.loads(rows["g1"]["feedbacks"]) if record["id"] == "s4"]
    assert [(each["score"], each["value"], each["session_id"]) for each in tone] == [(None, 'c"old', "chat")]
    assert source.days(CHAT)[DAY].feedbacks == 8
    warnings = [text for text in source.check().warnings if "scores" in text]
    assert warnings == ["2 scores of sessions and of experiments are not exported"]
    source.close()


@pytest.mark.parametrize("version", [3, 4])
def test_a_text_of_newer_versions_is_the_value_of_its_score(clickhouse_store: Store, version: int) -> None:
    store = scored(clickhouse_store, version)
    execute(store.url, "ALTER TABLE scores ADD COLUMN long_string_value String", nullable=False)
    text = {"trace_id": TRACE, "timestamp": START_AT, "id": "s20", "observation_id": "t1", "name": "better"}
    add(store, "scores", **text, data_type="CORRECTION", long_string_value="so it is", value=0)
    source = store.source()
    (row,) = (row for row in exported(source) if row["name"] == "t1")
    (record,) = json.loads(row["feedbacks"])
    assert (record["score"], record["value"]) == (None, "so it is")
    assert json.loads(row["feedback_stats"]) == {"better": {"n": 1, "avg": None, "values": {"so it is": 1}}}
    source.close()


def test_the_scores_of_a_run_are_looked_for_from_the_day_before_it_on(clickhouse_store: Store) -> None:
    store = clickhouse_store
    make(store, version=3)
    add(store, "traces", id=TRACE, timestamp=START_AT, name="chat")
    for number, day in enumerate(["2026-03-12", "2026-03-13", "2026-03-14", "2027-01-01"]):
        given = {"trace_id": TRACE, "id": f"s{number}", "name": "good", "value": number, "data_type": "NUMERIC"}
        add(store, "scores", **given, timestamp=f"{day} 12:00:00")
    source = store.source()
    (row,) = exported(source)
    assert [each["id"] for each in json.loads(row["feedbacks"])] == ["s1", "s2", "s3"]
    assert json.loads(row["feedback_stats"]) == {"good": {"n": 3, "avg": 2.0, "values": {}}}
    source.close()


@pytest.mark.parametrize("has_authors", [False, True])
def test_the_scores_of_opik_are_counted_at_their_runs(clickhouse_store: Store, has_authors: bool) -> None:
    opik.make(clickhouse_store)
    if has_authors:
        opik.add_authored(clickhouse_store)
    source = clickhouse_store.source()
    rows = {row["name"]: row for row in exported(source, project=opik.OPIK)}
    answer = {"good": {"n": 1, "avg": 0.75, "values": {}}}
    if has_authors:
        answer = {"good": {"n": 3, "avg": 0.5, "values": {"fine": 1}}}
    assert {name: json.loads(row["feedback_stats"] or "null") for name, row in rows.items()} == {
        "chat": {"kind": {"n": 1, "avg": 1.0, "values": {}}}, "answer": answer, "look up": None,
    }  # fmt: skip
    ids = [each["id"] for each in json.loads(rows["answer"]["feedbacks"])]
    assert len(set(ids)) == len(ids) == answer["good"]["n"]
    assert source.days(opik.OPIK)[DAY].feedbacks == 1 + len(ids)
    source.close()


def test_feedback_of_a_table_is_counted_where_runs_have_no_column_for_it(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.runs()
    store.table("feedbacks", {"run_id": "{uuid}", "key": "TEXT", "score": "String", "value": "TEXT"})
    store.add(1, START)
    store.add(2, START)
    for score in ("0.1", "0.2", "0.3", "nan", "inf", "good", None):
        store.insert("feedbacks", run_id=uuid(1), key="k", score=score)
    store.insert("feedbacks", run_id=uuid(1), key=None, score="1e-7", value="ä\n")
    source = store.source()
    first, second = exported(source, project=ProjectKey(PROJECT))
    stats = json.loads(first["feedback_stats"])
    assert stats == {
        "": {"n": 1, "avg": 1e-7, "values": {"ä\n": 1}},
        "k": {"n": 7, "avg": pytest.approx(0.2, abs=1e-15), "values": {}},
    }
    assert second["feedback_stats"] is None
    (column,) = (each for each in source.check().columns if each.field == "feedback_stats")
    assert (column.origin, column.detail) == ("derived", "from key, score and value of the feedback")
    assert matching(source, "gt(feedback_score, 0.25)") == [1]
    source.close()
    store.run("ALTER TABLE runs ADD COLUMN feedback_stats String DEFAULT '{\"own\": 1}'")
    source = store.source()
    assert {row["feedback_stats"] for row in exported(source, project=ProjectKey(PROJECT))} == {'{"own": 1}'}
    source.close()
