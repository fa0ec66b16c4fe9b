"""A key's budget keeps to its rate whoever asks, and whatever the server says."""

import random
from datetime import UTC, datetime

import pytest

from export_pipeline.sources.http.budget import LONGEST_PAUSE, Bucket, OwnBudget, Usage, budget_id

SECOND = 1_000_000
BEGIN = int(datetime(2026, 3, 14, 10, tzinfo=UTC).timestamp()) * SECOND


def made(rate: float, *, askers: int, seconds: int, seed: int) -> list[int]:
    """When the requests of so many are made that always have another one, each after its own while."""
    chance = random.Random(seed)
    bucket, times = Bucket(), []
    waiting = [BEGIN + chance.randrange(SECOND) for _ in range(askers)]
    while min(waiting) < BEGIN + seconds * SECOND:
        now = min(waiting)
        turn, bucket = bucket.take(now, rate)
        at = now + round(turn.seconds * SECOND)
        if turn.given:
            times.append(at)
            waiting[waiting.index(now)] = at + chance.randrange(1, SECOND // 2)
        else:
            waiting[waiting.index(now)] = max(at, now + 1_000)
    return sorted(times)


@pytest.mark.parametrize("askers", [1, 10, 80])
@pytest.mark.parametrize("rate", [1.25, 27.0])
def test_ten_seconds_never_have_more_requests_than_langsmith_allows(rate: float, askers: int) -> None:
    times = made(rate, askers=askers, seconds=60, seed=askers)

    busiest = max(sum(start <= at < start + 10 * SECOND for at in times) for start in times)
    assert busiest <= {1.25: 15, 27.0: 300}[rate]
    if askers == 80:
        assert len(times) >= 59 * rate


def test_what_was_not_used_is_kept_for_a_second() -> None:
    bucket = Bucket(next_at=BEGIN)
    pauses = []
    for _ in range(12):
        turn, bucket = bucket.take(BEGIN + 600 * SECOND, 10)
        pauses.append((turn.seconds, turn.given))

    assert pauses == [(0.0, True)] * 11 + [(0.1, True)]


def test_a_turn_that_is_far_ahead_is_not_given() -> None:
    bucket = Bucket(next_at=BEGIN + 3 * SECOND)

    turn, after = bucket.take(BEGIN, 1)

    assert (turn.seconds, turn.given) == (2.0, False)
    assert after is bucket


@pytest.mark.parametrize(("asked", "waited"), [(0.0, 0), (7.5, 7.5), (86_400.0, LONGEST_PAUSE)])
def test_a_server_that_asks_to_be_left_alone_is(asked: float, waited: float) -> None:
    bucket = Bucket(next_at=BEGIN).pause(BEGIN, asked)

    assert (bucket.next_at, bucket.refused_at) == (BEGIN + waited * SECOND, BEGIN)
    shorter = bucket.pause(BEGIN, 0)
    assert shorter.next_at == bucket.next_at


def test_usage_is_that_of_the_last_minute() -> None:
    bucket = Bucket()
    minute = BEGIN - BEGIN % (60 * SECOND)
    for number in range(60):
        bucket = bucket.take(minute + number * SECOND, 10)[1]
    for number in range(30):
        bucket = bucket.take(minute + (60 + number) * SECOND, 10)[1]

    assert bucket.usage(minute + 90 * SECOND) == Usage(60, None)
    assert bucket.usage(minute + 120 * SECOND) == Usage(30, None)
    assert bucket.usage(minute + 300 * SECOND) == Usage(0, None)


def test_a_process_of_its_own_counts_what_it_asks() -> None:
    budget = OwnBudget()
    turns = [budget.take(1_000_000) for _ in range(5)]
    budget.pause(LONGEST_PAUSE)

    assert all(turn.given for turn in turns)
    assert not budget.take(1_000_000).given
    used = budget.usage()
    assert (used.requests <= 5, used.refused_at is not None) == (True, True)


def test_a_key_is_not_told_by_what_its_budget_is_found_by() -> None:
    ids = {budget_id(base, key) for base in ("https://a", "https://b") for key in ("lsv2_one", "lsv2_two")}

    assert len(ids) == 4
    assert ids == {budget_id(base, key) for base in ("https://a", "https://b") for key in ("lsv2_one", "lsv2_two")}
    assert all(len(each) == 64 and "lsv2" not in each for each in ids)
