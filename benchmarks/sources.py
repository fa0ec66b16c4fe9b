"""One day out of each known store, beside what its users would do otherwise; and a day of very many rows."""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from benchmarks.program import Measured, median, run_program
from benchmarks.servers import SCRIPTS, Servers
from benchmarks.span_stores import mlflow_days, phoenix_days
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.clickhouse import langfuse, opik
from export_pipeline_tests.sources.clickhouse.otel import TABLE as OTEL_TRACES
from export_pipeline_tests.sources.stores import Store, execute

DAY = date(2026, 3, 14)
LIMIT_MB = 500
"""Of the worker, whatever the size of the day."""
_A_STATEMENT = 100_000
"""Rows that are written at once: a statement of the tests' server is waited for for a minute."""
PRODUCT, OWN_PARQUET = "export-pipeline", "ClickHouse FORMAT Parquet"
HERE = Path(__file__).parent

_TEXT = "arrayStringConcat(arrayMap(i -> lower(hex(sipHash64(number % 4000, i, '{salt}'))), range({words})), ' ')"
_JSON = """concat('{{"messages":[{{"role":"user","content":"', {text}, '"}}]}}')"""


@dataclass(frozen=True)
class Known:
    """A store: how its tables are made, and its rows are of a number; every fifth is the root of a trace."""

    name: str
    make: Callable[[Store], Any]
    table: str
    columns: dict[str, str]
    where: str
    """The condition on the rows of the day, as its users would write it."""
    project: str = "chat"


def _values(start: str, trace: str, span: str, parent: str) -> dict[str, str]:
    return {start: "{start}", trace: "{trace}", span: "{span}", parent: "if(number % 5 = 0, '', {parent})"}


KNOWN = (
    Known(
        "langfuse 4",
        lambda store: langfuse.make(store, version=4),
        "events_full",
        {
            **_values("start_time", "trace_id", "span_id", "parent_span_id"),
            "project_id": "'chat'", "name": "'step'", "type": "'GENERATION'", "end_time": "{start} + 1",
            "input": "{input}", "output": "{output}", "event_ts": "now64(6)", "provided_model_name": "'gpt-4o'",
            "usage_details": "map('input', 12, 'output', 3, 'total', 15)",
        },
        "project_id = 'chat' AND toDate(start_time, 'UTC') = '{day}' ORDER BY start_time",
    ),
    Known(
        "otel",
        lambda store: execute(store.url, OTEL_TRACES, nullable=False),
        "otel_traces",
        {
            **_values("Timestamp", "TraceId", "SpanId", "ParentSpanId"),
            "ServiceName": "'chat'", "SpanName": "'step'", "Duration": "1000000000",
            "SpanAttributes": "map('gen_ai.operation.name', 'chat', 'gen_ai.usage.input_tokens', '12', "
            "'input.value', {input}, 'output.value', {output})",
        },
        "ServiceName = 'chat' AND toDate(Timestamp, 'UTC') = '{day}' ORDER BY Timestamp",
    ),
    Known(
        "opik",
        opik.make_tables,
        "spans",
        {
            **_values("start_time", "trace_id", "id", "parent_span_id"),
            "workspace_id": "'acme'", "project_id": f"'{opik.PROJECT}'", "name": "'step'", "type": "'llm'",
            "end_time": "{start} + 1", "input": "{input}", "output": "{output}",
        },
        f"project_id = '{opik.PROJECT}' AND toDate(start_time, 'UTC') = '{{day}}' ORDER BY start_time",
        opik.PROJECT,
    ),
)  # fmt: skip


def sources(servers: Servers, *, rows: int, many_rows: int, rounds: int) -> None:
    """Prints the days of `rows` rows, and the memory that one of `many_rows` takes."""
    print(f"\nOne day of {rows:,} rows out of each store, medians of {rounds} rounds\n")
    print("| store | program | wall s | client's CPU s | server's CPU s | peak RSS MB |\n|---|---|--:|--:|--:|--:|")
    for known in KNOWN:
        with tempfile.TemporaryDirectory(dir=servers.folder) as folder, _Filled(servers, known, Path(folder)) as filled:
            filled.fill(rows, words=60)
            for program in (PRODUCT, OWN_PARQUET):
                runs = [filled.run(program, rows=rows, number=number) for number in range(rounds)]
                print(f"| {known.name} | {program} | {' | '.join(_medians(runs))} |", flush=True)
    for name, days_of in (("MLflow", mlflow_days), ("Phoenix", phoenix_days)):
        with tempfile.TemporaryDirectory(dir=servers.folder) as folder:
            for program, measured in days_of(servers, Path(folder), rows=rows, rounds=rounds):
                assert {run.told["rows"] for run in measured} == {rows}
                print(f"| {name} | {program} | {' | '.join(_medians([(run, None) for run in measured]))} |", flush=True)
    print(f"\nOne day of {many_rows:,} rows\n\n| store | wall s | client's CPU s | server's CPU s | peak RSS MB | |")
    print("|---|--:|--:|--:|--:|---|")
    known = KNOWN[0]
    with tempfile.TemporaryDirectory(dir=servers.folder) as folder, _Filled(servers, known, Path(folder)) as filled:
        filled.fill(many_rows, words=20)
        run = filled.run(PRODUCT, rows=many_rows, number=0)
    verdict = "met" if run[0].peak_mb <= LIMIT_MB else "**missed**"
    print(f"| {known.name} | {' | '.join(_medians([run]))} | at most {LIMIT_MB} MB: {verdict} |", flush=True)


def _medians(runs: list[tuple[Measured, float | None]]) -> list[str]:
    measured, of_server = [run for run, _ in runs], [seconds for _, seconds in runs if seconds is not None]
    server = f"{statistics.median(of_server):.2f}" if of_server else "–"
    return [f"{median(measured, 'wall'):.2f}", f"{median(measured, 'client'):.2f}", server,
            f"{median(measured, 'peak_mb'):.0f}"]  # fmt: skip


class _Filled:
    """A ClickHouse with one store in it; a context manager."""

    def __init__(self, servers: Servers, known: Known, folder: Path) -> None:
        self._servers, self._known, self._folder = servers, known, folder
        self._clickhouse = ClickhouseServer()

    def __enter__(self) -> "_Filled":
        self._clickhouse.start()
        self._store = Store("clickhouse", self._clickhouse.url(self._clickhouse.new_database()), self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._clickhouse.stop()

    def fill(self, rows: int, *, words: int) -> None:
        """Writes the day, `words` words of 16 characters in each input and output; lists the projects."""
        known, start = self._known, f"toDateTime64('{DAY} 00:00:00', 6, 'UTC') + intDiv(number * 86400, {rows})"
        ids = {name: f"toString(reinterpretAsUUID(toUInt128({number}) + 1))" for name, number in _NUMBERS.items()}
        texts = {name: _JSON.format(text=_TEXT.format(salt=name, words=words)) for name in ("input", "output")}
        values = ", ".join(value.format(start=start, **ids, **texts) for value in known.columns.values())
        known.make(self._store)
        for first in range(0, rows, _A_STATEMENT):
            numbers = f"numbers({first}, {min(_A_STATEMENT, rows - first)})"
            self._store.run(f"INSERT INTO {known.table} ({', '.join(known.columns)}) SELECT {values} FROM {numbers}")
        command = [str(SCRIPTS / "export-pipeline"), "projects", "sync"]
        subprocess.run(command, env=self._settings("sync"), cwd=self._folder, check=True, stdout=subprocess.DEVNULL)

    def _settings(self, prefix: str) -> dict[str, str]:
        control = self._folder / "control.db"
        return self._servers.settings(
            source_url=self._store.url, control=control, prefix=f"{self._folder.name}/{prefix}"
        )

    def run(self, program: str, *, rows: int, number: int) -> tuple[Measured, float | None]:
        """What one run takes, and the CPU seconds of ClickHouse."""
        prefix = f"{number}-{program.split(maxsplit=1)[0]}"
        query = f"SELECT * FROM {self._known.table} FINAL WHERE {self._known.where.format(day=DAY)} FORMAT Parquet"
        database = self._store.url.rpartition("/")[2]
        options = {
            "projects": [self._known.project], "first_day": DAY.isoformat(), "days": 1,
            "address": f"http://127.0.0.1:{self._clickhouse.port}/?database={database}",
            "query": query.replace(" FINAL", "") if self._known.name == "otel" else query,
        }  # fmt: skip
        script = HERE / "product.py" if program == PRODUCT else HERE / "peers" / "clickhouse_parquet.py"
        before = self._cpu()
        measured = run_program(
            [sys.executable, str(script)],
            options,
            servers=self._servers,
            prefix=f"{self._folder.name}/{prefix}",
            environment=self._settings(prefix),
        )
        assert measured.told["rows"] == rows
        return measured, self._cpu() - before

    def _cpu(self) -> float:
        times = psutil.Process(self._clickhouse.pid).cpu_times()
        return float(times.user + times.system)


_NUMBERS = {"trace": "intDiv(number, 5)", "span": "number + 1000000000", "parent": "number + 999999999"}
