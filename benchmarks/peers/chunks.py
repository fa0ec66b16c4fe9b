"""SQLAlchemy and Polars in chunks: what one writes first."""

from typing import Any

import polars as pl
import pyarrow.parquet as pq
import sqlalchemy as sa
from measured import options, run
from pyarrow import fs

given = options()
s3 = given["s3"]
CHUNK_ROWS = 10_000
# Without it Polars guesses from the first 100 rows and fails where a column begins with nulls.
SCHEMA: dict[str, Any] = {
    **dict.fromkeys(given["texts"], pl.String),
    **dict.fromkeys(("start_time", "end_time", "first_token_time"), pl.Datetime("us", "UTC")),
    **dict.fromkeys(("total_tokens", "prompt_tokens", "completion_tokens"), pl.Int64),
    "is_root": pl.Boolean,
}


def work() -> None:
    """Reads with a server-side cursor, makes a frame of each chunk, writes it as a row group."""
    engine = sa.create_engine(given["sqlalchemy"])
    store = fs.S3FileSystem(
        access_key=s3["key"], secret_key=s3["secret"], endpoint_override=s3["endpoint"], region=s3["region"]
    )
    with (
        engine.connect().execution_options(stream_results=True, max_row_buffer=CHUNK_ROWS) as connection,
        store.open_output_stream(f"{s3['bucket']}/{given['prefix']}/day.parquet") as stream,
    ):
        writer: pq.ParquetWriter | None = None
        for frame in pl.read_database(
            sa.text(given["sql"].replace(":", r"\:")),
            connection,
            iter_batches=True,
            batch_size=CHUNK_ROWS,
            schema_overrides=SCHEMA,
        ):
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                writer = pq.ParquetWriter(stream, table.schema, compression="zstd", compression_level=1)
            writer.write_table(table)
        if writer is not None:
            writer.close()
    engine.dispose()


run(work)
