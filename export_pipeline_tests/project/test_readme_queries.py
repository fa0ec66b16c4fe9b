"""The README's queries, as they stand there, over days that were really exported."""

import re
import sqlite3
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.settings import PREFIX
from export_pipeline_sample.write import write_sample
from export_pipeline_tests.orchestration.house import House, materialize
from export_pipeline_tests.project.documents import in_the_readme
from export_pipeline_tests.servers import Weed

pytestmark = pytest.mark.slow

FOLDER = "my-traces/prod/export_id=…/tenant_id=…/session_id=…/runs/"
ON_S3 = FOLDER.replace("my-traces/", "my-traces.s3.eu-central-1.amazonaws.com/")
LAST = date(2026, 11, 3)
Answer = list[tuple[str, int, int, Decimal]]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Weed) -> House:
    """One project, exported from the end of October to the start of November."""
    folder = tmp_path_factory.mktemp("queries")
    house = House(folder, seaweedfs, start=date(2026, 10, 31))
    traces = f"sqlite:///{folder / 'sample.db'}"
    write_sample(traces, projects=1, experiments=0, days=4, runs_per_day=40, last_day=LAST, steady=True)
    house.variables |= {PREFIX + "SOURCE_URL": traces, PREFIX + "PREFIX": "prod"}
    house.sync()
    (project,) = house.projects()
    with dg.DagsterInstance.ephemeral() as instance:
        done = materialize(house.definitions(), instance, project.asset_name, first=house.start, last=LAST)
        assert done.success
    assert len(house.data_files()) == 4
    return house


@pytest.fixture(scope="module")
def folder(house: House) -> str:
    """The key of the folder that holds the project's days."""
    (found,) = {key.partition("/runs/")[0] + "/runs/" for key in house.data_files()}
    return found


@pytest.fixture(scope="module")
def expected(house: House) -> Answer:
    """The same question, put to the trace store; the 31st of October is not asked for."""
    query = """SELECT json_extract(extra, '$.metadata.ls_model_name') AS model, count(*), sum(total_tokens),
               sum(CAST(round(total_cost * 1e12) AS INTEGER))
               FROM runs WHERE run_type = 'llm' AND start_time >= '2026-11-01' GROUP BY 1 ORDER BY 1"""
    with closing(sqlite3.connect(house.folder / "sample.db")) as traces:
        rows = traces.execute(query).fetchall()
    assert len(rows) > 1
    return [(model, calls, tokens, Decimal(cost).scaleb(-12)) for model, calls, tokens, cost in rows]


def code(title: str) -> str:
    """The block of code below the README's line that begins so."""
    below = in_the_readme("queries").split(f"\n{title}", 1)[1]
    (found,) = re.findall(r"```\w+\n(.*?)```", below, re.DOTALL)[:1]
    return str(found)


@pytest.fixture
def local_copy(house: House, folder: str, tmp_path: Path) -> Path:
    """The files on disk: DuckDB's extension for S3 is downloaded from the internet, which tests do without."""
    for key in house.data_files():
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(house.server.client().get_object(Bucket=house.bucket, Key=key)["Body"].read())
    return tmp_path / folder


def test_duckdb(local_copy: Path, expected: Answer) -> None:
    import duckdb

    query = code("DuckDB")
    assert f"s3://{FOLDER}*/*/*/*.parquet" in query
    with duckdb.connect() as connection:
        assert connection.execute(query.replace(f"s3://{FOLDER}", f"{local_copy}/")).fetchall() == expected


def test_polars(house: House, folder: str, expected: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the bucket itself, with credentials from the environment as everywhere."""
    import polars as pl

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", house.server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", house.server.secret_access_key)
    monkeypatch.setenv("AWS_REGION", house.server.region)
    monkeypatch.setenv("AWS_ENDPOINT_URL", house.server.endpoint_url)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    program = code("Polars")
    assert f"s3://{FOLDER}" in program
    names: dict[str, pl.DataFrame] = {}
    exec(program.replace(f"s3://{FOLDER}", f"s3://{house.bucket}/{folder}"), names)
    assert names["answer"].rows() == expected


def test_clickhouse(house: House, folder: str, expected: Answer) -> None:
    import json

    import chdb

    query = code("ClickHouse")
    assert f"https://{ON_S3}*/*/*/*.parquet" in query
    query = query.replace(f"https://{ON_S3}", f"{house.server.endpoint_url}/{house.bucket}/{folder}")
    query = query.replace("'ACCESS_KEY_ID'", f"'{house.server.access_key_id}'")
    query = query.replace("'SECRET_ACCESS_KEY'", f"'{house.server.secret_access_key}'")
    ask: Any = chdb.query  # has no types
    text = str(ask(query, "JSONCompact"))
    rows = json.loads(text, parse_float=Decimal)["data"]
    assert [(model, int(calls), int(tokens), Decimal(usd)) for model, calls, tokens, usd in rows] == expected
