"""The promises of the commit protocol, checked from the bucket: at any moment, and after an attempt that ended well."""

import hashlib
import io
from datetime import date

import pyarrow.parquet as pq

from export_pipeline.files.parquet import read_footer
from export_pipeline_tests.exports.commit.bench import DAY, Bench, ids_and_names
from export_pipeline_tests.exports.memory_source import Row


def check_whole(bench: Bench, allowed: list[list[Row] | None], *, day: date = DAY) -> None:
    """A reader sees one of the allowed days, each of them whole, or nothing where None is allowed."""
    seen = bench.published(day)
    assert seen in [None if rows is None else ids_and_names(rows) for rows in allowed]


def check_finished(bench: Bench, rows: list[Row], *, day: date = DAY) -> None:
    """The day is exactly these rows, and everything that is recorded of it says so."""
    manifest, record, data = bench.manifest(day), bench.record(day), bench.file(day)
    assert manifest is not None
    assert (record.status, record.pending, record.error, record.owner) == ("Completed", False, None, None)
    assert (record.rows, record.commit_epoch) == (len(rows), manifest.epoch)
    assert manifest.rows == len(rows)
    assert bench.published(day) == (ids_and_names(rows) if rows else None)
    if data is None:
        assert manifest.file is None
    else:
        assert manifest.file is not None
        assert hashlib.sha256(data).hexdigest() == manifest.file.sha256
        assert len(data) == manifest.file.bytes == record.bytes
        footer = read_footer(lambda start, end: data[start:end], len(data))
        assert footer["commit_id"] == str(manifest.commit_id)
        assert pq.read_metadata(io.BytesIO(data)).num_rows == manifest.file.rows


def check_nothing_left(bench: Bench) -> None:
    """No upload is open, none is believed to be, and the sequence of commits has no hole."""
    assert bench.open_uploads() == []
    assert bench.known_uploads() == 0
    numbers = [number for number, _, _ in bench.sequence()]
    assert numbers == list(range(1, len(numbers) + 1))
    data = [key for key in bench.server.keys(bench.export.bucket) if key.startswith("export_id=")]
    assert all(key.endswith("/part-00000.parquet") for key in data)
