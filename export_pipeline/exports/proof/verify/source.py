"""A day's file compared with what the trace store holds now: the ids, the values, and how many rows were read."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from export_pipeline.exports.commit.attachments import NamedAttachments
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.proof.verify.file import BlockFile, Found, file_ids, hashed
from export_pipeline.exports.proof.verify.report import What
from export_pipeline.files.content_hash import ContentHash
from export_pipeline.files.manifest import Manifest
from export_pipeline.runs.schema import arrow_schema, select_fields
from export_pipeline.runs.transform import RunTransform
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import RunSource

MOST_NAMED = 5
"""Ids that a problem names; the others are counted."""


def compare_with_source(
    source: RunSource, table: TableRecord, manifest: Manifest, *, ids: pl.Series | None, file: BlockFile | None
) -> list[Found]:
    """What the trace store says otherwise about a day. `ids` are the file's sorted id hashes, None without a file.

    Values are compared by the hash of all rows, where the rows are the same.
    8 bytes a row are in memory for the file and for the trace store, and the ids of one batch.
    """
    window = Window(manifest.window.start, manifest.window.end)
    fields = select_fields(manifest.fields)
    transform = RunTransform(
        tenant_id=table.tenant_id,
        session_id=table.session_id,
        fields=fields,
        format_version=manifest.format_version,
        epoch_unit=source.epoch_unit,
        window=window,
    )
    in_file = pl.Series("ids", dtype=pl.UInt64) if ids is None else ids
    there, missing, rows, written = [pl.Series("ids", dtype=pl.UInt64)], _Named(), 0, 0
    content = ContentHash(arrow_schema(fields, manifest.format_version))
    with source.open(table.project_key, window, manifest.fields, filter=table.tree) as snapshot:
        if manifest.attachments is not None:
            snapshot.keep_attachments(NamedAttachments(table))
        for raw in snapshot.batches():
            batch = transform(raw)
            rows += batch.rows_source
            written += batch.rows.num_rows
            content.update(batch.rows)
            if "id" in batch.rows.schema.names:
                column = batch.rows.column("id")
                there.append(hashed(column))
                missing.add(column, ~_among(there[-1], in_file))
    findings: list[Found] = []
    if rows != manifest.rows_read:
        findings.append((What.SOURCE_ROWS, f"{manifest.rows_read:,}", f"{rows:,}"))
    if missing.count:
        findings.append((What.IDS_MISSING, None, str(missing)))
    if ids is not None and file is not None:
        unknown = _unknown(file_ids(file), pl.concat(there).sort())
        if unknown.count:
            findings.append((What.IDS_UNKNOWN, None, str(unknown)))
    if not findings and manifest.file is not None and written == manifest.rows:
        values = content.hexdigest()
        if values != manifest.file.content_hash:
            findings.append((What.SOURCE_CONTENT, manifest.file.content_hash, values))
    return findings


def _unknown(batches: Iterator[Any], there: pl.Series) -> "_Named":
    unknown = _Named()
    for column in batches:
        unknown.add(column, ~_among(hashed(column), there))
    return unknown


def _among(wanted: pl.Series, ordered: pl.Series) -> pl.Series:
    """Of each hash whether it is among sorted ones."""
    if not len(ordered):
        return pl.repeat(False, len(wanted), eager=True)
    places = ordered.search_sorted(wanted).clip(0, len(ordered) - 1)
    return ordered.gather(places) == wanted


class _Named:
    """Ids, counted, the first few kept."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, column: Any, chosen: pl.Series) -> None:
        if number := int(chosen.sum()):
            self.count += number
            self._first += pl.Series(column).filter(chosen).head(MOST_NAMED - len(self._first)).to_list()

    def __str__(self) -> str:
        more = "" if self.count == len(self._first) else ", …"
        return f"{self.count:,}: {', '.join(self._first)}{more}"
