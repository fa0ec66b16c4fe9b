"""What every engine must come to with the statements that are printed for it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

import pytest

from export_pipeline.files.statements.systems import SYSTEMS
from export_pipeline.files.statements.table import DAY, Day, Step, Table
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.statements.house import EMPTY, FIRST, House, Totals

Rows = Sequence[Sequence[Any]]


class Engine(Protocol):
    """A system under test, with a database that is empty; `refuses`: another count than expected is an error."""

    system: str
    refuses: bool

    def run(self, text: str) -> Rows:
        """Runs the statements of a text; gives back the rows of the last one that has some."""


def texts(system: str, table: Table) -> dict[Step, list[str]]:
    """The texts of a system by what they are for."""
    found: dict[Step, list[str]] = {}
    for each in SYSTEMS[system].statements(table):
        found.setdefault(each.step, []).append(each.text)
    return found


def check(engine: Engine, house: House, version: FormatVersion, compression: Compression) -> None:
    """Everything at once: over the files, loaded whole, a day in place of what is there of it."""
    table = house.table(version, compression, day=FIRST)
    steps = texts(engine.system, table)
    for text in [*steps.get(Step.ACCESS, []), *steps[Step.FILES], *steps[Step.CREATE]]:
        engine.run(text)
    check_files(engine, house, table, steps)
    check_loaded_whole(engine, house, table, steps)
    check_day(engine, house, table, steps)
    if engine.refuses:
        check_refused(engine, house, table)
    check_emptied(engine, house, version, compression)


def check_files(engine: Engine, house: House, table: Table, steps: dict[Step, list[str]]) -> None:
    """The files, read where they lie, are what the trace store has; a day alone too."""
    (totals,) = steps[Step.CHECK]
    over_files = _instead(totals, table)
    assert totals_of(engine.run(over_files)) == house.totals()
    of_day = f"{over_files.rstrip(';')} WHERE year = {FIRST.year} AND month = {FIRST.month} AND day = {FIRST.day};"
    assert totals_of(engine.run(of_day)) == house.totals(FIRST)


def check_loaded_whole(engine: Engine, house: House, table: Table, steps: dict[Step, list[str]]) -> None:
    """So it is once it is loaded, and once it is loaded again; the queries answer what the trace store answers."""
    (load,), (totals,) = steps[Step.LOAD_ALL], steps[Step.CHECK]
    for _ in range(2):
        engine.run(load)
        assert totals_of(engine.run(totals)) == house.totals()
    by_day, by_model = steps[Step.QUERY]
    days = {str(row[0]): totals_of([row[1:]]) for row in engine.run(by_day)}
    assert days == {str(day.day): house.totals(day.day) for day in table.days if day.rows}
    assert {row[0]: int(row[1]) for row in engine.run(by_model)} == house.calls()
    name = _name(totals)
    with_feedback = f"SELECT count(*) FROM {name} WHERE feedbacks <> '[]';"
    assert int(engine.run(with_feedback)[0][0]) == house.with_feedback()
    odd = f"SELECT count(*) FROM {name} WHERE session_id <> '{house.project.session_id}';"
    assert int(engine.run(odd)[0][0]) == 0


def check_day(engine: Engine, house: House, table: Table, steps: dict[Step, list[str]]) -> None:
    """A day that is there in part twice is there once after it was loaded."""
    (load,), (totals,) = steps[Step.LOAD_DAY], steps[Step.CHECK]
    name = _name(totals)
    engine.run(f"INSERT INTO {name} SELECT * FROM {name} WHERE {DAY} = {_day(FIRST)} AND run_type = 'llm';")
    assert totals_of(engine.run(totals)) != house.totals()
    engine.run(load)
    assert totals_of(engine.run(totals)) == house.totals()


def check_refused(engine: Engine, house: House, table: Table) -> None:
    """Another number of rows than is expected is an error that leaves the table as it was."""
    wrong = texts(engine.system, replace(table, wanted=Day(FIRST, table.wanted.rows + 1)))
    with pytest.raises(Exception, match=r"(?i)expected|division"):
        engine.run(wrong[Step.LOAD_DAY][0])
    assert totals_of(engine.run(wrong[Step.CHECK][0])) == house.totals()


def check_emptied(engine: Engine, house: House, version: FormatVersion, compression: Compression) -> None:
    """A day that has no rows any more loses those that are there of it."""
    table = house.table(version, compression, day=EMPTY)
    steps = texts(engine.system, table)
    (load,), (totals,) = steps[Step.LOAD_DAY], steps[Step.CHECK]
    name = _name(totals)
    columns = ", ".join(table.columns)
    engine.run(f"INSERT INTO {name} SELECT {columns}, {_day(EMPTY)} FROM {name} LIMIT 3;")
    assert totals_of(engine.run(totals)).runs == house.totals().runs + 3
    engine.run(load)
    assert totals_of(engine.run(totals)) == house.totals()


def totals_of(rows: Rows) -> Totals:
    ((runs, ids, tokens, usd),) = rows
    return Totals(int(runs), int(ids), int(tokens or 0), Decimal(usd or 0))


def _name(totals: str) -> str:
    return totals.rstrip(";").rpartition("FROM ")[2]


def _instead(totals: str, table: Table) -> str:
    """The statement over the files instead of over the table that was loaded."""
    return totals.replace(table.name, table.files)


def _day(day: date) -> str:
    return f"CAST('{day}' AS DATE)"
