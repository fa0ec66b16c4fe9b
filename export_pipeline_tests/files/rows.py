"""Rows for the tests of this folder."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from export_pipeline.runs.schema import RUN_FIELDS, FormatVersion, Kind, arrow_schema

START = datetime(2026, 1, 9, tzinfo=UTC)


def schema(version: FormatVersion) -> pa.Schema:
    """All 30 columns."""
    return arrow_schema(RUN_FIELDS, version)


def batch(version: FormatVersion, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Rows with lists as lists; in `v1` they become JSON text here."""
    lists = {field.name for field in RUN_FIELDS if field.kind is Kind.STRINGS}
    if version == "v1":
        rows = [{name: json.dumps(cell) if name in lists else cell for name, cell in row.items()} for row in rows]
    return pa.RecordBatch.from_pylist(rows, schema=schema(version))


def row(number: int, **cells: Any) -> dict[str, Any]:
    """A row whose optional cells are null; `cells` win."""
    given: dict[Kind, Any] = {
        Kind.ID: str(uuid.UUID(int=number)),
        Kind.TEXT: f"text {number}",
        Kind.TIME: START + timedelta(microseconds=number),
        Kind.STRINGS: [],
        Kind.FLAG: number % 2 == 0,
    }
    empty = {field.name: given[field.kind] if field.required else None for field in RUN_FIELDS}
    return {**empty, **cells}


def telling_rows() -> list[dict[str, Any]]:
    """Rows that meet the edges of every type."""
    full = {
        "parent_run_id": str(uuid.UUID(int=99)),
        "parent_run_ids": [str(uuid.UUID(int=1)), str(uuid.UUID(int=2))],
        "reference_example_id": str(uuid.UUID(int=98)),
        "end_time": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "first_token_time": datetime(1, 1, 1, tzinfo=UTC),
        "dotted_order": "20260109T000000000000Z",
        "trace_tier": "longlived",
        "inputs": '{"text":"añ 漢字 🎉 \\u0000"}',
        "outputs": "[1, 2",
        "extra": "",
        "events": "[]",
        "feedback_stats": "null",
        "tags": ["a", "", 'quote " and , comma', "é"],
        "error": "Traceback\nline 2\tNUL \x00 here",
        "total_tokens": 2**63 - 1,
        "prompt_tokens": 0,
        "completion_tokens": -(2**63),
        "total_cost": Decimal("999999.999999999999"),
        "prompt_cost": Decimal("0.000000000001"),
        "completion_cost": Decimal("-1.500000000000"),
        "feedbacks": '[{"key":"x"}]',
    }
    return [row(1), row(2, **full), row(3, name=""), row(4, inputs="x" * 100_000, tags=["solo"])]
