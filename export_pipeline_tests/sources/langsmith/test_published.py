"""From the settings to the bucket: the days of a LangSmith, published by Dagster as those of any trace store."""

import json
from contextlib import closing
from datetime import date, timedelta

import dagster as dg
import duckdb
import pytest

from export_pipeline.exports.projects.changed import DayChanges, find_changed_days, reason
from export_pipeline.exports.projects.registry import find_project
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.runs.window import Window
from export_pipeline.settings import PREFIX
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.cli.command import run
from export_pipeline_tests.orchestration.house import House, instance_of, materialize, materialized
from export_pipeline_tests.servers.langsmith import KEY, TENANT, LangSmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT, add_day
from export_pipeline_tests.sources.presets.known_stores import DAY

pytestmark = pytest.mark.slow

NEXT = DAY + timedelta(days=1)


def settings_of(house: House) -> dict[str, str]:
    return {name.removeprefix(PREFIX): value for name, value in house.variables.items()}


def rows_of(house: House, day: date) -> list[tuple[object, ...]]:
    """What the files of a day hold, read by DuckDB, in the order of the file."""
    return columns_of(house, day, "start_time, id, tenant_id, session_id, inputs")


def columns_of(house: House, day: date, columns: str, where: str = "true") -> list[tuple[object, ...]]:
    """The same, some columns of some rows."""
    (key,) = [key for key in house.data_files() if f"month={day.month:02}/day={day.day:02}/" in key]
    house.server.client().download_file(house.bucket, key, str(house.folder / "day.parquet"))
    query = f"SELECT {columns} FROM '{house.folder / 'day.parquet'}' WHERE {where}"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(query).fetchall()


def test_a_day_is_published_and_read_again_when_it_has_changed(server: LangSmith, house: House) -> None:
    project = server.add_project("chat", start=MIDNIGHT)
    expected = add_day(server, project, 90, inputs={"n": 12345678901234567890})
    other = server.add_run(project, MIDNIGHT + timedelta(days=1))
    settings = settings_of(house)

    done = run("projects", "sync", "--json", folder=house.folder, settings=settings)
    assert (done.status, json.loads(done.out)["added"]) == (0, ["chat"])
    checked = run("source", "check", folder=house.folder, settings=settings)
    assert (checked.status, "API: v2" in checked.out) == (0, True)

    with instance_of(house.folder) as instance:
        assert materialize(house.definitions(), instance, "chat", first=DAY, last=NEXT).success
        assert counts(instance) == {str(DAY): 90, str(NEXT): 1}
        rows = rows_of(house, DAY)
        assert [row[:2] for row in rows] == expected
        assert {row[2:] for row in rows} == {(TENANT, project, '{"n": 12345678901234567890}')}
        assert [row[1] for row in rows_of(house, NEXT)] == [other]
        assert changed_days(house) == {}

        late = server.add_run(project, MIDNIGHT + timedelta(hours=7, microseconds=1))
        server.feedback.append({"run_id": other, "key": "helpful", "score": 1})
        assert changed_days(house) == {DAY: (1, 0), NEXT: (0, 1)}
        assert materialize(house.definitions(), instance, "chat", first=DAY, last=NEXT).success
        assert counts(instance) == {str(DAY): 91, str(NEXT): 1}
        assert late in [row[1] for row in rows_of(house, DAY)]
        assert changed_days(house) == {}

    deep = run("verify", "--deep", folder=house.folder, settings=settings)
    assert deep.status == 0, deep.out
    kept = [path for path in house.folder.rglob("*") if path.is_file()]
    assert len(kept) > 5
    assert [path for path in kept if KEY.encode() in path.read_bytes()] == []


def test_an_estimate_says_what_a_backfill_brings_before_there_is_a_control_database(
    server: LangSmith, house: House
) -> None:
    add_day(server, server.add_project("chat", start=MIDNIGHT), 6)
    settings = {**settings_of(house), "SOURCE_RATE": "0.5"}

    told = run("source", "estimate", "--to", str(NEXT), folder=house.folder, settings=settings)
    assert (told.status, told.err) == (0, "")
    assert "1 days with 6 rows; 1 MiB of text" in told.out
    assert "At 0.5 requests a second this takes at least 0:00:08" in told.out
    found = run("source", "estimate", "chat", "--to", str(NEXT), "--json", folder=house.folder, settings=settings)
    (project,) = json.loads(found.out)["projects"]
    assert (project["days"], project["rows"], project["requests"], project["seconds"]) == (1, 6, 4, 8.0)

    wrong = run("source", "estimate", "--to", "2026-01-01", folder=house.folder, settings=settings)
    assert (wrong.status, "lies behind the last one" in wrong.err) == (2, True)
    unknown = run("source", "estimate", "chart", folder=house.folder, settings=settings)
    assert (unknown.status, "the trace store has no project 'chart'" in unknown.err) == (1, True)


def test_a_run_that_ends_is_exported_anew_though_it_changes_no_sum(server: LangSmith, house: House) -> None:
    project = server.add_project("chat", start=MIDNIGHT)
    add_day(server, project, 6)
    run = server.add_run(project, MIDNIGHT + timedelta(hours=23), end_time=None, outputs=None)
    house.sync()
    with instance_of(house.folder) as instance:
        assert materialize(house.definitions(), instance, "chat", first=DAY).success
        assert columns_of(house, DAY, "status, outputs", f"id = '{run}'") == [("pending", None)]
        assert changed_days(house) == {}

        server.runs[run].update(end_time="2026-03-15T00:00:01Z", outputs={"text": "done"})
        (late,) = compared(house).late
        assert reason([late]).startswith("pending runs changed since ")
        assert materialize(house.definitions(), instance, "chat", first=DAY).success
    assert columns_of(house, DAY, "status, outputs", f"id = '{run}'") == [("success", '{"text": "done"}')]
    assert changed_days(house) == {}


@pytest.mark.parametrize("left", [4, 0])
def test_a_day_that_retention_has_thinned_out_or_emptied_keeps_its_file(
    server: LangSmith, house: House, left: int
) -> None:
    project = server.add_project("chat", start=MIDNIGHT)
    expected = add_day(server, project, 6, total_tokens=3)
    house.sync()
    with instance_of(house.folder) as instance:
        assert materialize(house.definitions(), instance, "chat", first=DAY).success
        for _, key in expected[left:]:
            del server.runs[key]
        found = compared(house)
        assert ([(day.day, day.committed, day.found) for day in found.shrunk], found.late) == ([(DAY, 6, left)], ())
        assert not materialize(house.definitions(), instance, "chat", first=DAY).success
    assert [row[:2] for row in rows_of(house, DAY)] == expected


def counts(instance: dg.DagsterInstance) -> dict[str, object]:
    """What Dagster shows of each day."""
    return {day: found["dagster/partition_row_count"] for day, found in materialized(instance, "chat").items()}


def changed_days(house: House) -> dict[date, tuple[int, int]]:
    """The committed days that LangSmith has changed: rows and feedback that came."""
    return {day.day: (day.rows, day.feedbacks) for day in compared(house).late}


def compared(house: House) -> DayChanges:
    """What a comparison of the committed days with LangSmith finds."""
    with closing(open_source(house.settings)) as source, closing(house.control) as control:
        table = standing_table(control, find_project(control, "chat"), house.settings)
        return find_changed_days(control, source, table, Window.of_days(DAY, NEXT))
