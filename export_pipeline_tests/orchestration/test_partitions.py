"""Which days a run asks for."""

from datetime import date

import pytest

from export_pipeline.errors import InputError
from export_pipeline.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG, daily_partitions, days_of_run

START, TODAY = date(2026, 3, 1), date(2026, 3, 20)


def ask(first: str, last: str | None = None) -> tuple[date, ...]:
    tags = {"dagster/partition": first} if last is None else {RANGE_START_TAG: first, RANGE_END_TAG: last}
    return days_of_run(tags, start=START, today=TODAY)


def test_a_single_partition_is_one_day() -> None:
    assert ask("2026-03-05") == (date(2026, 3, 5),)


def test_a_range_includes_both_ends() -> None:
    assert ask("2026-03-01", "2026-03-03") == (date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3))


def test_yesterday_is_the_last_day() -> None:
    assert ask("2026-03-19", "2026-03-19") == (date(2026, 3, 19),)


@pytest.mark.parametrize(
    ("first", "last", "sentence"),
    [
        ("2026-03-20", None, r"2026-03-20 is not over yet .* the newest day that can be exported is 2026-03-19"),
        ("2026-03-18", "2026-03-20", r"2026-03-20 is not over yet"),
        ("2031-01-01", None, r"2031-01-01 lies in the future"),
        ("2026-02-28", "2026-03-02", r"2026-02-28 is before the first day 2026-03-01"),
        ("2026-03-05", "2026-03-04", r"end before they begin"),
        ("yesterday", None, r"'yesterday'.* a partition is a day such as 2026-03-01"),
    ],
)
def test_a_day_without_a_partition_is_refused_with_a_sentence(first: str, last: str | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ask(first, last)


def test_a_run_without_a_partition_is_refused() -> None:
    with pytest.raises(InputError, match="no day was asked for"):
        days_of_run({}, start=START, today=TODAY)


def test_the_partitions_are_the_utc_days_that_are_over() -> None:
    partitions = daily_partitions(START)
    assert partitions.timezone == "UTC"
    assert partitions.end_offset == 0
    assert partitions.get_first_partition_key() == "2026-03-01"
