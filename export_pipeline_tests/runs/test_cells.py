"""Times, ids, numbers and lists, one cell at a time."""

import json
import re
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.runs.cells import Replaced, cost, count, dotted_segments, strings, with_original_ids
from export_pipeline.runs.ids import NAMESPACE, parse_uuid, uuid_of
from export_pipeline.runs.times import MAX_MICROS, MIN_MICROS, EpochUnit, micros
from export_pipeline_tests.runs.reference import time as time_by_reference
from export_pipeline_tests.runs.rows import CHILD, ROOT, TIMES

NOON = 1_767_960_000_000_000


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("2026-01-09T12:00:00Z", "s", NOON),
        ("2026-01-09 12:00:00", "s", NOON),
        ("2026-01-09 12:00", "s", NOON),
        ("2026-01-09T17:30:00+05:30", "s", NOON),
        ("2026-01-09 08:30:00.000-0330", "s", NOON),
        ("2026-01-09 12:00:00.123456999Z", "s", NOON + 123_456),
        ("1969-12-31T23:59:59.9999999Z", "s", -1),
        ("0001-01-01T00:00:00Z", "s", MIN_MICROS),
        ("9999-12-31T23:59:59.999999Z", "s", MAX_MICROS),
        (b"2026-01-09T12:00:00Z", "s", NOON),
        ("1767960000", "s", NOON),
        ("1767960000.5", "s", NOON + 500_000),
        ("1767960000000", "ms", NOON),
        ("1767960000000000", "us", NOON),
        ("1767960000000000999", "ns", NOON),
        (1767960000000000999, "ns", NOON),
        (-1, "ns", -1),
        (1767960000.123456, "s", NOON + 123_456),
        ("infinity", "s", None),
        (float("inf"), "s", None),
        (float("nan"), "s", None),
        (2**70, "ns", None),
        (b"\xff", "s", None),
        (None, "s", None),
        ("", "s", None),
    ],
)
def test_times_are_microseconds(value: str | int | float | bytes | None, unit: EpochUnit, expected: int | None) -> None:
    assert micros(value, unit) == expected


@given(
    st.datetimes().map(str)
    | st.datetimes(timezones=st.timezones()).map(lambda found: found.isoformat())
    | st.decimals(allow_nan=False).map(str)
    | st.from_regex(re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.[0-9]{2}:[0-9]{2}.*", re.ASCII), fullmatch=True)
    | st.sampled_from(TIMES),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_a_time_as_text_is_what_the_rules_say(text: str, unit: EpochUnit) -> None:
    assert micros(text, unit) == time_by_reference(text, unit)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_counts_by_its_shortest_decimal_form(value: float) -> None:
    assert micros(value) == micros(repr(value))


@given(st.uuids(), st.sampled_from(["{}", "{{{}}}", "urn:uuid:{}", " {}\n"]), st.booleans(), st.booleans())
def test_every_textual_form_of_a_uuid_is_that_uuid(value: uuid.UUID, form: str, upper: bool, dashes: bool) -> None:
    text = form.format(value if dashes else value.hex)

    assert uuid_of(text.upper() if upper else text) == value


@pytest.mark.parametrize(
    "text", ["run-1", "", "１" * 32, "{" + ROOT, ROOT + "}", ROOT[:-1], ROOT[:-1] + "_", ROOT + "\0"]
)
def test_other_ids_are_a_uuid5_of_the_text(text: str) -> None:
    assert parse_uuid(text) is None
    assert uuid_of(text) == uuid.uuid5(NAMESPACE, text)


def test_the_namespace_never_changes() -> None:
    assert str(uuid_of("run-1")) == "7767ecb3-4d62-585a-83d1-b67ca727cd45"


def test_an_id_with_a_lone_surrogate_has_a_uuid_of_its_own() -> None:
    assert uuid_of("\udc80") != uuid_of("\udc81")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12", 12), ("12.0", 12), ("1.2e1", 12), ("-3", -3), ("0e99999", 0), ("12.5", None), ("NaN", None)],
)
def test_counts_are_whole_numbers(text: str, expected: int | None) -> None:
    assert count(text) == expected


@given(st.integers(-(2**64), 2**64))
def test_counts_stay_within_int64(value: int) -> None:
    assert count(str(value)) == (value if -(2**63) <= value < 2**63 else None)


@given(st.decimals(-999_999, 999_999, allow_nan=False))
def test_costs_are_never_further_off_than_half_of_the_last_place(value: Decimal) -> None:
    found = cost(str(value))

    assert found.as_tuple().exponent in {-12, 0}
    assert abs(found - value) <= Decimal("5e-13")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", "b"]', (["a", "b"], set())),
        ('[1.50, {"a": 1}]', (["1.50", '{"a": 1}'], {Replaced.NOT_A_STRING})),
        ('["\\ud83d"]', (["\ufffd"], {Replaced.SURROGATE})),
        ("a,b", (["a,b"], {Replaced.NOT_A_LIST})),
        ('"a"', (['"a"'], {Replaced.NOT_A_LIST})),
    ],
)
def test_lists_of_strings(text: str, expected: tuple[list[str], set[Replaced]]) -> None:
    assert strings(text) == expected


def test_a_list_nested_ten_thousand_deep_is_kept_as_text() -> None:
    text = "[" * 10_000 + "]" * 10_000

    assert strings(text) == ([text], {Replaced.NOT_A_LIST})


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4), st.booleans())
def test_lists_of_strings_are_read_as_they_were_written(values: list[str], ascii_only: bool) -> None:
    assert strings(json.dumps(values, ensure_ascii=ascii_only)) == (values, set())


def test_a_dotted_order_gives_the_times_and_ids_from_the_root_on() -> None:
    first, second = "20260109T120000000000Z", "20260109T120000000001Z"
    order = f"{first}{ROOT}.{second}{CHILD.upper()}"

    assert dotted_segments(order) == [(first, ROOT), (second, CHILD.upper())]
    assert dotted_segments(f"{order}.a.b") == [(first, ROOT), (second, f"{CHILD.upper()}.a.b")]
    assert dotted_segments(f"{order}.{second}.b") == [(first, ROOT), (second, CHILD.upper()), (second, ".b")]
    assert dotted_segments(f"{order}.{second}") == []
    assert dotted_segments(f"a.{order}") == []
    assert dotted_segments(None) == []


@given(st.dictionaries(st.text(), st.integers()), st.text(st.characters(exclude_categories=["Cs"])))
def test_original_ids_are_put_into_extra_beside_what_was_there(extra: dict[str, int], original: str) -> None:
    extra.pop("export_pipeline", None)

    found = with_original_ids(json.dumps(extra), {"id": original})

    assert json.loads(found) == {"export_pipeline": {"original_ids": {"id": original}}, **extra}


@pytest.mark.parametrize("extra", ["[1]", "{", "not JSON", '"text"', "\0"])
def test_an_extra_that_is_no_object_is_kept_as_text(extra: str) -> None:
    found = json.loads(with_original_ids(extra, {"id": "run-1"}))

    assert found == {"export_pipeline": {"original_ids": {"id": "run-1"}, "extra_text": extra}}
