"""Waiting between attempts, on a clock that only the waiting moves."""

import threading
from itertools import pairwise

import pytest

from export_pipeline import backoff
from export_pipeline.backoff import Backoff


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(backoff, "time", clock)
    return clock


def waits(waiting: Backoff, clock: Clock) -> list[float]:
    """How long each pause was, until there is no other attempt."""
    times = [clock.now]
    while waiting.wait():
        times.append(clock.now)
    return [after - before for before, after in pairwise(times)]


def test_pauses_double_up_to_the_longest_and_end_within_the_patience(clock: Clock) -> None:
    found = waits(Backoff(60.0, first=0.1, longest=3.0), clock)
    full = [0.1, 0.2, 0.4, 0.8, 1.6, *[3.0] * (len(found) - 5)]
    assert all(pause / 2 <= waited <= pause + 1e-9 for waited, pause in zip(found, full, strict=True))
    assert 57.0 <= sum(found) <= 60.0


def test_two_that_begin_together_do_not_go_on_together(clock: Clock) -> None:
    assert waits(Backoff(60.0), clock) != waits(Backoff(60.0), clock)


def test_the_patience_counts_from_the_first_attempt_and_without_any_there_is_one(clock: Clock) -> None:
    assert not Backoff(0.0).wait()
    slow = Backoff(10.0, first=1.0)
    clock.sleep(9.6)
    assert not slow.wait()
    assert clock.now == 1009.6


def test_waiting_ends_when_it_is_stopped_and_there_is_no_other_attempt() -> None:
    stop, answers = threading.Event(), []
    waiting = Backoff(6000.0, first=600.0, longest=600.0, stop=stop)
    thread = threading.Thread(target=lambda: answers.append(waiting.wait()))
    thread.start()
    stop.set()
    thread.join(30)
    assert answers == [False]
