"""How times are read, and the ranges in which an index looks for a day."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from export_pipeline.runs.times import MAX_MICROS, MICROS_IN_UNIT, MIN_MICROS, EpochUnit, micros, microseconds
from export_pipeline.sources.sql.times import (
    FAR,
    TEXT_NUMBER,
    TEXT_TIME,
    clamp,
    number_bounds,
    parse_micros,
    text_ranges,
)


def _naive(ordinal: int) -> datetime:
    return datetime.fromordinal(ordinal)


UNITS = st.sampled_from(list(MICROS_IN_UNIT))
INSTANTS = st.datetimes(min_value=_naive(2), max_value=_naive(3_652_058), timezones=st.just(UTC))
OFFSETS = st.integers(min_value=-15 * 60, max_value=15 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(INSTANTS, OFFSETS, st.sampled_from("T t"), st.booleans(), UNITS)
def test_every_iso_text_is_read_to_the_microsecond(
    instant: datetime, zone: timezone, separator: str, colon: bool, unit: EpochUnit
) -> None:
    text = instant.astimezone(zone).isoformat(separator)
    text = text if colon else text[:-3] + text[-2:]
    assert parse_micros(text.encode(), unit) == microseconds(instant)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-14", "2026-03-14T00:00:00Z"),
        ("2026-03-14 05:06", "2026-03-14T05:06:00Z"),
        ("2026-03-14 05:06Z", "2026-03-14T05:06:00Z"),
        ("2026-03-14 05:06:07 UTC", "2026-03-14T05:06:07Z"),
        ("2026-03-14T05:06:07.1+01", "2026-03-14T04:06:07.1Z"),
        ("2026-03-14T23:59:59.999999999Z", "2026-03-14T23:59:59.999999Z"),
        ("2024-02-29T12:00:00-0530", "2024-02-29T17:30:00Z"),
    ],
)
def test_forms_of_text(text: str, instant: str) -> None:
    assert parse_micros(text.encode(), "s") == microseconds(datetime.fromisoformat(instant))


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"yesterday", b"2026-02-30", b"2025-02-29", b"0000-01-01", b"2026-13-01", b"2026-01-01T24:00:00Z",
        b"2026-01-01T23:59:60Z", b" 2026-01-01", b"2026-01-01\n", b"1e400", b"0x10", b"--1", b"\xff\xfe",
        "2026-01-01٠".encode(), b"2026-01-01T00:00:00+25:00", float("nan"), float("inf"), float("-inf"),
    ],
)  # fmt: skip
def test_what_is_no_time(value: bytes | float | None) -> None:
    assert parse_micros(value, "s") is None


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1_700_000_000, "s", 1_700_000_000_000_000),
        (1_700_000_000.123456, "s", 1_700_000_000_123_456),
        (b"1700000000.1234569", "s", 1_700_000_000_123_456),
        (-0.0000001, "s", -1),
        (1_700_000_000_123, "ms", 1_700_000_000_123_000),
        (1_700_000_000_123_456_789, "ns", 1_700_000_000_123_456),
        (-1, "ns", -1),
        (2**62, "s", FAR),
        (-(2**62), "s", -FAR),
        (b"99999999999999999999999999", "s", FAR),
        (b"-99999999999999999999999999", "s", -FAR),
        (b"0001-01-01T00:00:00+05:00", "s", -FAR),
        (b"9999-12-31T23:59:59.5-05:00", "s", FAR),
    ],
)
def test_epoch_numbers_are_exact_and_cut_towards_the_past(value: bytes | float, unit: EpochUnit, expected: int) -> None:
    assert parse_micros(value, unit) == expected


@given(st.one_of(st.none(), st.binary(max_size=40), st.integers(-(2**63), 2**63 - 1), st.floats()), UNITS)
def test_no_value_raises(value: bytes | float | None, unit: EpochUnit) -> None:
    found = parse_micros(value, unit)
    assert found is None or -FAR <= found <= FAR


@given(st.from_regex(re.compile(f"{TEXT_TIME}|{TEXT_NUMBER}", re.ASCII), fullmatch=True), UNITS)
def test_what_is_read_here_is_read_alike_by_the_transform(text: str, unit: EpochUnit) -> None:
    found = parse_micros(text.encode(), unit)
    assert found is not None
    assert micros(text, unit) == (found if MIN_MICROS <= found <= MAX_MICROS else None)


@given(st.text(alphabet="0123456789-+:.TZ ", max_size=32), UNITS)
def test_what_is_read_here_of_any_text_is_read_alike_by_the_transform(text: str, unit: EpochUnit) -> None:
    found = parse_micros(text.encode(), unit)
    if found is not None:
        assert micros(text, unit) == (found if MIN_MICROS <= found <= MAX_MICROS else None)


def test_the_calendar_of_the_pattern_is_that_of_datetime() -> None:
    days = [f"{year:04}-{month:02}-{day:02}" for year in range(10_000) for month, day in ((2, 28), (2, 29), (2, 30))]
    days += [f"2026-{month:02}-{day:02}" for month in range(14) for day in range(33)]

    def is_day(text: str) -> bool:
        try:
            date.fromisoformat(text)
        except ValueError:
            return False
        return True

    assert [day for day in days if (re.fullmatch(TEXT_TIME, day) is not None) != is_day(day)] == []


@given(INSTANTS, st.integers(1, 90 * 86_400_000_000), UNITS, st.integers(0, 90 * 86_400_000_000), OFFSETS)
@example(datetime(2001, 9, 9, tzinfo=UTC), 86_400_000_000, "s", 6_400_000_000, UTC)
@example(datetime(1969, 12, 31, tzinfo=UTC), 3 * 86_400_000_000, "ms", 1, UTC)
def test_the_ranges_for_an_index_hold_every_text_of_the_window(
    start: datetime, length: int, unit: EpochUnit, after: int, zone: timezone
) -> None:
    low, high = microseconds(start), microseconds(start) + length
    instant = min(low + after % length, MAX_MICROS - 86_400_000_000)
    multiply, divide = MICROS_IN_UNIT[unit]
    number = Fraction(instant * divide, multiply)
    decimal = f"{Decimal(number.numerator) / Decimal(number.denominator):.7f}"
    texts = [clamp(instant).astimezone(zone).isoformat(), clamp(instant).isoformat(" "), decimal]
    texts += [str(int(number))] if number.denominator == 1 else []
    ranges = text_ranges(low, high, unit)
    for text in texts:
        found = parse_micros(text.encode(), unit)
        if found is not None and low <= found < high:
            shifted = any(sign in text[10:] for sign in "+-") and not text.endswith("+00:00")
            assert any(each.first <= text < each.last and shifted >= each.shifted for each in ranges), (text, ranges)


@given(st.integers(-(10**16), 10**17), st.integers(1, 10**12), UNITS, st.integers(-5, 5))
def test_number_bounds_are_exact(low: int, length: int, unit: EpochUnit, nudge: int) -> None:
    high = low + length
    first, last = number_bounds(low, high, unit)
    for number in (first + nudge, last + nudge):
        found = parse_micros(number, unit)
        assert found is not None
        assert (first <= number < last) == (low <= found < high)
