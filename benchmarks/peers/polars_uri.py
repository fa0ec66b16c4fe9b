"""Polars: `read_database_uri` (connectorx) and `write_parquet`, all rows in memory."""

import polars as pl
from measured import options, run

given = options()
s3 = given["s3"]


def work() -> None:
    """Reads all and writes all."""
    frame = pl.read_database_uri(given["sql"], given["postgres"])
    frame.write_parquet(
        f"s3://{s3['bucket']}/{given['prefix']}/day.parquet",
        compression="zstd",
        compression_level=1,
        storage_options={
            "aws_access_key_id": s3["key"],
            "aws_secret_access_key": s3["secret"],
            "aws_region": s3["region"],
            "aws_endpoint_url": s3["endpoint"],
            "aws_allow_http": "true",
        },
    )


run(work)
