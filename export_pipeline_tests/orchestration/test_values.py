"""Values as ORMs, pandas and span stores leave them, through each way out, compared with plain SQL."""

import gzip
import json
from datetime import date
from uuid import uuid5

import dagster as dg
import pytest

from export_pipeline.runs.ids import NAMESPACE
from export_pipeline_tests.orchestration.house import House
from export_pipeline_tests.orchestration.ways import WAYS, Way, asked, house_over, synced
from export_pipeline_tests.sources.stores import Store

pytestmark = pytest.mark.slow

FIRST, DAYS, RUNS = date(2026, 3, 13), 3, 9


def fill(store: Store) -> None:
    """Three traces of three spans, a day each, with numbers for ids, references as floats, and JSON's null."""
    real = "REAL" if store.dialect == "sqlite" else "DOUBLE PRECISION"
    blob = "BYTEA" if store.dialect == "postgresql" else "BLOB"
    store.table("sessions", {"id": "INTEGER", "name": "TEXT"})
    store.insert("sessions", id=7, name="seven")
    store.table("runs", {
        "id": "INTEGER PRIMARY KEY", "session_id": real, "name": "TEXT", "run_type": "TEXT", "start_time": "TEXT",
        "parent_run_id": real, "trace_id": "TEXT", "error": "JSON", "tags": "JSON", "total_cost": "JSON",
        "inputs": blob,
    })  # fmt: skip
    for number in range(RUNS):
        trace, depth = divmod(number, 3)
        store.insert(
            "runs", id=number, session_id=7.0, name="span", run_type="llm",
            start_time=f"2026-03-1{3 + trace} 10:00:0{depth} +0000 UTC",
            parent_run_id=number - 1 if depth else None, trace_id=f"{trace:032x}",
            error="null" if depth else '"boom"', tags="null", total_cost="null" if depth else "0.25",
            inputs=gzip.compress(json.dumps({"n": number}).encode()) if depth else bytes([1, number]),
        )  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_every_value_is_in_the_bucket_as_what_it_means(
    house: House, store: Store, instance: dg.DagsterInstance, way: Way
) -> None:
    fill(store)
    house_over(house, store)
    synced(house)
    exported = way(house, instance, "seven", FIRST, DAYS)
    ids = [str(uuid5(NAMESPACE, number)) for number in asked(store, "SELECT id FROM runs ORDER BY id")]
    rows = {row["id"]: row for row in exported.rows.to_dicts()}
    assert exported.ids == sorted(ids)
    for number, own in enumerate(ids):
        trace, depth = divmod(number, 3)
        path, row = ids[number - depth : number + 1], rows[own]
        stamps = [f"2026031{3 + trace}T10000{place}000000Z" for place in range(depth + 1)]
        assert row["dotted_order"] == ".".join(stamp + each for stamp, each in zip(stamps, path, strict=True))
        assert (row["trace_id"], json.loads(row["parent_run_ids"])) == (path[0], path[:-1])
        assert (row["parent_run_id"], row["is_root"]) == ((path[-2], False) if depth else (None, True))
        assert (row["error"], row["status"]) == ((None, "pending") if depth else ("boom", "error"))
        assert (row["tags"], row["total_cost"] and float(row["total_cost"])) == ("[]", None if depth else 0.25)
        assert (json.loads(row["inputs"]) == {"n": number}) == (depth > 0)
    replaced = [each.replaced for each in exported.manifests]
    assert [each["inputs: bytes"] for each in replaced] == [1, 1, 1]
    assert [each.rejected.count for each in exported.manifests] == [0, 0, 0]
