"""Traces of five spans in an MLflow's SQLite file: `write` one trace many times, or read a day as its users do.

Runs in the environment of `make stores`. One trace is written by MLflow itself; the others are its rows, copied.
"""

import sqlite3
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import mlflow
from measured import options, run

given = options()
SPANS = 5
SECOND = 1_000_000_000


def write() -> dict[str, Any]:
    """Writes the traces, all on one day."""
    mlflow.set_tracking_uri(given["url"])
    experiment = mlflow.set_experiment("chat").experiment_id
    begin = given["midnight"] * SECOND
    text = {"messages": [{"role": "user", "content": given["text"]}]}
    root = mlflow.start_span_no_context(name="step", inputs=text, start_time_ns=begin)
    for number in range(1, SPANS):
        span = mlflow.start_span_no_context(
            name="step", span_type="CHAT_MODEL", parent_span=root, inputs=text, start_time_ns=begin + number * SECOND
        )
        span.end(outputs=text, end_time_ns=begin + (number + 1) * SECOND)
    root.end(outputs=text, end_time_ns=begin + 9 * SECOND)
    mlflow.flush_trace_async_logging()
    with sqlite3.connect(given["url"].removeprefix("sqlite:///")) as connection:
        _copy(connection, root.trace_id, given["rows"] // SPANS)
    connection.close()
    return {"rows": given["rows"], "experiment": experiment}


def _copy(connection: sqlite3.Connection, trace: str, traces: int) -> None:
    """The rows of a trace under other ids, and seconds later."""
    step = 80_000 // traces if traces < 80_000 else 0
    keys = {"trace_info": "request_id", "spans": "trace_id", "trace_tags": "request_id"}
    keys["trace_request_metadata"] = "request_id"
    for table, key in keys.items():
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        generated = {row[1] for row in connection.execute(f"PRAGMA table_xinfo({table})") if row[6]}
        listed = [column for column in columns if column not in generated]
        later = {"timestamp_ms": f"* {1000 * step}", "start_time_unix_nano": "", "end_time_unix_nano": ""}
        values = []
        for column in listed:
            if column == key:
                values.append("'tr-' || printf('%032x', n)")
            elif column == "content":
                values.append(f"replace(content, '{trace}', 'tr-' || printf('%032x', n))")
            elif column in later:
                values.append(f"{column} + n * {1000 if column == 'timestamp_ms' else SECOND} * {step}")
            else:
                values.append(column)
        numbers = f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {traces - 1})"
        connection.execute(
            f"{numbers} INSERT INTO {table} ({', '.join(listed)}) SELECT {', '.join(values)} FROM c CROSS JOIN {table} "
            f"WHERE {key} = '{trace}'"
        )


def read() -> dict[str, Any]:
    """The spans of `mlflow.search_traces`, in a dataframe."""
    mlflow.set_tracking_uri(given["url"])
    frame = mlflow.search_traces(locations=[given["experiment"]], return_type="pandas")
    return {"rows": sum(map(len, frame["spans"]))}


run(write if given["write"] else read)
