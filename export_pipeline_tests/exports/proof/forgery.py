"""What somebody makes who can write to the bucket, and has this program: files and manifests that fit each other."""

import hashlib
import io
import json
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from export_pipeline.files.parquet import DayFile, read_footer
from export_pipeline_tests.exports.world import World, resealed


def forged(world: World, day: date, *, epoch: int = 1, text: str = '{"forged": true}') -> tuple[bytes, bytes]:
    """The day's file with all inputs replaced, and its manifest sealed anew: what they say of each other is true."""
    genuine = world.get(world.data(day))
    table = pq.read_table(io.BytesIO(genuine))
    place = table.schema.get_field_index("inputs")
    table = table.set_column(place, table.schema.field(place), pa.array([text] * table.num_rows))
    return written(world, day, table, genuine=genuine, epoch=epoch)


def written(world: World, day: date, table: pa.Table, *, genuine: bytes, epoch: int = 1) -> tuple[bytes, bytes]:
    """A file with these rows, under the commit id of the genuine one, and the manifest to it."""
    footer = read_footer(lambda start, end: genuine[start:end], len(genuine))
    out = io.BytesIO()
    file = DayFile(
        out,
        schema=table.schema.remove_metadata(),
        compression="zstandard",
        row_group_bytes=32 * 1024 * 1024,
        footer={name: value for name, value in footer.items() if name not in {"rows", "schema_version"}},
    )
    for batch in table.replace_schema_metadata(None).to_batches():
        file.write(batch)
    facts = file.close()
    told = {"rows": facts.rows, "row_groups": facts.row_groups, "content_hash": facts.content_hash}
    return out.getvalue(), manifest_of(world, day, out.getvalue(), epoch=epoch, **told)


def manifest_of(world: World, day: date, body: bytes, *, epoch: int = 1, **told: Any) -> bytes:
    """The day's manifest, sealed anew over another file."""
    sealed = world.get(world.manifest(day, epoch))
    file = {**json.loads(sealed)["file"], "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), **told}
    return resealed(sealed, file=file)
