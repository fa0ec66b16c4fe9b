"""`export-pipeline sql`: for what tables it prints statements, and what it says of those that it leaves out.

That the statements are right is tested by `files/statements`.
"""

import json
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.cli.sql import Target
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, days, destinations, exports, projects
from export_pipeline.files.statements.systems import SYSTEMS
from export_pipeline.object_store.config import DestinationConfig, S3Options
from export_pipeline.object_store.form import config_values
from export_pipeline_tests.cli.command import Ended, run, run_process

CHAT, SEARCH, EVALUATION = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)
WORKSPACE = uuid.UUID(int=7)
FIRST, SECOND, EMPTY = date(2026, 11, 8), date(2026, 11, 9), date(2026, 11, 10)


class House:
    """A control database with projects; their tables are written past the code under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = ControlDatabase(f"sqlite:///{folder / 'control.db'}")
        self.control.migrate()

    def insert(self, table: sa.Table, **values: Any) -> None:
        with self.control.begin() as connection:
            connection.execute(sa.insert(table).values(**values))

    def add_project(self, session: uuid.UUID, name: str, asset: str) -> None:
        self.insert(
            projects,
            project=str(session),
            session_id=str(session),
            tenant_id=str(WORKSPACE),
            name=name,
            is_experiment=False,
            untold=True,
            asset_name=asset,
            group_name="default",
            first_seen_at=0,
            last_seen_at=0,
        )

    def add_table(self, session: uuid.UUID, rows: dict[date, int | None], **values: Any) -> uuid.UUID:
        """A table with days; a day of None rows has not been committed."""
        export_id = uuid.uuid4()
        own = {
            "export_id": str(export_id),
            "kind": "standing",
            "project": str(session),
            "untold": True,
            "tenant_id": str(WORKSPACE),
            "session_id": str(session),
            "bucket": "lake",
            "prefix": "prod",
            "region": "eu-central-1",
            "format_version": "v1",
            "compression": "zstandard",
            "fields": ["id", "start_time", "tags", "total_cost"],
            "created_at": 0,
        }
        self.insert(exports, **{**own, **values})
        for day, number in rows.items():
            commit = {} if number is None else {"rows": number, "commit_epoch": 1}
            fixed = {"status": "Running" if number is None else "Completed", "epoch": 1, "updated_at": 0}
            self.insert(days, export_id=str(export_id), day=day, cancel_requested=False, **fixed, **commit)
        return export_id

    def sql(self, *words: str) -> Ended:
        settings = {
            "SOURCE_URL": "sqlite:///traces.db",
            "CONTROL_URL": f"sqlite:///{self.folder / 'control.db'}",
            "BUCKET": "lake",
            "SECRET_ACCESS_KEY": "a-secret-that-nobody-sees",
            "ACCESS_KEY_ID": "a-key-that-nobody-sees",
        }
        return run("sql", *words, folder=self.folder, settings=settings)

    def statements(self, *words: str) -> dict[str, dict[str, str]]:
        """By table the texts of the statements that are printed, by what they are for."""
        ended = self.sql(*words, "--json")
        assert ended.status == 0, ended.err
        found: dict[str, dict[str, str]] = {}
        for each in json.loads(ended.out):
            found.setdefault(each["table"], {})[each["step"]] = each["text"]
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two projects with tables, and one without."""
    made = House(tmp_path)
    made.add_project(CHAT, "chat", "chat")
    made.add_project(SEARCH, "Search!", "search")
    made.add_project(EVALUATION, "evaluation", "evaluation")
    made.add_table(CHAT, {FIRST: 5, SECOND: 412, EMPTY: 0})
    made.add_table(SEARCH, {FIRST: 7, SECOND: None})
    yield made
    made.control.close()


def test_every_system_has_its_statements_and_a_name_on_the_command_line(house: House) -> None:
    assert [target.value for target in Target] == list(SYSTEMS)
    for name, system in SYSTEMS.items():
        printed = house.sql("--for", name, "chat").out
        assert printed.startswith(f"{system.comment} {system.title}: project chat ({CHAT}), export ")
        assert not [line for line in printed.splitlines() if line != line.rstrip()]


def test_a_project_is_named_in_any_way(house: House) -> None:
    printed = house.sql("--for", "duckdb", "search")
    assert printed.status == 0
    assert printed.out == house.sql("--for", "duckdb", "Search!").out == house.sql("--for", "duckdb", str(SEARCH)).out


def test_the_day_is_the_newest_that_has_rows_or_the_one_that_is_given(house: House) -> None:
    (newest,) = house.statements("--for", "duckdb", "chat").values()
    assert "year=2026/month=11/day=09/part-00000.parquet" in newest["load day"]
    assert "count(*) = 412 THEN" in newest["load day"]
    assert "count(*) = 417 THEN" in newest["load all"]
    (first,) = house.statements("--for", "duckdb", "chat", "--day", "2026-11-08").values()
    assert "day=08" in first["load day"]
    assert "count(*) = 5 THEN" in first["load day"]
    (empty,) = house.statements("--for", "duckdb", "chat", "--day", "2026-11-10").values()
    assert "DELETE FROM runs_chat WHERE utc_day = DATE '2026-11-10'" in empty["load day"]
    assert "INSERT" not in empty["load day"]


@pytest.mark.parametrize("day", ["2026-11-09", "2031-01-01"])
def test_a_day_that_is_not_committed_is_an_error(house: House, day: str) -> None:
    ended = house.sql("--for", "duckdb", "search", "--day", day)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(f"Error: project Search! ({SEARCH}), export ")
    assert ended.err.endswith(f": {day} is not exported\n")


@pytest.mark.parametrize("words", ["--for duckdb chat --day yesterday", "--for oracle chat", "chat"])
def test_a_day_that_is_none_and_an_unknown_system_are_wrong_usage(tmp_path: Path, words: str) -> None:
    assert run_process("sql", *words.split(), folder=tmp_path).status == 2


def test_without_a_project_all_current_tables_have_their_statements(house: House) -> None:
    house.add_table(CHAT, {FIRST: 3}, superseded_at=1)
    house.add_table(EVALUATION, {FIRST: 0})
    ended = house.sql("--for", "snowflake")
    assert ended.status == 0
    assert ended.out.count("-- Snowflake: project ") == 2
    assert "COPY INTO runs_chat (" in ended.out
    assert "COPY INTO runs_search (" in ended.out
    assert ended.err.startswith(f"Left out: project evaluation ({EVALUATION}), export ")
    assert ended.err.endswith(": no day with rows is exported yet\n")


def test_where_nothing_is_exported_the_error_says_so(tmp_path: Path) -> None:
    empty = House(tmp_path)
    ended = empty.sql("--for", "duckdb")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == "Error: no project is exported yet; `export-pipeline status` says what is missing\n"
    empty.control.close()


def test_a_bulk_export_has_a_table_a_project_each_with_a_name_of_its_own(house: House) -> None:
    bulk_id, unknown = uuid.uuid4(), uuid.UUID(int=0xABCDEF << 104)
    common = {"kind": "bulk", "bulk_id": str(bulk_id), "layout_id": str(bulk_id), "format_version": "v2_beta"}
    for session in (CHAT, SEARCH, unknown):
        house.add_table(session, {FIRST: 1}, **common)
    found = house.statements("--for", "duckdb", str(bulk_id))
    suffix = bulk_id.hex[:8]
    assert found.keys() == {f"runs_chat_{suffix}", f"runs_search_{suffix}", f"runs_abcdef00_{suffix}"}
    text = found[f"runs_search_{suffix}"]["files"]
    place = f"s3://lake/prod/export_id={bulk_id}/tenant_id={WORKSPACE}/session_id={SEARCH}/resource=runs/"
    assert f"'{place}*/*/*/part-00000.parquet'" in text


def test_a_schedule_has_the_tables_of_all_its_exports(house: House) -> None:
    schedule, spawned = uuid.uuid4(), [uuid.uuid4(), uuid.uuid4()]
    asked = {
        "tenant_id": str(WORKSPACE),
        "destination_id": str(uuid.uuid4()),
        "all_experiments": False,
        "format_version": "v1",
        "compression": "zstandard",
        "reexport_late": False,
        "status": "Completed",
        "created_by": "cli",
    }
    times = dict.fromkeys(("created_at", "updated_at"), 0)
    for number, each in enumerate(spawned):
        house.insert(bulk_exports, id=str(each), source_id=str(schedule), start_at=number, **asked, **times)
        house.add_table(CHAT, {FIRST: 1}, kind="bulk", bulk_id=str(each), layout_id=str(each), created_at=number)
    found = house.statements("--for", "duckdb", str(schedule))
    assert list(found) == [f"runs_chat_{each.hex[:8]}" for each in spawned]


def test_a_superseded_table_is_not_mistaken_for_the_current_one(house: House) -> None:
    former = house.add_table(CHAT, {FIRST: 3}, superseded_at=1)
    assert list(house.statements("--for", "duckdb", str(former))) == [f"runs_chat_{former.hex[:8]}"]
    assert list(house.statements("--for", "duckdb", "chat")) == ["runs_chat"]


def test_columns_are_those_of_the_table(house: House) -> None:
    house.add_table(EVALUATION, {FIRST: 3}, fields=["id", "tags", "feedbacks"], format_version="v2_beta")
    (found,) = house.statements("--for", "clickhouse", "evaluation").values()
    columns = ["id String", "tags Array(String)", "feedbacks Nullable(String)", "utc_day Date32"]
    assert "    " + ",\n    ".join(columns) + "\n" in found["create"]
    assert "PARTITION BY utc_day ORDER BY (id)" in found["create"]
    assert found["check"] == "SELECT count(*) AS runs, count(DISTINCT id) AS ids\nFROM runs_evaluation;"


@pytest.mark.parametrize("target", [target.value for target in Target])
def test_no_secret_is_printed_and_no_name_gets_out_of_its_comment(house: House, target: str) -> None:
    name = "x\n; DROP TABLE runs; --\r\u2028\x1b[31m\u202e" + "y" * 300
    house.add_project(uuid.UUID(int=9), name, "hostile")
    house.add_table(uuid.UUID(int=9), {FIRST: 3})
    printed = house.sql("--for", target, "hostile").out
    (heading,) = [line for line in printed.splitlines() if "DROP TABLE runs;" in line]
    assert heading.startswith(f"{SYSTEMS[target].comment} {SYSTEMS[target].title}: project x ; DROP TABLE runs; --")
    assert len(heading) < 250
    assert "nobody-sees" not in printed
    assert not set(printed) & set("\r\x1b\u2028\u202e")


def test_a_stored_destinations_addressing_is_kept(house: House) -> None:
    for place, expected in (
        ({"endpoint_url": "https://lake.s3.example.com", "include_bucket_in_prefix": False}, "vhost"),
        (
            {
                "endpoint_url": "https://s3.example.com",
                "config_kwargs_s3": S3Options(addressing_style="virtual"),
            },
            "vhost",
        ),
        ({"endpoint_url": "https://s3.example.com"}, "path"),
    ):
        config = DestinationConfig(bucket="lake", prefix="prod", **place)
        destination, bulk_id = str(uuid.uuid4()), str(uuid.uuid4())
        fixed = dict.fromkeys(("checked_at", "created_at", "updated_at"), 0)
        own = {"id": destination, "tenant_id": str(WORKSPACE), "display_name": "lake", "config": config_values(config)}
        house.insert(destinations, **own, credentials_keys=[], capabilities={}, **fixed)
        where = {"kind": "bulk", "bulk_id": bulk_id, "destination_id": destination}
        house.add_table(CHAT, {FIRST: 1}, endpoint_url=config.endpoint_url, **where)
        (duckdb,) = house.statements("--for", "duckdb", bulk_id).values()
        assert f"ENDPOINT 's3.example.com', URL_STYLE '{expected}', USE_SSL true" in duckdb["access"]
        (clickhouse,) = house.statements("--for", "clickhouse", bulk_id).values()
        begin = "https://lake.s3.example.com/prod/" if expected == "vhost" else "https://s3.example.com/lake/prod/"
        assert f"s3('{begin}export_id=" in clickhouse["files"]
