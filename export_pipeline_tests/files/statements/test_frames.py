"""The programs for Polars and pandas, run over the bucket, with credentials from the environment as they say."""

import contextlib
import io
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from export_pipeline.files.statements.systems import SYSTEMS, written
from export_pipeline.files.statements.table import Day, Step, Table
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.statements.engine import texts
from export_pipeline_tests.files.statements.house import EMPTY, FIRST, FORMS, House, Totals

FRAMES = ("polars", "pandas")


class Program:
    """A Python program that is run piece by piece."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.names: dict[str, Any] = {}

    def run(self, table: Table, *steps: Step) -> str:
        """Runs the pieces of a table's program; gives back what they print."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            for step in steps:
                for text in texts(self.system, table)[step]:
                    exec(text, self.names)
        return printed.getvalue()

    def totals(self) -> Totals:
        """What the frame adds up to."""
        runs = self.names["runs"]
        ids = runs["id"].n_unique() if self.system == "polars" else runs["id"].nunique()
        return Totals(len(runs), ids, int(runs["total_tokens"].sum()), Decimal(runs["total_cost"].sum()))


@pytest.fixture
def credentials(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket's keys in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", house.server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", house.server.secret_access_key)


@pytest.mark.parametrize("system", FRAMES)
@pytest.mark.parametrize(("version", "compression"), FORMS)
@pytest.mark.usefixtures("credentials")
def test_all_days_and_then_one_come_to_what_the_trace_store_has(
    house: House, system: str, version: FormatVersion, compression: Compression
) -> None:
    table, program = house.table(version, compression, day=FIRST), Program(system)
    program.run(table, Step.ACCESS, Step.FILES, Step.LOAD_ALL)
    assert program.totals() == house.totals()
    with_feedback = program.names["runs"]["feedbacks"] != "[]"
    assert with_feedback.sum() == house.with_feedback()
    program.run(table, Step.LOAD_DAY)
    assert program.totals() == house.totals()
    wrong = replace(table, wanted=Day(FIRST, table.wanted.rows + 1))
    with pytest.raises(ValueError, match=f"expected {wrong.wanted.rows} rows"):
        program.run(wrong, Step.LOAD_DAY)
    assert program.totals() == house.totals()
    program.run(house.table(version, compression, day=EMPTY), Step.LOAD_DAY)
    assert program.totals() == house.totals()


@pytest.mark.parametrize("system", FRAMES)
@pytest.mark.usefixtures("credentials")
def test_the_whole_text_is_a_program(house: House, system: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = Program(system)
    exec(written(SYSTEMS[system], house.table("v2_beta", "snappy")), program.names)
    assert program.totals() == house.totals()
    assert str(house.totals().usd) in capsys.readouterr().out


@pytest.mark.parametrize("system", FRAMES)
@pytest.mark.usefixtures("credentials")
def test_a_day_is_put_in_place_of_another_form_of_it(house: House, system: str) -> None:
    """Rows that are no longer in the file are gone afterwards."""
    table, program = house.table("v1", "none", day=FIRST), Program(system)
    program.run(table, Step.ACCESS, Step.FILES, Step.LOAD_ALL)
    runs = program.names["runs"]
    more = program.names["pl"].concat([runs, runs[:5]]) if system == "polars" else runs.iloc[:-5]
    program.names["runs"] = more
    assert program.totals() != house.totals()
    last = house.table("v1", "none")
    program.run(table, Step.LOAD_DAY)
    program.run(last, Step.LOAD_DAY)
    assert program.totals() == house.totals()


@pytest.mark.parametrize("system", FRAMES)
@pytest.mark.usefixtures("credentials")
def test_what_is_printed_has_the_totals_the_days_and_the_models(house: House, system: str) -> None:
    table, program = house.table("v2_beta", "gzip"), Program(system)
    program.run(table, Step.ACCESS, Step.FILES, Step.LOAD_ALL)
    total = house.totals()
    printed = program.run(table, Step.CHECK)
    assert all(str(value) in printed for value in (total.runs, total.tokens, total.usd)), printed
    printed = program.run(table, Step.QUERY)
    for day in table.days:
        assert not day.rows or str(house.totals(day.day).tokens) in printed, printed
    assert all(model in printed for model in house.calls()), printed
