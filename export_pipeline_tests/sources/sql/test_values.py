"""Values as ORMs, pandas and SQLite's own functions leave them: in the file, in filters, in counts."""

import gzip
import json
import re
import sqlite3
import uuid as uuids
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from export_pipeline.errors import SourceUnusableError
from export_pipeline.runs.ids import NAMESPACE
from export_pipeline.runs.schema import RUN_FIELDS, select_fields
from export_pipeline.runs.transform import RunTransform
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline.sources.sql import unpack
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, OTHER, PROJECT, TWO, Store, matching, uuid

START = "2026-03-14 10:00:00+00:00"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def exported(source: RunSource, *, project: str = PROJECT) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The rows of the file in order, and how many cells of which columns were replaced; no row is rejected."""
    transform = RunTransform(
        tenant_id=UUID(int=1),
        session_id=UUID(int=2),
        fields=select_fields(field.name for field in RUN_FIELDS),
        format_version="v2_beta",
    )
    rows: list[dict[str, Any]] = []
    replaced: Counter[str] = Counter()
    with source.open(ProjectKey(project), Window.of_day(DAY), [field.name for field in RUN_FIELDS]) as snapshot:
        for batch in transform.stream(snapshot.batches()):
            assert batch.rejected == ()
            rows += batch.rows.to_pylist()
            replaced.update(batch.replaced)
        assert snapshot.fingerprint.rows == len(rows)
    return rows, replaced


def of_text(text: str) -> str:
    """The id of the file for an id that is no UUID."""
    return str(uuids.uuid5(NAMESPACE, text))


NULLS = (
    "error",
    "tags",
    "parent_run_ids",
    "total_cost",
    "total_tokens",
    "status",
    "trace_tier",
    "reference_example_id",
)


@pytest.mark.parametrize("kind", ["JSON", "JSONB"])
def test_the_null_of_json_columns_is_null_in_every_column_and_in_filters(store: Store, kind: str) -> None:
    more = ("parent_run_id", "trace_id", "is_root", "first_token_time", "is_deleted", "modified_at", "inputs")
    store.runs({"end_time": "{time}", **dict.fromkeys((*NULLS, *more), kind)})
    store.add(1, START, end_time=START, **dict.fromkeys((*NULLS, *more), "null"))
    source = store.source()
    (row,), replaced = exported(source)
    assert replaced == {}
    assert {name: row[name] for name in NULLS} == {
        **dict.fromkeys(NULLS), "tags": [], "parent_run_ids": [], "status": "success",
    }  # fmt: skip
    assert (row["trace_id"], row["is_root"], row["parent_run_id"], row["inputs"]) == (uuid(1), True, None, "null")
    assert matching(source, 'eq(status, "success")') == [1]
    assert matching(source, "eq(error, null)") == [1]
    assert matching(source, "eq(is_root, true)") == [1]
    assert matching(source, 'has(tags, "null")') == []
    source.close()


@pytest.mark.parametrize("kind", ["JSON", "JSONB"])
def test_a_json_string_is_its_text_and_a_json_number_its_value(store: Store, kind: str) -> None:
    names = ("error", "tags", "total_cost", "end_time", "status", "parent_run_id", "is_root")
    store.runs(dict.fromkeys(names, kind))
    cells = {
        "error": "boom \"quoted\" \n 🌍", "tags": ["a", "b"], "total_cost": "1.25", "end_time": "2026-03-14T10:00:05Z",
        "status": "error", "parent_run_id": uuid(9), "is_root": False,
    }  # fmt: skip
    store.add(1, START, **{name: json.dumps(cell) for name, cell in cells.items()})
    store.add(2, START, error='{"code": 7}', total_cost="1.5")
    source = store.source()
    (first, second), _ = exported(source)
    assert first["error"] == cells["error"]
    assert (first["tags"], first["total_cost"], first["status"]) == (["a", "b"], Decimal("1.25"), "error")
    assert first["end_time"].isoformat() == "2026-03-14T10:00:05+00:00"
    assert (first["parent_run_id"], first["is_root"]) == (uuid(9), False)
    assert (json.loads(second["error"]), second["status"]) == ({"code": 7}, "error")
    assert second["total_cost"] == Decimal("1.5")
    assert matching(source, 'like(error, "boom%")') == [1]
    assert matching(source, 'has(tags, "b")') == [1]
    assert matching(source, 'eq(status, "error")') == [1, 2]
    assert matching(source, "eq(latency, 5)") == [1]
    source.close()


@TWO
@pytest.mark.parametrize("wrapped", ["table: wide", "query: SELECT * FROM runs"])
def test_the_null_of_json_is_null_behind_views_queries_and_expressions(store: Store, wrapped: str) -> None:
    store.runs({"failure": "JSON", "tags": "JSON", "total_cost": "JSON"})
    store.run("CREATE VIEW wide AS SELECT * FROM runs")
    store.add(1, START, failure="null", tags="null", total_cost="null")
    source = store.source(f"runs:\n  {wrapped}\n  fields:\n    error: {{sql: failure}}\n")
    (row,), replaced = exported(source)
    assert (row["error"], row["tags"], row["total_cost"], row["status"]) == (None, [], None, "pending")
    assert replaced == {}
    assert matching(source, "eq(error, null)") == [1]
    source.close()


@TWO
def test_escapes_that_no_text_can_hold_are_replacement_characters(store: Store) -> None:
    store.runs({"error": "JSON"})
    store.add(1, START, error='"a\\u0000b\\ud800c\\ud83c\\udf0d"')
    source = store.source()
    assert exported(source)[0][0]["error"] == "a\ufffdb\ufffdc🌍"
    assert matching(source, 'eq(error, "a\ufffdb\ufffdc🌍")') == [1]
    source.close()


@EVERYWHERE
def test_a_text_of_four_letters_in_a_text_column_stays_one(store: Store) -> None:
    store.runs({"error": "TEXT", "tags": "TEXT", "total_cost": "TEXT"})
    store.add(1, START, error="null", tags="null", total_cost="null")
    source = store.source()
    (row,), replaced = exported(source)
    assert (row["error"], row["tags"], row["total_cost"], replaced) == ("null", [], None, {})
    assert matching(source, 'eq(error, "null")') == [1]
    source.close()


def test_a_marker_of_deletion_that_is_the_null_of_json_deletes_nothing(store: Store) -> None:
    store.runs({"is_deleted": "JSON"})
    for number, cell in enumerate(["null", "false", "0", '"false"', None, "true"]):
        store.add(number, START, is_deleted=cell)
    source = store.source()
    assert [UUID(row["id"]).int for row in exported(source)[0]] == [0, 1, 2, 3, 4]
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 5
    source.close()


FLOATS = {"sqlite": "REAL", "postgresql": "DOUBLE PRECISION", "mysql": "DOUBLE"}
WHOLE = {"sqlite": "INTEGER", "postgresql": "BIGINT", "mysql": "BIGINT"}


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("INTEGER", FLOATS), ("INTEGER", "NUMERIC(12, 1)"), (FLOATS, "INTEGER"), ("NUMERIC(12, 2)", FLOATS),
        ("INTEGER", "TEXT"), ("TEXT", FLOATS),
    ],
)  # fmt: skip
def test_ids_that_became_floats_are_the_same_ids(store: Store, own: Any, other: Any) -> None:
    own, other = (each if isinstance(each, str) else each[store.dialect] for each in (own, other))
    store.table("sessions", {"id": own, "name": "TEXT"})
    store.insert("sessions", id=7, name="seven")
    columns = {"id": own, "session_id": other, "name": "TEXT", "run_type": "TEXT", "start_time": "{time}"}
    store.table("runs", {**columns, "parent_run_id": other, "trace_id": other, "parent_run_ids": "TEXT"})
    store.table("feedbacks", {"run_id": other, "key": "TEXT"})
    for number, parent in ((1, None), (2, 1)):
        written = "{:.1f}" if other == "TEXT" else "{:.0f}"
        above = None if parent is None else written.format(parent)
        listed = "[]" if parent is None else "[1.0]"
        store.insert(
            "runs", id=number, session_id=7, name="run", run_type="llm", start_time=START, parent_run_id=above,
            trace_id=written.format(1), parent_run_ids=listed,
        )  # fmt: skip
        store.insert("feedbacks", run_id=written.format(number), key=f"key-{number}")
    source = store.source()
    (project,) = source.projects()
    assert project.key == "7"
    (first, second), _ = exported(source, project=project.key)
    root = of_text("1")
    assert (first["id"], first["trace_id"], first["is_root"]) == (root, root, True)
    assert (second["id"], second["trace_id"], second["parent_run_id"]) == (of_text("2"), root, root)
    assert second["parent_run_ids"] == [root]
    assert {row["session_id"] for row in (first, second)} == {of_text("7")}
    assert [json.loads(row["feedbacks"])[0]["key"] for row in (first, second)] == ["key-1", "key-2"]
    source.close()


@EVERYWHERE
def test_a_dotted_text_is_an_id_of_its_own_where_ids_are_text(store: Store) -> None:
    store.runs({"id": "TEXT", "parent_run_id": "TEXT"})
    store.add("1", START)
    store.add("1.0", START, parent_run_id="1")
    source = store.source()
    rows, _ = exported(source)
    assert {row["id"]: row["parent_run_id"] for row in rows} == {of_text("1"): None, of_text("1.0"): of_text("1")}
    source.close()


def jsonb(value: Any) -> bytes:
    """A value in SQLite's binary JSON, by the published format."""
    if value is None or isinstance(value, bool):
        return bytes([{None: 0, True: 1, False: 2}[value]])
    if isinstance(value, dict):
        parts = [jsonb(each) for pair in value.items() for each in pair]
        kind, content = 12, b"".join(parts)
    elif isinstance(value, list):
        kind, content = 11, b"".join(map(jsonb, value))
    elif isinstance(value, str):
        kind, content = 10, value.encode()
    else:
        kind, content = (3 if isinstance(value, int) else 5), str(value).encode()
    size = len(content)
    if size < 12:
        return bytes([size << 4 | kind]) + content
    width, mark = next((width, mark) for width, mark in ((1, 12), (2, 13), (4, 14)) if size < 256**width)
    return bytes([mark << 4 | kind]) + size.to_bytes(width, "big") + content


PAYLOAD: dict[str, Any] = {"question": 'Wo? 🌍 "da"', "n": [1, -2.5, True, None, {}], "long": "x" * 70_000, "": []}


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PACKED: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd, "text": bytes}


@pytest.mark.parametrize("name", PACKED)
def test_packed_payloads_are_the_text_that_was_packed(store: Store, name: str) -> None:
    store.runs({"inputs": "BYTEA" if store.dialect == "postgresql" else "BLOB"})
    text = json.dumps(PAYLOAD)
    store.add(1, START, inputs=PACKED[name](text.encode()))
    store.add(2, START, inputs=None)
    source = store.source()
    (first, second), replaced = exported(source)
    assert (first["inputs"], second["inputs"], replaced) == (text, None, {})
    source.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\xa1a\x01", b"\x01\x02\x03", bytes(range(256)), gzip.compress(b'{"a": 1}', mtime=0)[:-3],
        b"\x28\xb5\x2f\xfdxx",
        gzip.compress(b"\xff\xfe", mtime=0), b"\x1c\x17a", b"",
    ],
)  # fmt: skip
def test_other_bytes_are_kept_in_base64_and_counted(store: Store, data: bytes) -> None:
    store.runs({"outputs": "BYTEA" if store.dialect == "postgresql" else "BLOB"})
    store.add(1, START, outputs=data)
    source = store.source()
    (row,), replaced = exported(source)
    if data:
        assert b64decode(json.loads(row["outputs"])["export_pipeline"]["base64"]) == data
        assert replaced == {"outputs: bytes": 1}
    else:
        assert (row["outputs"], replaced) == ("", {})
    source.close()


def test_what_unpacks_to_more_than_the_limit_stays_packed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_UNPACKED", 2_000_000)
    store.runs({"inputs": "BYTEA" if store.dialect == "postgresql" else "BLOB"})
    fits, bomb = gzip.compress(b" " * 2_000_000), gzip.compress(b" " * 2_000_001)
    store.add(1, START, inputs=fits)
    store.add(2, START, inputs=bomb)
    source = store.source()
    (first, second), replaced = exported(source)
    assert first["inputs"] == " " * 2_000_000
    assert b64decode(json.loads(second["inputs"])["export_pipeline"]["base64"]) == bomb
    assert replaced == {"inputs: bytes": 1}
    source.close()


def test_packed_payloads_are_cut_into_batches_by_what_they_unpack_to(store: Store) -> None:
    store.runs({"inputs": "BYTEA" if store.dialect == "postgresql" else "BLOB"})
    for number in range(20):
        store.add(number, START, inputs=gzip.compress(b" " * 1_000_000))
    source = store.source()
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY), ["inputs"]) as snapshot:
        sizes = [batch.num_rows for batch in snapshot.batches()]
    assert sum(sizes) == 20
    assert max(sizes) <= 5
    source.close()


def test_binary_json_is_json_in_every_column_and_in_filters(sqlite_store: Store) -> None:
    sqlite_store.runs({"inputs": "BLOB", "extra": "JSONB", "tags": "BLOB", "error": "JSON", "total_cost": "JSON"})
    sqlite_store.table("feedbacks", {"run_id": "TEXT", "key": "TEXT", "value": "JSON"})
    extra = {"metadata": {"team": "blue"}}
    sqlite_store.add(
        1,
        START,
        inputs=jsonb(PAYLOAD),
        extra=jsonb(extra),
        tags=jsonb(["a"]),
        error=jsonb("boom"),
        total_cost=jsonb(1.25),
    )
    sqlite_store.add(2, START, inputs=jsonb("boom"), tags=jsonb(None), error=jsonb(None))
    sqlite_store.insert("feedbacks", run_id=uuid(1), key="k", value=jsonb({"a": [1]}))
    source = sqlite_store.source()
    (first, second), replaced = exported(source)
    assert replaced == {}
    assert (json.loads(first["inputs"]), json.loads(first["extra"])) == (PAYLOAD, extra)
    assert (first["tags"], first["error"], first["total_cost"]) == (["a"], "boom", Decimal("1.25"))
    assert (second["inputs"], second["tags"], second["error"], second["status"]) == ('"boom"', [], None, "pending")
    assert json.loads(first["feedbacks"])[0]["value"] == {"a": [1]}
    assert matching(source, 'and(eq(metadata_key, "team"), eq(metadata_value, "blue"))') == [1]
    assert matching(source, 'has(tags, "a")') == [1]
    assert matching(source, "neq(error, null)") == [1]
    assert matching(source, 'search("Wo?")') == [1]
    source.close()


def test_a_filter_on_bytes_is_refused_by_name(postgres_store: Store) -> None:
    postgres_store.runs({"inputs": "BYTEA"})
    postgres_store.add(1, START, inputs=b"{}")
    source = postgres_store.source()
    with pytest.raises(SourceUnusableError, match="the filter asks about inputs, which the trace store keeps as bytes"):
        matching(source, 'eq(input_key, "a")')
    source.close()


def chain(store: Store, *, columns: dict[str, str], unique: bool = True) -> None:
    """A root, its child and grandchild, whose ids are no UUIDs, and a run whose parent is not there."""
    store.runs({"id": "TEXT", "parent_run_id": "TEXT", **columns}, unique=unique)
    for number, parent in ((1, None), (2, "span-1"), (3, "span-2"), (4, "span-gone")):
        more = {"trace_id": TRACE} if "trace_id" in columns else {}
        store.add(f"span-{number}", f"2026-03-14 10:00:0{number}.000001+00:00", parent_run_id=parent, **more)


@pytest.mark.parametrize("traced", [True, False])
def test_a_store_with_parents_alone_gets_the_whole_tree(store: Store, traced: bool) -> None:
    chain(store, columns={"trace_id": "TEXT"} if traced else {})
    source = store.source()
    rows, _ = exported(source)
    ids = [of_text(f"span-{number}") for number in range(1, 5)]
    assert [row["id"] for row in rows] == ids
    for place, row in enumerate(rows[:3]):
        path = ".".join(f"20260314T10000{number + 1}000001Z{ids[number]}" for number in range(place + 1))
        assert row["dotted_order"] == path
        assert (row["trace_id"], row["parent_run_ids"]) == (ids[0], ids[:place])
        assert (row["parent_run_id"], row["is_root"]) == (ids[place - 1] if place else None, place == 0)
        if traced:
            assert json.loads(row["extra"])["export_pipeline"]["original_ids"]["trace_id"] == TRACE
    orphan = rows[3]
    assert (orphan["dotted_order"], orphan["parent_run_ids"], orphan["is_root"]) == (None, [], False)
    assert orphan["parent_run_id"] == of_text("span-gone")
    source.close()


@pytest.mark.parametrize(
    ("own", "parent"),
    [
        ("VARCHAR(40)", "VARCHAR(40)"), ("{uuid}", "TEXT"), ("BIGINT", "TEXT"), ("NUMERIC(12, 1)", "INTEGER"),
        ("TEXT", "BIGINT"), ("INTEGER", "JSON"),
    ],
)  # fmt: skip
def test_parents_are_found_whatever_the_types_of_ids(store: Store, own: str, parent: str) -> None:
    store.runs({"id": own, "parent_run_id": parent}, unique=True)
    names = [uuid(number) if own == "{uuid}" else number for number in (1, 2, 3)]
    for name, above in zip(names, [None, *names[:2]], strict=True):
        cell = above if isinstance(above, str) or above is None else str(above)
        store.insert(
            "runs", id=str(name), session_id=PROJECT, name="x", run_type="llm", start_time=START, parent_run_id=cell
        )
    source = store.source()
    files = [name if isinstance(name, str) else of_text(str(name)) for name in names]
    found = {row["id"]: row["parent_run_ids"] for row in exported(source)[0]}
    assert found == {files[0]: [], files[1]: files[:1], files[2]: files[:2]}
    source.close()


def test_filters_on_a_built_tree_mean_what_the_file_says(store: Store) -> None:
    store.runs({"parent_run_id": "{uuid}", "trace_id": "TEXT"}, unique=True)
    for number, parent in ((1, None), (2, 1), (3, 2)):
        store.add(number, START, parent_run_id=parent and uuid(parent), trace_id=TRACE)
    source = store.source()
    assert {row["trace_id"] for row in exported(source)[0]} == {uuid(1)}
    assert matching(source, f'eq(trace_id, "{uuid(1)}")') == [1, 2, 3]
    assert matching(source, f'eq(trace_id, "{TRACE}")') == []
    assert matching(source, "eq(is_root, true)") == [1]
    source.close()


def test_where_ids_may_repeat_only_root_runs_get_a_path(store: Store) -> None:
    chain(store, columns={}, unique=False)
    source = store.source()
    rows, replaced = exported(source)
    assert [row["dotted_order"] is None for row in rows] == [False, True, True, True]
    assert [row["parent_run_ids"] for row in rows] == [[], [], [], []]
    assert replaced["parent_run_ids: not known"] == 3
    source.close()


def test_a_path_that_goes_round_in_circles_is_left_empty(store: Store) -> None:
    store.runs({"parent_run_id": "{uuid}"}, unique=True)
    for number, parent in ((1, 2), (2, 1), (3, 3)):
        store.add(number, START, parent_run_id=uuid(parent))
    source = store.source()
    assert [row["dotted_order"] for row in exported(source)[0]] == [None] * 3
    source.close()


@EVERYWHERE
def test_the_segments_of_a_path_are_ids_of_the_file(store: Store) -> None:
    store.runs({"id": "TEXT", "dotted_order": "TEXT"})
    stamp = "20260314T100000000000Z"
    store.add("a", START, dotted_order=f"{stamp}a")
    store.add("b", START, dotted_order=f"{stamp}a.{stamp}b")
    source = store.source()
    rows, replaced = exported(source)
    assert replaced == {}
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        segments = re.findall(r"Z([0-9a-f-]{36})", row["dotted_order"])
        assert (segments[-1], segments[0], segments[:-1]) == (row["id"], row["trace_id"], row["parent_run_ids"])
        assert set(segments) <= by_id.keys()
    source.close()


def test_binary_json_agrees_with_sqlite_where_that_can_read_it() -> None:
    if sqlite3.sqlite_version_info < (3, 45):
        return
    for value in (PAYLOAD, "boom", 7, 1.5, None, [True, {"a": "\t"}]):
        (packed,) = sqlite3.connect(":memory:").execute("SELECT jsonb(?)", [json.dumps(value)]).fetchone()
        assert json.loads(unpack.unpacked(packed)[0] or b"") == value


@pytest.mark.parametrize("by_id", [True, False])
def test_ancestors_lie_on_other_days_and_where_an_id_is_unique_in_other_projects(store: Store, by_id: bool) -> None:
    store.runs({"parent_run_id": "{uuid}"}, unique=by_id)
    store.run(f"CREATE UNIQUE INDEX of_projects ON runs ({'id' if by_id else 'session_id, id'})")
    store.insert("sessions", id=OTHER, name="other")
    store.add(1, "2026-03-13 23:59:59.999999+00:00", session_id=OTHER)
    store.add(2, "2026-03-13 23:59:59.999999+00:00")
    for number, parent in ((3, 1), (4, 2), (5, None)):
        store.add(number, START, parent_run_id=parent and uuid(parent))
    source = store.source()
    found = {row["id"]: (row["trace_id"], row["parent_run_ids"]) for row in exported(source)[0]}
    of_another = (uuid(1), [uuid(1)]) if by_id else (uuid(1), [])
    assert found == {uuid(3): of_another, uuid(4): (uuid(2), [uuid(2)]), uuid(5): (uuid(5), [])}
    source.close()


def test_ids_with_dots_have_a_path_too(store: Store) -> None:
    store.runs({"id": "TEXT", "parent_run_id": "TEXT"}, unique=True)
    for own, parent in (("run.1", None), ("run.1.2", "run.1"), (".20260314T100000000000Zx", "run.1")):
        store.add(own, START, parent_run_id=parent)
    source = store.source()
    found = {row["id"]: row["dotted_order"] for row in exported(source)[0]}
    root = f"20260314T100000000000Z{of_text('run.1')}"
    assert found[of_text("run.1.2")] == f"{root}.20260314T100000000000Z{of_text('run.1.2')}"
    assert found[of_text(".20260314T100000000000Zx")] is None, "it looks like two segments"
    source.close()
