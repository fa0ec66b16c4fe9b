"""An interrupt during a query is the interrupt that was raised, never an error of the trace store."""

from collections.abc import Callable

import pytest

from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline.sources.sql.times import parse_micros
from export_pipeline_tests.faults.interrupts import Interrupted, Interrupting, interruptible
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store


def open_and_close(source: RunSource) -> None:
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)):
        pass


@pytest.mark.parametrize("part", [0.05, 0.5, 1.0], ids=["soon", "half way", "at the last value"])
@pytest.mark.parametrize("mapping", [None, "runs: {query: SELECT * FROM runs}"], ids=["table", "query"])
@pytest.mark.parametrize(
    "question",
    [
        lambda source: source.days(ProjectKey(PROJECT)),
        lambda source: source.outside(ProjectKey(PROJECT), Window.of_day(DAY)),
        lambda source: source.check(),
        open_and_close,
    ],
    ids=["days", "outside", "check", "open"],
)
def test_an_interrupt_while_times_are_parsed_is_not_swallowed(
    sqlite_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    question: Callable[[RunSource], object],
    mapping: str | None,
    part: float,
) -> None:
    sqlite_store.runs()
    sqlite_store.add(1, "2026-03-14 10:00:00+00:00")
    sqlite_store.run(
        "WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n WHERE x < 500) INSERT INTO runs "
        "SELECT printf('00000000-0000-0000-0000-%012x', x), session_id, name, run_type, start_time FROM runs, n"
    )
    source, parsed = sqlite_store.source(mapping), Interrupting()

    def parse(value: bytes | int | float | None, unit: EpochUnit) -> int | None:
        parsed()
        return parse_micros(value, unit)

    monkeypatch.setattr("export_pipeline.sources.sqlite.session.parse_micros", parse)
    question(source)
    parsed.calls, parsed.at = 0, round(parsed.calls * part)
    assert parsed.at > 10
    with interruptible(), pytest.raises(Interrupted):
        question(source)
    parsed.at = None
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 500
    source.close()
