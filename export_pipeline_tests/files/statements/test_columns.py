"""Tables with a choice of columns: what identifies a run, or its time, may not be among them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.exports.proof.readable import readable
from export_pipeline.files.statements.table import Step
from export_pipeline.runs.schema import FORMAT_VERSIONS, FormatVersion
from export_pipeline_tests.files.statements.embedded_engines import ClickHouse, OverACopy
from export_pipeline_tests.files.statements.engine import Engine, texts
from export_pipeline_tests.files.statements.house import FIRST, LAST, House


@pytest.fixture(params=["clickhouse", "duckdb"])
def engine(request: pytest.FixtureRequest, house: House, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "clickhouse":
        session = ClickHouse(tmp_path / "clickhouse", house)
        yield session
        session.close()
    else:
        import duckdb

        with duckdb.connect() as connection:
            yield OverACopy(connection, house.bucket, tmp_path)


@pytest.mark.parametrize("fields", [("name", "tags"), ("end_time",), ("id", "total_cost")])
@pytest.mark.parametrize("version", FORMAT_VERSIONS)
def test_days_are_loaded_whatever_the_columns_are(
    house: House, engine: Engine, tmp_path: Path, version: FormatVersion, fields: tuple[str, ...]
) -> None:
    export = house.export(format_version=version, fields=fields)
    house.publish(export, FIRST, LAST)
    (table,), _ = readable(house.control, [export])
    house.mirror(table, tmp_path)
    steps = texts(engine.system, table)
    rows = house.totals(FIRST).runs + house.totals(LAST).runs
    for step in (Step.ACCESS, Step.FILES, Step.CREATE, Step.LOAD_ALL, Step.LOAD_DAY):
        for text in steps.get(step, []):
            engine.run(text)
    (totals,) = steps[Step.CHECK]
    assert int(engine.run(totals)[0][0]) == rows
    by_day = {str(row[0]): int(row[1]) for row in engine.run(steps[Step.QUERY][0])}
    assert by_day == {str(day): house.totals(day).runs for day in (FIRST, LAST)}
    columns = [
        column for column in texts(engine.system, table)[Step.CREATE][0].splitlines() if column.startswith("    ")
    ]
    assert [column.split()[0] for column in columns] == [*fields, "utc_day"]
