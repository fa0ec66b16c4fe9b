"""dlt: `sql_table` into the filesystem destination as Parquet, with its connectorx or pyarrow back end."""

import os

import dlt
import pyarrow  # noqa: F401 - imported before the measured time begins, as dlt would within it
import sqlalchemy as sa
from dlt.sources.sql_database import sql_table
from measured import options, run

given = options()
s3 = given["s3"]
os.environ.update(
    {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "NORMALIZE__DATA_WRITER__COMPRESSION": "zstd",
        "DATA_WRITER__COMPRESSION": "zstd",
        "PARQUET__COMPRESSION": "zstd",
        "PARQUET__COMPRESSION_LEVEL": "1",
        "DLT_DATA_DIR": given["folder"],
    }
)


def work() -> None:
    """Extract, normalize, load."""
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=given["folder"],
        dataset_name=given["prefix"].replace("/", "_"),
        destination=dlt.destinations.filesystem(
            bucket_url=f"s3://{s3['bucket']}/{given['prefix']}",
            credentials={
                "aws_access_key_id": s3["key"],
                "aws_secret_access_key": s3["secret"],
                "endpoint_url": s3["endpoint"],
                "region_name": s3["region"],
            },
        ),
    )
    rows = sql_table(
        given["sqlalchemy"],
        table="runs",
        backend=given["backend"],
        reflection_level="minimal",
        query_adapter_callback=lambda query, table: sa.text(given["sql"].replace(":", r"\:")),  # noqa: ARG005
    )
    pipeline.run(rows, loader_file_format="parquet")


run(work)
