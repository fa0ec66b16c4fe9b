"""The transform as its callers see it: rows kept, set aside, counted, in order, whatever the batches."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.runs.fast_path import FastPath
from export_pipeline.runs.ids import uuid_of
from export_pipeline.runs.rejected import RejectedRow
from export_pipeline.runs.schema import FORMAT_VERSIONS, RUN_FIELDS, FormatVersion, Run, select_fields
from export_pipeline.runs.transform import OutsideWindowError, RunBatch, RunTransform
from export_pipeline.runs.window import Window
from export_pipeline_tests.runs.rows import BESIDE, CHILD, LEAF, NOON, ROOT, SESSION, TENANT, batch, row, rows

PAYLOADS = [field.name for field in RUN_FIELDS if field.payload]


def transform(*names: str, format_version: FormatVersion = "v2_beta", window: Window | None = None) -> RunTransform:
    return RunTransform(
        tenant_id=TENANT,
        session_id=SESSION,
        fields=select_fields(names) if names else RUN_FIELDS,
        format_version=format_version,
        window=window,
    )


def only_row(found: RunBatch) -> dict[str, Any]:
    assert found.rows.num_rows == 1
    values: list[dict[str, Any]] = found.rows.to_pylist()
    return values[0]


def joined(found: Sequence[RunBatch]) -> tuple[list[dict[str, Any]], list[RejectedRow], Counter[str]]:
    replaced = sum((Counter(each.replaced) for each in found), start=Counter[str]())
    return (
        [each for part in found for each in part.rows.to_pylist()],
        [each for part in found for each in part.rejected],
        replaced,
    )


@pytest.fixture
def breaks_on_boom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the look at the small columns fail as Polars would, whenever a run named "boom" is among them."""
    look = FastPath.look

    def faulty(self: FastPath, columns: Any) -> Any:
        if "boom" in columns["name"].to_pylist():
            raise pl.exceptions.ComputeError("injected")
        return look(self, columns)

    monkeypatch.setattr(FastPath, "look", faulty)


def test_ordinary_rows_lose_nothing() -> None:
    found = transform()(batch([row(), row(**BESIDE)]))

    assert found.rows_source == 2
    assert found.rejected == ()
    assert found.replaced == {}
    assert found.rows.column("id").to_pylist() == [CHILD, LEAF]


@pytest.mark.parametrize("format_version", FORMAT_VERSIONS)
def test_payloads_and_ids_of_ordinary_rows_are_passed_on_without_copying(format_version: FormatVersion) -> None:
    raw = batch([row(), row(**BESIDE)])

    found = transform(format_version=format_version)(raw).rows

    for name in (*PAYLOADS, "id", "name", "dotted_order", "start_time"):
        before, after = raw.column(name).buffers(), found.column(name).buffers()
        assert [each and each.address for each in after[1:]] == [each and each.address for each in before[1:]], name


def test_json_of_any_kind_comes_out_byte_for_byte() -> None:
    texts = ['{"a": 1e400, "a": NaN}', '"\\ud800"', "[" * 10_000, "9" * 5000, "not JSON", "a\0b", "", " {} "]

    found = transform(*PAYLOADS)(batch([row(**dict.fromkeys(PAYLOADS, text)) for text in texts]))

    for name in PAYLOADS:
        assert found.rows.column(name).to_pylist() == texts
    assert found.replaced == {}


def test_bytes_that_are_not_utf8_are_replaced_and_counted() -> None:
    surrogate = b'{"a": "\xed\xa0\x80"}'

    found = transform("inputs", "name", "tags")(batch([row(inputs=surrogate, name=b"caf\xe9"), row(tags=b'["\xff"]')]))

    assert found.rows.column("inputs").to_pylist()[0] == '{"a": "\ufffd\ufffd\ufffd"}'
    assert found.rows.column("name").to_pylist()[0] == "caf\ufffd"
    assert found.rows.column("tags").to_pylist()[1] == ["\ufffd"]
    assert found.replaced == {"inputs: invalid UTF-8": 1, "name: invalid UTF-8": 1, "tags: invalid UTF-8": 1}


def test_ids_that_differ_only_in_invalid_bytes_stay_different() -> None:
    found = transform("id", "extra")(batch([row(id=b"\xfe", extra=None), row(id=b"\xff", extra=None)]))

    first, second = found.rows.column("id").to_pylist()
    assert first != second
    assert json.loads(found.rows.column("extra")[0].as_py())["export_pipeline"]["original_ids"] == {"id": "\\xfe"}


def test_ids_that_are_no_uuids_agree_in_all_columns_and_keep_their_originals() -> None:
    ids = dict.fromkeys(("trace_id", "parent_run_id"), "run-1") | {"id": "run-2", "parent_run_ids": '["run-1"]'}

    found = only_row(
        transform()(batch([row(**ids, dotted_order=None, session_id="project", extra='{"metadata": {}}')]))
    )

    assert found["id"] == str(uuid_of("run-2"))
    assert found["trace_id"] == found["parent_run_id"] == found["parent_run_ids"][0] == str(uuid_of("run-1"))
    assert found["session_id"] == str(uuid_of("project"))
    assert found["extra"] == (
        '{"export_pipeline": {"original_ids": {"id": "run-2", "session_id": "project", "trace_id": "run-1",'
        ' "parent_run_id": "run-1"}}, "metadata": {}}'
    )


def test_a_store_without_workspaces_gets_the_constant_ones() -> None:
    found = only_row(transform("tenant_id", "session_id")(batch([row(tenant_id=None, session_id=None)])))

    assert found == {"tenant_id": str(TENANT), "session_id": str(SESSION)}


def test_a_store_with_dotted_orders_alone_gets_the_rest_derived() -> None:
    missing = dict.fromkeys(("trace_id", "parent_run_id", "parent_run_ids", "is_root", "status"))
    root = row(**missing, id=ROOT, dotted_order=f"20260109T115959000000Z{ROOT}", error="boom")
    pending = row(**missing, end_time=None)

    found = transform()(batch([root, pending])).rows.select([*missing]).to_pylist()

    assert found == [
        {"trace_id": ROOT, "parent_run_id": None, "parent_run_ids": [], "is_root": True, "status": "error"},
        {"trace_id": ROOT, "parent_run_id": ROOT, "parent_run_ids": [ROOT], "is_root": False, "status": "pending"},
    ]


def test_ancestors_that_are_not_all_known_are_left_out_and_counted() -> None:
    raw = row(dotted_order=None, trace_id=None, parent_run_ids=None)

    found = transform()(batch([raw]))

    assert (only_row(found)["trace_id"], only_row(found)["parent_run_ids"]) == (ROOT, [])
    assert found.replaced == {"parent_run_ids: not known": 1, "trace_id: guessed": 1}


def test_a_parent_that_is_the_root_is_all_the_ancestors() -> None:
    found = transform()(batch([row(dotted_order=None, parent_run_ids=None)]))

    assert only_row(found)["parent_run_ids"] == [ROOT]
    assert found.replaced == {}


FIRST, SECOND = "20260109T115959000000Z", "20260109T120000000000Z"


def test_a_dotted_order_has_the_ids_of_the_file() -> None:
    ids = {"id": "2", "trace_id": "1", "parent_run_id": "1", "parent_run_ids": "[1.0]"}

    found = only_row(transform()(batch([row(**ids, dotted_order=f"{FIRST}1.{SECOND}2", extra=None)])))

    root, own = str(uuid_of("1")), str(uuid_of("2"))
    assert found["dotted_order"] == f"{FIRST}{root}.{SECOND}{own}"
    assert (found["id"], found["trace_id"], found["parent_run_id"], found["parent_run_ids"]) == (
        own,
        root,
        root,
        [root],
    )
    assert json.loads(found["extra"])["export_pipeline"]["original_ids"] == {
        "id": "2", "trace_id": "1", "parent_run_id": "1",
    }  # fmt: skip


def test_a_dotted_order_in_upper_case_has_the_ids_of_the_file() -> None:
    order = row()["dotted_order"].replace(CHILD, CHILD.upper())

    found = transform()(batch([row(dotted_order=order)]))

    assert only_row(found)["dotted_order"] == row()["dotted_order"]
    assert found.replaced == {}


@pytest.mark.parametrize(
    "order",
    [
        f"{FIRST}{ROOT}.{SECOND}{LEAF}",
        f"{FIRST}{LEAF}.{SECOND}{CHILD}",
        f"{FIRST}{CHILD}",
        f"{FIRST}{ROOT}.{SECOND}17",
        "no order",
    ],
)
def test_a_dotted_order_that_leads_elsewhere_is_left_out_and_kept_under_extra(order: str) -> None:
    found = transform()(batch([row(dotted_order=order, extra="{}")]))

    place = {name: only_row(found)[name] for name in ("trace_id", "parent_run_id", "parent_run_ids", "dotted_order")}
    assert place == {"trace_id": ROOT, "parent_run_id": ROOT, "parent_run_ids": [ROOT], "dotted_order": None}
    kept = {"export_pipeline": {"original_ids": {"dotted_order": order}}}
    assert json.loads(only_row(found)["extra"]) == kept
    assert found.replaced == {"dotted_order: does not lead to this run": 1}


def test_a_trace_that_is_no_run_gives_way_to_the_root_run_and_is_kept_under_extra() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    root = row(id=ROOT, trace_id=trace, parent_run_id=None, parent_run_ids="[]", dotted_order=f"{FIRST}{ROOT}")

    found = transform("trace_id", "extra")(batch([root, row(trace_id=trace, extra=None)]))

    assert found.rows.column("trace_id").to_pylist() == [ROOT, ROOT]
    assert json.loads(found.rows.column("extra")[1].as_py())["export_pipeline"]["original_ids"] == {"trace_id": trace}
    assert found.replaced == {"trace_id: not the root run": 2}


@pytest.mark.parametrize("column", ["tags", "parent_run_ids", "total_tokens", "total_cost", "end_time", "is_root"])
def test_the_null_of_json_is_null(column: str) -> None:
    usual = row(dotted_order=f"{FIRST}{ROOT}.{SECOND}{CHILD}", end_time="null", is_root="null", total_tokens="null")
    usual |= {"start_time": "2026-01-09T12:00:00Z", "first_token_time": None, "prompt_tokens": None}
    usual |= {"completion_tokens": None, "tags": "null", "parent_run_ids": "null", "total_cost": " null "}

    found = transform(column)(batch([usual], as_text=True))

    assert found.replaced == {}
    assert only_row(found)[column] == {"tags": [], "parent_run_ids": [ROOT], "is_root": False}.get(column)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "id: missing"),
        ({"id": " "}, "id: missing"),
        ({"start_time": None}, "start_time: missing"),
        ({"start_time": -(2**62)}, "start_time: not a time"),
        ({"total_cost": "NaN"}, "total_cost: not a number"),
        ({"prompt_cost": "1000000"}, "prompt_cost: does not fit DECIMAL(18, 12)"),
        ({"completion_cost": "999999.9999999999995"}, "completion_cost: does not fit DECIMAL(18, 12)"),
    ],
)
def test_a_row_that_cannot_be_exported_is_set_aside_alone(changes: dict[str, Any], reason: str) -> None:
    found = transform()(batch([row(id=ROOT), row(**changes), row()]))

    assert found.rows_source == 3
    assert found.rows.column("id").to_pylist() == [ROOT, CHILD]
    assert [each.reason for each in found.rejected] == [reason]


def test_a_rejected_row_is_named_as_far_as_it_is_known() -> None:
    found = transform()(batch([row(total_cost="NaN"), row(id=b"x" * 300 + b"\xff", start_time=None)]))

    assert found.rejected == (
        RejectedRow(CHILD, "2026-01-09T12:00:00+00:00", "total_cost: not a number"),
        RejectedRow("x" * 200, None, "start_time: missing"),
    )


def test_cells_of_rejected_rows_are_not_counted_as_replaced() -> None:
    found = transform()(batch([row(id=None, name=None), row(name=None)]))

    assert found.replaced == {"name: missing": 1}


def test_columns_that_are_not_exported_reject_and_count_nothing() -> None:
    found = transform("name")(batch([row(total_cost="NaN", run_type="agent", end_time=2**62)]))

    assert only_row(found) == {"name": "ChatOpenAI"}
    assert found.replaced == {}


@pytest.mark.usefixtures("breaks_on_boom")
def test_where_a_step_fails_the_bad_row_is_found_and_the_others_are_exported() -> None:
    raw = [row(id=str(uuid_of(str(each))), name="boom" if each in {3, 4, 10} else "fine") for each in range(11)]

    found = transform()(batch(raw))

    assert found.rows.column("id").to_pylist() == [each["id"] for each in raw if each["name"] == "fine"]
    assert [each.id for each in found.rejected] == [each["id"] for each in raw if each["name"] == "boom"]
    assert {each.reason for each in found.rejected} == {"cannot be converted: ComputeError"}
    assert found.rows_source == 11


@pytest.mark.usefixtures("breaks_on_boom")
def test_a_bad_row_does_not_disturb_the_other_batches_of_a_stream() -> None:
    raws = [batch([row(name=None)]), batch([row(name="boom"), row(**BESIDE)]), batch([row()])]

    found = list(transform().stream(raws))

    assert [(each.rows.num_rows, len(each.rejected), dict(each.replaced)) for each in found] == [
        (1, 0, {"name: missing": 1}),
        (1, 1, {}),
        (1, 0, {}),
    ]


def test_an_error_that_is_no_fault_of_a_row_fails_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(_self: FastPath, _columns: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(FastPath, "look", out_of_memory)

    with pytest.raises(MemoryError):
        transform()(batch([row()]))


@pytest.mark.parametrize(
    ("micros", "inside"),
    [
        (NOON - 12 * 3_600_000_000, True),
        (NOON - 12 * 3_600_000_000 - 1, False),
        (NOON + 12 * 3_600_000_000 - 1, True),
        (NOON + 12 * 3_600_000_000, False),
    ],
)
def test_a_row_outside_the_window_is_the_source_s_fault(micros: int, inside: bool) -> None:
    day = transform("id", window=Window.of_day(date(2026, 1, 9)))
    raw = batch([row(), row(start_time=micros)])

    if inside:
        assert day(raw).rows.num_rows == 2
    else:
        with pytest.raises(OutsideWindowError, match=str(micros)):
            day(raw)


def test_a_row_that_is_rejected_is_not_looked_for_in_the_window() -> None:
    found = transform(window=Window.of_day(date(2026, 1, 9)))(batch([row(start_time=None), row(id=None, start_time=0)]))

    assert found.rows.num_rows == 0
    assert len(found.rejected) == 2


def test_the_years_1_to_9999_are_exported() -> None:
    instants = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]
    micros = [(each - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for each in instants]

    found = transform("start_time")(batch([row(start_time=each) for each in micros]))

    assert found.rows.column("start_time").to_pylist() == instants


def test_no_rows_make_no_rows() -> None:
    empty = batch([])

    found = [transform()(empty), *transform().stream([empty, batch([row()]), empty])]

    assert [each.rows_source for each in found] == [0, 0, 1, 0]
    assert [each.rows.schema for each in found] == [transform().schema] * 4
    assert list(transform().stream([])) == []


def test_a_stream_takes_no_more_batches_than_it_needs() -> None:
    taken = []

    def raws() -> Any:
        for each in range(4):
            taken.append(each)
            yield batch([row()])

    stream = transform().stream(raws(), group_bytes=1)

    next(stream)

    assert taken == [0]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(rows(as_text=True), min_size=1, max_size=9),
    st.lists(st.integers(1, 4), min_size=9, max_size=9),
    st.sampled_from(FORMAT_VERSIONS),
)
def test_the_size_of_the_batches_changes_nothing(
    raw: list[dict[str, Any]], sizes: list[int], format_version: FormatVersion
) -> None:
    whole = batch(raw, as_text=True)
    parts, start = [], 0
    for size in sizes:
        parts.append(whole.slice(start, size))
        start += size
    expected = joined([transform(format_version=format_version)(whole)])

    assert joined([transform(format_version=format_version)(each) for each in parts]) == expected
    assert joined(list(transform(format_version=format_version).stream(parts))) == expected


@settings(max_examples=15, deadline=None)
@given(st.lists(rows(as_text=False), min_size=1, max_size=4))
def test_every_row_that_comes_out_is_a_run(raw: list[dict[str, Any]]) -> None:
    found = transform()(batch(raw))

    runs = [Run(**each) for each in found.rows.to_pylist()]

    assert len(runs) + len(found.rejected) == len(raw)


def test_the_transform_does_not_change_its_input() -> None:
    hostile = row(id="x", tags="a,b", name=None, inputs=b"\xff")
    raw = batch([hostile])

    transform()(raw)

    assert raw.equals(batch([hostile]))
