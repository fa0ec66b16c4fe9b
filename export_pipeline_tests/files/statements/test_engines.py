"""The statements for DuckDB over the bucket, and for Spark over a copy: both in an environment of their own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.files.statements.systems import SYSTEMS, written
from export_pipeline.files.statements.table import Step
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.statements import engine_process
from export_pipeline_tests.files.statements.engine import check, texts, totals_of
from export_pipeline_tests.files.statements.house import FORMS, House

pytestmark = pytest.mark.slow

PYTHON = Path(sys.prefix) / "engines" / "bin" / "python"
NOT_THERE = "DuckDB's extension and Spark are not installed: run `make engines`, which `make test` begins with"


class Engine:
    """An engine in a process of its own; `places` are put in place of others in what it is told."""

    refuses = True

    def __init__(self, system: str, process: "subprocess.Popen[str]", house: House) -> None:
        self.system = system
        self.places: dict[str, str] = {}
        self._process, self._house = process, house

    def run(self, text: str) -> list[list[Any]]:
        """Runs the statements of a text; gives back the rows of the last."""
        text = self._house.filled_in(text)
        for place, other in self.places.items():
            text = text.replace(place, other)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(text), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        rows: list[list[Any]] = answer["rows"]
        return rows


@contextmanager
def started(system: str, house: House, folder: Path) -> Iterator[Engine]:
    """The engine, until the end of the block."""
    assert PYTHON.exists(), NOT_THERE
    command = [str(PYTHON), engine_process.__file__, system]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        yield Engine(system, process, house)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def spark(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with started("spark", house, tmp_path_factory.mktemp("spark")) as engine:
        yield engine


@pytest.fixture
def duckdb(house: House, tmp_path: Path) -> Iterator[Engine]:
    with started("duckdb", house, tmp_path) as engine:
        yield engine


@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_duckdb_over_the_bucket(house: House, duckdb: Engine, version: FormatVersion, compression: Compression) -> None:
    check(duckdb, house, version, compression)


def test_duckdb_takes_the_whole_text_at_once(house: House, duckdb: Engine) -> None:
    table = house.table("v2_beta", "gzip")
    by_model = duckdb.run(written(SYSTEMS["duckdb"], table))
    assert {row[0]: row[1] for row in by_model} == house.calls()
    assert totals_of(duckdb.run(texts("duckdb", table)[Step.CHECK][0])) == house.totals()


@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_spark_over_a_copy(
    house: House, spark: Engine, tmp_path: Path, version: FormatVersion, compression: Compression
) -> None:
    house.mirror(house.table(version, compression), tmp_path)
    spark.places = {f"s3a://{house.bucket}/": f"file:{tmp_path}/"}
    database = f"{version}_{compression}"
    spark.run(f"CREATE DATABASE {database};\nUSE {database};")
    check(spark, house, version, compression)
