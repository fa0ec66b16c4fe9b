"""Memory stays bounded by bytes in flight, whatever the size of a row or a day."""

import subprocess
import sys
from pathlib import Path

import pytest

from export_pipeline_tests.sources.stores import EVERYWHERE, PROJECT, Store

MIB = 1024 * 1024

PROGRAM = """
import resource, sys
from datetime import date
from export_pipeline.runs.window import Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey
from pathlib import Path

mapping = Path(sys.argv[2]) if sys.argv[2] else None
settings = load_settings(source_url=sys.argv[1], control_url="sqlite:///c.db", bucket="bucket", mapping=mapping)
source = open_source(settings)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = size = 0
with source.open(ProjectKey(sys.argv[3]), Window.of_day(date(2026, 3, 14))) as snapshot:
    for batch in snapshot.batches():
        rows, size = rows + batch.num_rows, size + batch.nbytes
source.close()
print(rows, size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def read_in_a_process(store: Store, mapping: str | None) -> tuple[int, int, int]:
    """Rows, bytes, and by how many bytes the process grew at its peak."""
    path = store.folder / "mapping.yaml" if mapping else Path()
    if mapping:
        path.write_text(mapping)
    command = [sys.executable, "-c", PROGRAM, store.url, str(path) if mapping else "", PROJECT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows, size, grown = map(int, done.stdout.split())
    return rows, size, grown


@pytest.mark.slow
@EVERYWHERE
@pytest.mark.parametrize("mapping", [None, "runs: {table: seen}"])
def test_huge_rows_need_memory_for_a_few_of_them_only(store: Store, mapping: str | None) -> None:
    store.runs({"inputs": "TEXT"}, unique=True)
    store.run("CREATE VIEW seen AS SELECT * FROM runs")
    if store.dialect == "clickhouse":
        start = "toDateTime64('2026-03-14 10:00:59', 6, 'UTC') - number"
        big = "arrayStringConcat(arrayMap(i -> repeat('x', 1000000), range(8 + number * 0)))"
        columns = f"generateUUIDv4(), '{PROJECT}', 'run', 'llm', {start}, {big}"
        store.run(f"INSERT INTO runs SELECT {columns} FROM numbers(50) SETTINGS max_block_size = 5")
    else:
        big = "printf('%.8000000c', 'x')" if store.dialect == "sqlite" else "repeat('x', 8000000)"
        for number in range(50):
            store.add(number, f"2026-03-14 10:00:{59 - number:02}+00:00", inputs="")
        store.run(f"UPDATE runs SET inputs = {big}")
    rows, size, grown = read_in_a_process(store, mapping)
    assert (rows, size > 400_000_000) == (50, True)
    assert grown < 160 * MIB, f"grew by {grown // MIB} MiB"


@pytest.mark.slow
@EVERYWHERE
def test_a_day_of_many_rows_needs_little_more_than_one_of_few(store: Store) -> None:
    store.runs({"inputs": "TEXT"}, unique=True)
    if store.dialect != "clickhouse":
        store.run("CREATE INDEX by_day ON runs (session_id, start_time)")
    if store.dialect == "sqlite":
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
        id_, start = "printf('%032x', i)", "strftime('%Y-%m-%dT%H:%M:%S', 1773489600 - i % 40000, 'unixepoch')"
    elif store.dialect == "clickhouse":
        numbers = "WITH n AS (SELECT number + 1 AS i FROM numbers(300000))"
        id_, start = "toUUID(leftPad(hex(i), 32, '0'))", "fromUnixTimestamp(1773489600 - i % 40000)"
    elif store.dialect == "mysql":
        numbers = "WITH n AS (SELECT seq AS i FROM seq_1_to_300000)"
        id_, start = "lpad(hex(i), 32, '0')", "TIMESTAMP'2026-03-14 12:00:00' - INTERVAL (i % 40000) SECOND"
    else:
        numbers = "WITH n(i) AS (SELECT generate_series(1, 300000))"
        id_, start = "lpad(to_hex(i), 32, '0')::uuid", "to_timestamp(1773489600 - i % 40000)"
    columns = f"{id_}, '{PROJECT}', 'run', 'llm', {start}, '{'x' * 300}'"
    cast = columns if store.dialect != "postgresql" else columns.replace(f"'{PROJECT}'", f"'{PROJECT}'::uuid")
    store.run(f"INSERT INTO runs {numbers} SELECT {cast} FROM n")
    rows, size, grown = read_in_a_process(store, None)
    assert (rows, size > 100_000_000) == (300_000, True)
    assert grown < 120 * MIB, f"grew by {grown // MIB} MiB"
