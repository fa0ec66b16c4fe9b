"""The Run schema and what is derived from it."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pydantic import ValidationError

from export_pipeline.errors import InputError
from export_pipeline.runs.cells import Rejected, Replaced
from export_pipeline.runs.raw import check_raw
from export_pipeline.runs.schema import (
    DEFAULT_FIELDS,
    FORMAT_VERSIONS,
    RUN_FIELDS,
    FormatVersion,
    Run,
    arrow_schema,
    documentation_table,
    polars_schema,
    select_fields,
)
from export_pipeline.runs.transform import RunTransform
from export_pipeline.runs.window import Window
from export_pipeline_tests.runs.rows import SESSION, TENANT, batch, row

DOCUMENT = Path(__file__).parents[2] / "docs" / "columns.md"


def exported(**changes: Any) -> dict[str, Any]:
    transform = RunTransform(tenant_id=TENANT, session_id=SESSION, fields=RUN_FIELDS, format_version="v2_beta")
    found: list[dict[str, Any]] = transform(batch([row(**changes)])).rows.to_pylist()
    return found[0]


def test_the_contract_has_thirty_columns_of_which_feedbacks_must_be_asked_for() -> None:
    assert len(RUN_FIELDS) == 30
    assert len(DEFAULT_FIELDS) == 29
    assert [field.name for field in RUN_FIELDS if not field.by_default] == ["feedbacks"]
    assert [field.name for field in select_fields()] == list(DEFAULT_FIELDS)


def test_fields_come_in_the_order_of_the_schema_however_they_are_named() -> None:
    assert [field.name for field in select_fields(["tags", "feedbacks", "id"])] == ["id", "tags", "feedbacks"]


def test_unknown_fields_are_listed_all_at_once() -> None:
    with pytest.raises(InputError, match="unknown export fields latency, model; known are id, tenant_id"):
        select_fields(["model", "id", "latency"])


def test_an_export_of_no_field_is_refused() -> None:
    with pytest.raises(InputError, match="at least one field"):
        select_fields([])


@pytest.mark.parametrize("format_version", FORMAT_VERSIONS)
def test_polars_sees_the_arrow_schema_as_the_polars_schema(format_version: FormatVersion) -> None:
    empty = pl.DataFrame(arrow_schema(RUN_FIELDS, format_version).empty_table())

    assert empty.schema == polars_schema(RUN_FIELDS, format_version)


def test_lists_are_text_in_v1_alone() -> None:
    assert arrow_schema(RUN_FIELDS, "v1").field("tags").type == pa.string()
    assert arrow_schema(RUN_FIELDS, "v2_beta").field("tags").type.value_type == pa.string()


def test_required_columns_are_marked_as_never_null() -> None:
    schema = arrow_schema(RUN_FIELDS, "v2_beta")

    assert {field.name for field in schema if not field.nullable} == {
        *("id", "tenant_id", "session_id", "trace_id", "parent_run_ids", "name", "run_type", "start_time", "status"),
        *("is_root", "tags"),
    }


def test_the_model_takes_an_exported_row() -> None:
    run = Run(**exported())

    assert run.start_time == datetime(2026, 1, 9, 12, tzinfo=UTC)
    assert run.total_cost == Decimal("0.000045")
    assert run.tags == ["prod", "seq:step:1"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA"),
        ("id", None),
        ("start_time", datetime(2026, 1, 9, 12)),  # noqa: DTZ001 - a time without a zone is what is refused
        ("total_cost", Decimal(1_000_000)),
        ("total_cost", Decimal("1e-13")),
        ("total_tokens", 2**63),
        ("tags", None),
        ("is_root", None),
        ("latency", 1),
    ],
)
def test_the_model_refuses_what_no_file_may_hold(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        Run(**{**exported(), field: value})


def test_the_documented_table_is_the_schema() -> None:
    assert documentation_table() in DOCUMENT.read_text(encoding="utf-8")


def test_every_reason_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    assert [each for each in Replaced if f"replaced: `{each}`" not in text] == []
    assert [each for each in Rejected if f"rejected: `{each}`" not in text] == []


def test_a_batch_with_other_columns_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="a raw batch needs the columns"):
        check_raw(batch([row()]).drop_columns(["tags"]))


def test_a_batch_with_another_type_is_a_programming_error() -> None:
    raw = batch([row()])
    wrong = raw.set_column(raw.schema.names.index("total_tokens"), "total_tokens", pa.array([1.5]))

    with pytest.raises(TypeError, match="raw column total_tokens may be one of"):
        check_raw(wrong)


def test_settings_and_the_location_load_the_schema_without_arrow_and_polars() -> None:
    code = (
        "import sys; import export_pipeline.runs.schema;"
        " print(sorted({'polars', 'pyarrow', 'pandas', 'numpy'} & set(sys.modules)))"
    )

    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_transform_loads_no_pandas() -> None:
    code = "import sys; import export_pipeline.runs.transform; print('pandas' in sys.modules)"

    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert found.stdout.strip() == "False"


def test_a_window_is_cut_into_utc_days() -> None:
    window = Window(datetime(2026, 1, 1, 22, tzinfo=UTC), datetime(2026, 1, 3, 1, tzinfo=UTC))

    days = list(window.days())

    assert [each.day for each in days] == [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)]
    assert days[0].window == Window(window.start, datetime(2026, 1, 2, tzinfo=UTC))
    assert days[1].window == Window.of_day(date(2026, 1, 2))
    assert days[2].window == Window(datetime(2026, 1, 3, tzinfo=UTC), window.end)


def test_a_window_that_ends_at_midnight_does_not_touch_the_next_day() -> None:
    assert [each.day for each in Window.of_days(date(2026, 1, 30), date(2026, 2, 1)).days()] == [
        date(2026, 1, 30),
        date(2026, 1, 31),
        date(2026, 2, 1),
    ]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), "must end after it starts"),
        (
            datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1))),
            datetime(2026, 1, 3, tzinfo=UTC),
            "times in UTC",
        ),
    ],
)
def test_windows_that_are_empty_or_not_in_utc_are_refused(start: datetime, end: datetime, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Window(start, end)
