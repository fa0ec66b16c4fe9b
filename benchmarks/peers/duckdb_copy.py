"""DuckDB: COPY from PostgreSQL to S3, sorted by itself or by the server (`postgres_query`)."""

import importlib
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
from measured import options, run

given = options()
s3 = given["s3"]
connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for name in ("httpfs", "postgres_scanner"):
    folder = Path(importlib.import_module(f"duckdb_extension_{name}").__file__ or "").parent
    connection.load_extension(str(next(folder.rglob(f"{name}.duckdb_extension"))))


def work() -> None:
    """Connects and copies."""
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{s3['key']}', SECRET '{s3['secret']}', REGION '{s3['region']}', "
        f"ENDPOINT '{urlsplit(s3['endpoint']).netloc}', URL_STYLE 'path', USE_SSL false)"
    )
    connection.execute(f"ATTACH '{given['postgres']}' AS store (TYPE postgres, READ_ONLY)")
    if given["sort"] == "own":
        query = given["duckdb_sql"]
    else:
        query = "SELECT * FROM postgres_query('store', '" + given["sql"].replace("'", "''") + "')"
    connection.execute(
        f"COPY ({query}) TO 's3://{s3['bucket']}/{given['prefix']}/day.parquet' "
        "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
    )


run(work)
