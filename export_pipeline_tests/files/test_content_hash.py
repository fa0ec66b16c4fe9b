"""The content hash: equal for equal rows, different for different ones."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.files.content_hash import ContentHash

SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "other": pa.string(),
        "flag": pa.bool_(),
        "count": pa.int64(),
        "cost": pa.decimal128(18, 12),
        "time": pa.timestamp("us", tz="UTC"),
        "tags": pa.list_(pa.string()),
    }
)

cells = {
    "text": st.none() | st.text(max_size=5),
    "other": st.none() | st.sampled_from(["", "a", "ab"]),
    "flag": st.none() | st.booleans(),
    "count": st.none() | st.integers(-(2**63), 2**63 - 1),
    "cost": st.none() | st.decimals(-99999, 99999, places=12),
    "time": st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 -- hypothesis wants naive bounds
    "tags": st.none() | st.lists(st.none() | st.text(max_size=2), max_size=3),
}
rows = st.lists(st.fixed_dictionaries(cells), max_size=8)


def table(content: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(content, schema=SCHEMA)


def hashed(*batches: pa.RecordBatch, schema: pa.Schema = SCHEMA) -> str:
    content = ContentHash(schema)
    for item in batches:
        content.update(item)
    return content.hexdigest()


@settings(deadline=None, max_examples=60)
@given(rows, st.lists(st.integers(0, 8), max_size=4))
def test_the_hash_does_not_see_how_rows_are_cut_into_batches(content: list[dict[str, Any]], cuts: list[int]) -> None:
    whole = table(content)
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    slices = [whole.slice(start, end - start) for start, end in pairwise(edges)]
    copies = [table(content[start:end]) for start, end in pairwise(edges)]
    assert hashed(*slices) == hashed(whole) == hashed(*copies)


@settings(deadline=None, max_examples=60)
@given(rows, rows)
def test_equal_hashes_mean_equal_rows(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert (hashed(table(one)) == hashed(table(other))) == (table(one).to_pylist() == table(other).to_pylist())


@settings(deadline=None, max_examples=60)
@given(rows.filter(bool), st.data())
def test_a_changed_cell_changes_the_hash(content: list[dict[str, Any]], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(content) - 1))
    name = data.draw(st.sampled_from(sorted(cells)))
    value = data.draw(cells[name].filter(lambda cell: cell != content[number][name]))
    changed = [dict(cell) for cell in content]
    changed[number][name] = value
    assert hashed(table(content)) != hashed(table(changed))


PAIRS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "null and empty text": ([{"text": None}], [{"text": ""}]),
    "null and false": ([{"flag": None}], [{"flag": False}]),
    "null and zero": ([{"count": None}], [{"count": 0}]),
    "null and zero cost": ([{"cost": None}], [{"cost": Decimal(0)}]),
    "null and the epoch": ([{"time": None}], [{"time": datetime(1970, 1, 1, tzinfo=UTC)}]),
    "null and an empty list": ([{"tags": None}], [{"tags": []}]),
    "an empty list and one with an empty text": ([{"tags": []}], [{"tags": [""]}]),
    "a null and an empty element": ([{"tags": [None]}], [{"tags": [""]}]),
    "text moved to the next column": ([{"text": "ab", "other": ""}], [{"text": "a", "other": "b"}]),
    "text moved to the next row": ([{"text": "ab"}, {"text": ""}], [{"text": "a"}, {"text": "b"}]),
    "elements moved to the next list": ([{"tags": ["a"]}, {"tags": []}], [{"tags": []}, {"tags": ["a"]}]),
    "rows in another order": ([{"text": "a"}, {"text": "b"}], [{"text": "b"}, {"text": "a"}]),
    "one null row more": ([{}], [{}, {}]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_rows_that_look_alike_have_different_hashes(name: str) -> None:
    one, other = ([dict.fromkeys(SCHEMA.names) | cell for cell in side] for side in PAIRS[name])
    assert hashed(table(one)) != hashed(table(other))


def test_what_lies_behind_a_null_is_not_content() -> None:
    # The middle value is null, but its slot still spans the bytes "xx".
    values = pa.py_buffer(b"axxb")
    offsets = pa.array([0, 1, 3, 4], pa.int32()).buffers()[1]
    validity = pa.array([True, False, True]).buffers()[1]
    dirty = pa.Array.from_buffers(pa.string(), 3, [validity, offsets, values])
    schema = pa.schema({"text": pa.string()})
    clean = pa.array(["a", None, "b"])
    assert dirty.to_pylist() == clean.to_pylist()
    one, other = (pa.RecordBatch.from_arrays([column], schema=schema) for column in (dirty, clean))
    assert hashed(one, schema=schema) == hashed(other, schema=schema)


def test_names_and_types_are_part_of_the_hash() -> None:
    found = set()
    for name, kind in (("a", pa.int64()), ("b", pa.int64()), ("a", pa.timestamp("us", tz="UTC"))):
        schema = pa.schema({name: kind})
        batch = pa.RecordBatch.from_arrays([pa.array([1], pa.int64()).cast(kind)], schema=schema)
        found.add(hashed(batch, schema=schema))
    assert len(found) == 3


def test_the_hash_of_known_rows_stays_what_it_was() -> None:
    content = {
        "text": "añ",
        "other": None,
        "flag": True,
        "count": -1,
        "cost": Decimal("1.5"),
        "time": datetime(2026, 1, 9, tzinfo=UTC),
        "tags": ["x", ""],
    }
    assert hashed(table([content])) == "xxh3-1:cdefc312d5db8bdacf94f7b749306f39"


def test_a_batch_of_another_schema_and_types_without_a_rule_are_refused() -> None:
    with pytest.raises(TypeError, match="was expected"):
        ContentHash(SCHEMA).update(pa.RecordBatch.from_pydict({"a": [1]}))
    with pytest.raises(TypeError, match="no content hash"):
        ContentHash(pa.schema({"a": pa.large_string()}))
