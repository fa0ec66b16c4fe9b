"""Loads what was committed since the last time into a DuckDB table; run it as often as you like.

    python follow_into_duckdb.py runs.duckdb

Needs `export-pipeline`, duckdb and pyarrow, and the exporter's settings in the environment. Days that have
changed are replaced in one transaction, together with the cursor, so that a follower which is killed at any time misses
nothing and loads nothing twice.
"""

import json
import os
import subprocess
import sys
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

OF_DAY = "session_id = ? AND start_time >= ?::DATE AND start_time < ?::DATE + 1"


def main(path: str) -> None:
    """Follows until there is nothing new."""
    with duckdb.connect(path) as database:
        database.execute("SET TimeZone = 'UTC'")  # days are days of UTC
        database.execute("CREATE TABLE IF NOT EXISTS place (cursor VARCHAR)")
        while (listed := changes_since(database.execute("FROM place").fetchone()))["changes"]:
            database.begin()
            for change in listed["changes"]:
                replace_day(database, change)
            database.execute("DELETE FROM place")
            database.execute("INSERT INTO place VALUES (?)", [listed["cursor"]])
            database.commit()


def changes_since(found: Any) -> Any:
    """The next commits, of each day the newest only, and the cursor after them."""
    since = [] if found is None else ["--since", found[0]]
    command = ["export-pipeline", "changes", "--all", "--current", "--limit", "20", "--json", *since]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def replace_day(database: duckdb.DuckDBPyConnection, change: dict[str, Any]) -> None:
    """Takes the day's rows away and puts those of the file in their place."""
    rows = None if change["uri"] is None else read(change)
    if change["uri"] is not None and rows is None:
        return  # exported again since it was listed: the newer commit comes later
    if rows is not None:
        database.register("rows", rows)
        database.execute("CREATE TABLE IF NOT EXISTS runs AS FROM rows LIMIT 0")
    if database.execute("FROM duckdb_tables() WHERE table_name = 'runs'").fetchone():
        database.execute(f"DELETE FROM runs WHERE {OF_DAY}", [change["session_id"], change["day"], change["day"]])
    if rows is not None:
        database.execute("INSERT INTO runs BY NAME FROM rows")


def read(change: dict[str, Any]) -> pa.Table | None:
    """The file of a commit; None where another commit's lies in its place."""
    setting = {
        name: os.environ.get(f"EXPORT_PIPELINE_{name}")
        for name in ("ENDPOINT_URL", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    }
    bucket = fs.S3FileSystem(
        access_key=setting["ACCESS_KEY_ID"],
        secret_key=setting["SECRET_ACCESS_KEY"],
        endpoint_override=setting["ENDPOINT_URL"],
        region=setting["REGION"],
    )
    try:
        with bucket.open_input_file(change["uri"].removeprefix("s3://")) as file:
            opened = pq.ParquetFile(pa.BufferReader(file.read()))
    except FileNotFoundError:
        return None
    if opened.metadata.metadata[b"export_pipeline.commit_id"].decode() != change["commit_id"]:
        return None
    return opened.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
