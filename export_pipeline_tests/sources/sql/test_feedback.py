"""Feedback that names its project, or a whole trace in place of a run."""

import json
from typing import Any

import pytest

from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import UNASSIGNED, ProjectKey
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, OTHER, PROJECT, START, Store, matching, uuid

COLUMNS = {"id": "TEXT", "run_id": "TEXT", "trace": "TEXT", "project": "{uuid}", "key": "TEXT", "score": "REAL"}
MAPPING = "runs: {id_is_unique: true}\nfeedbacks: {table: votes, trace_id: trace, session_id: project}"


def vote(store: Store, name: str, **values: Any) -> None:
    store.insert("votes", **{"id": name, "project": PROJECT, "key": name, "score": 1, **values})


@pytest.fixture
def voted(store: Store) -> Store:
    """A trace of two roots and a child, one of one root, and votes on runs and on traces."""
    store.runs({"trace_id": "TEXT", "parent_run_id": "TEXT", "dotted_order": "TEXT"})
    store.table("votes", COLUMNS)
    for number, (trace, parent) in enumerate([("a", None), ("a", uuid(1)), ("a", ""), ("b", None)], 1):
        store.add(number, START, trace_id=trace, parent_run_id=parent)
    vote(store, "on the child", run_id=uuid(2))
    vote(store, "on the trace", trace="a")
    vote(store, "on both", run_id=uuid(1), trace="a")
    vote(store, "of an empty run", run_id="", trace="b")
    vote(store, "of another project", run_id=uuid(2), project=OTHER)
    vote(store, "of another project's trace", trace="a", project=OTHER)
    vote(store, "of no trace", trace="c")
    vote(store, "of nothing")
    return store


@EVERYWHERE
def test_feedback_of_a_trace_is_at_each_of_its_roots_and_no_other_projects_anywhere(voted: Store) -> None:
    source = voted.source(MAPPING)
    assert source.check().problems == ()
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY), ["id", "feedbacks"]) as snapshot:
        rows = [row for batch in snapshot.batches() for row in batch.select(["id", "feedbacks"]).to_pylist()]
        found = snapshot.fingerprint
    assert {row["id"]: sorted(each["key"] for each in json.loads(row["feedbacks"])) for row in rows} == {
        uuid(1): ["on both", "on the trace"],
        uuid(2): ["on the child"],
        uuid(3): ["on the trace"],
        uuid(4): ["of an empty run"],
    }
    assert (found.rows, found.feedbacks) == (4, 5)
    assert source.days(ProjectKey(PROJECT))[DAY] == found
    assert matching(source, 'eq(feedback_key, "on the trace")') == [1, 3]
    assert matching(source, 'eq(feedback_key, "of another project")') == []
    source.close()


@EVERYWHERE
def test_rows_of_no_project_have_the_feedback_of_theirs(voted: Store) -> None:
    voted.add(5, START, session_id=OTHER, trace_id="d", parent_run_id=None)
    vote(voted, "unlisted", run_id=uuid(5), project=OTHER)
    vote(voted, "of the listed one", run_id=uuid(5))
    source = voted.source(MAPPING)
    with source.open(ProjectKey(UNASSIGNED), Window.of_day(DAY), ["id", "feedbacks"]) as snapshot:
        (row,) = (row for batch in snapshot.batches() for row in batch.select(["id", "feedbacks"]).to_pylist())
    assert (row["id"], [each["key"] for each in json.loads(row["feedbacks"])]) == (uuid(5), ["unlisted"])
    source.close()


@EVERYWHERE
def test_feedback_of_traces_needs_runs_that_name_theirs(store: Store) -> None:
    store.runs({"parent_run_id": "{uuid}"})
    store.table("votes", COLUMNS)
    source = store.source(MAPPING)
    assert source.check().problems == (
        "feedbacks.trace_id is about root runs, and the runs lack a trace_id or a parent_run_id",
    )
    source.close()
