"""The statements for Snowflake, run by an emulator as far as it goes; `test_parsed.py` parses the rest.

It reads a folder instead of a bucket, knows neither sessions' time zones, nor external tables, nor the names of the
files that it loads; it adds up decimals as floating-point numbers, and a division by zero is null to it.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.files.statements.table import Step, Table
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.statements.engine import texts, totals_of
from export_pipeline_tests.files.statements.house import FORMS, House, Totals


class Emulator:
    """An emulated account, to which a folder is the bucket."""

    def __init__(self, cursor: Any, folder: Path) -> None:
        self._cursor, self._folder = cursor, folder

    def run(self, text: str) -> list[tuple[Any, ...]]:
        """Runs statements one by one; gives back the rows of the last."""
        rows: list[tuple[Any, ...]] = []
        for statement in filter(str.strip, f"{text}\n".split(";\n")):
            rows = self._cursor.execute(statement).fetchall()
        return rows

    def totals(self, table: Table, check: str) -> Totals:
        """What the check comes to, the costs added up here."""
        costs = [cost for (cost,) in self.run(f"SELECT total_cost FROM {table.name};") if cost is not None]
        return replace(totals_of(self.run(check)), usd=sum(costs, Decimal(0)))

    def stage(self, table: Table) -> None:
        """The stage, over the folder."""
        self.run(f"CREATE OR REPLACE STAGE {table.stage} URL = 'file://{self._folder}/';")


@pytest.fixture
def cursor() -> Iterator[Any]:
    import fakesnow
    import snowflake.connector

    with fakesnow.patch():
        yield snowflake.connector.connect(database="work", schema="work").cursor()


@pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result:UserWarning")
@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_every_day_loaded_by_itself_comes_to_what_the_trace_store_has(
    house: House, cursor: Any, tmp_path: Path, version: FormatVersion, compression: Compression
) -> None:
    table = house.table(version, compression)
    folder = tmp_path / "folder"  # its own path has signs that the emulator stumbles over
    folder.symlink_to(house.mirror(table, tmp_path))
    emulator = Emulator(cursor, folder)
    steps = texts("snowflake", table)
    if version == "v1":  # the other's address has such signs too
        emulator.run(steps[Step.ACCESS][0].partition(";\n")[2])
    emulator.stage(table)
    emulator.run(steps[Step.CREATE][0])
    for _ in range(2):  # a file that was loaded before is loaded again
        for day in table.days:
            (load,) = texts("snowflake", replace(table, wanted=day))[Step.LOAD_DAY]
            ((runs, as_expected),) = emulator.run(load.removesuffix("COMMIT;"))
            assert (runs, as_expected) == (day.rows, 1)
            emulator.run("COMMIT;")
        assert emulator.totals(table, steps[Step.CHECK][0]) == house.totals()
