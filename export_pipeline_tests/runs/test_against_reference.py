"""The transform against a slow one that is obvious, on hostile rows."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.runs.schema import (
    DEFAULT_FIELDS,
    FORMAT_VERSIONS,
    RUN_FIELDS,
    FormatVersion,
    RunField,
    arrow_schema,
)
from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.transform import RunBatch, RunTransform
from export_pipeline_tests.runs import reference
from export_pipeline_tests.runs.rows import SESSION, TENANT, batch, ordinary, rows, table

UNITS: tuple[EpochUnit, ...] = ("s", "ms", "us", "ns")
NAMES = [field.name for field in RUN_FIELDS]
ORIGINS = ("dotted_order", "parent_run_ids", "parent_run_id", "trace_id")


def some_fields(names: set[str]) -> tuple[RunField, ...]:
    return tuple(field for field in RUN_FIELDS if field.name in names)


FIELDS = st.just(RUN_FIELDS) | st.sets(st.sampled_from(NAMES), min_size=1).map(some_fields)


def plain(found: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch, times as microseconds: Python's datetime and zones are not under test here."""
    columns = {
        name: (column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for name, column in zip(found.schema.names, found.columns, strict=True)
    }
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def check(raw: list[dict[str, Any]], *, as_text: bool, **arguments: Any) -> RunBatch:
    """What the transform makes of the rows, after comparing it with the reference."""
    arguments = {"tenant_id": TENANT, "session_id": SESSION, **arguments}
    found = RunTransform(**arguments)(batch(raw, as_text=as_text))
    slow = reference.Transform(**arguments)
    expected = [slow(row) for row in raw]
    for row, outcome in zip(plain(found.rows), (each.row for each in expected if each.row is not None), strict=True):
        assert row == outcome
    assert [row.reason for row in found.rejected] == [each.reason for each in expected if each.reason]
    assert found.replaced == dict(sum((each.replaced for each in expected), start=Counter()))
    assert found.rows_source == len(raw) == found.rows.num_rows + len(found.rejected)
    assert found.rows.schema == arrow_schema(arguments["fields"], arguments["format_version"])
    found.rows.validate(full=True)
    return found


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    data=st.data(),
    as_text=st.booleans(),
    fields=FIELDS,
    format_version=st.sampled_from(FORMAT_VERSIONS),
    epoch_unit=st.sampled_from(UNITS),
)
def test_generated_rows_come_out_as_the_rules_say(
    data: st.DataObject,
    as_text: bool,
    fields: tuple[RunField, ...],
    format_version: FormatVersion,
    epoch_unit: EpochUnit,
) -> None:
    raw = data.draw(st.lists(rows(as_text=as_text), min_size=1, max_size=6))

    check(raw, as_text=as_text, fields=fields, format_version=format_version, epoch_unit=epoch_unit)


@pytest.mark.slow
@pytest.mark.parametrize("format_version", FORMAT_VERSIONS)
@pytest.mark.parametrize("as_text", [False, True])
def test_every_hostile_cell_in_every_column_comes_out_as_the_rules_say(
    as_text: bool, format_version: FormatVersion
) -> None:
    usual = ordinary(as_text=as_text)
    raw = [{**usual, name: cell} for name in NAMES for cell in table(name, as_text=as_text)]

    found = check(raw, as_text=as_text, fields=RUN_FIELDS, format_version=format_version, epoch_unit="s")

    assert found.rows.num_rows > 600
    assert len(found.rejected) > 100


@pytest.mark.parametrize("missing", [{"dotted_order"}, {*ORIGINS}, {*ORIGINS} - {"parent_run_id"}, {*ORIGINS[1:]}])
def test_hostile_cells_from_which_others_are_derived_come_out_as_the_rules_say(missing: set[str]) -> None:
    usual = {**ordinary(as_text=True), **dict.fromkeys({*missing, "is_root", "status"})}
    raw = [
        {**usual, name: cell}
        for name in (*ORIGINS, "id", "is_root", "error", "end_time")
        for cell in table(name, as_text=True)
    ]

    found = check(
        raw,
        as_text=True,
        fields=some_fields({*DEFAULT_FIELDS}),
        format_version="v2_beta",
        epoch_unit="ms",
    )

    assert found.rows.num_rows > 300


@pytest.mark.parametrize("epoch_unit", UNITS)
def test_every_time_comes_out_as_the_rules_say_in_every_epoch_unit(epoch_unit: EpochUnit) -> None:
    usual = ordinary(as_text=True)
    raw = [{**usual, "end_time": cell} for cell in table("end_time", as_text=True)]

    found = check(raw, as_text=True, fields=RUN_FIELDS, format_version="v1", epoch_unit=epoch_unit)

    assert found.rows.num_rows == len(raw)


@pytest.mark.parametrize("name", ["tenant_id", "run_type", "status", "trace_tier", "start_time", "end_time", "is_root"])
def test_a_hostile_cell_alone_in_its_batch_comes_out_as_the_rules_say(name: str) -> None:
    for cell in table(name, as_text=False):
        raw = [{**ordinary(as_text=False), name: cell}]

        check(raw, as_text=False, fields=RUN_FIELDS, format_version="v2_beta", epoch_unit="s")
