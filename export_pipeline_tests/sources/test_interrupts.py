"""An interrupt during a query is the interrupt that was raised, never an error of the trace store."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import FrameType

import pytest

from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline.sources.times import parse_micros
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store


class Interrupted(BaseException):
    """As Dagster's own: no `Exception`."""


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGALRM raises, as SIGTERM does in a worker of Dagster."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def open_and_close(source: RunSource) -> None:
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)):
        pass


@pytest.mark.parametrize(
    "question",
    [
        lambda source: source.days(ProjectKey(PROJECT)),
        lambda source: source.outside(ProjectKey(PROJECT), Window.of_day(DAY)),
        open_and_close,
    ],
    ids=["days", "outside", "open"],
)
def test_an_interrupt_while_times_are_parsed_is_not_swallowed(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, question: Callable[[RunSource], object]
) -> None:
    sqlite_store.runs()
    sqlite_store.add(1, "2026-03-14 10:00:00+00:00")
    sqlite_store.run(
        "WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n WHERE x < 5000) INSERT INTO runs "
        "SELECT printf('00000000-0000-0000-0000-%012x', x), session_id, name, run_type, start_time FROM runs, n"
    )
    source = sqlite_store.source()
    calls = count(1)

    def parse_with_signal(value: bytes | int | float | None, unit: EpochUnit) -> int | None:
        if next(calls) == 100:
            signal.raise_signal(signal.SIGALRM)
        return parse_micros(value, unit)

    monkeypatch.setattr("export_pipeline.sources.sqlite_session.parse_micros", parse_with_signal)
    with interruptible(), pytest.raises(Interrupted):
        question(source)
    monkeypatch.setattr("export_pipeline.sources.sqlite_session.parse_micros", parse_micros)
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 5000
    source.close()
