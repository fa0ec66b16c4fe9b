"""Several raw batches side by side: their small columns as one, their payload columns apart and untouched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import pyarrow as pa

from export_pipeline.runs.cells import Replaced
from export_pipeline.runs.derived import with_derived
from export_pipeline.runs.respelled import respelled
from export_pipeline.runs.schema import Kind, RunField
from export_pipeline.runs.text import mended


@dataclass
class Gathered:
    """Columns of valid UTF-8 of a few raw batches. Rows are counted through all of them.

    `small` holds each small column in one piece, ids respelled and those that the store lacks derived where that is
    plain; `spelled` the respelled columns as the store has them, `original_ids` the ids in them that are no UUIDs, by
    row and column; `payload` each payload column as one array a batch, `mended` the rows of the cells that had to be,
    by column and reason, `starts` the first row of each batch and the number of all rows.
    """

    starts: Sequence[int]
    small: dict[str, pa.Array] = field(default_factory=dict)
    spelled: dict[str, pa.Array] = field(default_factory=dict)
    original_ids: dict[int, dict[str, str]] = field(default_factory=dict)
    payload: dict[str, list[pa.Array]] = field(default_factory=dict)
    mended: dict[tuple[str, Replaced], list[int]] = field(default_factory=dict)

    def columns(self) -> Mapping[str, pa.Array | pa.ChunkedArray]:
        """All columns by name, each to be asked for a row."""
        return {**self.small, **{name: pa.chunked_array(parts, pa.string()) for name, parts in self.payload.items()}}


def gather(raws: Sequence[pa.RecordBatch], fields: Sequence[RunField]) -> Gathered:
    """The columns `fields` of the batches, which all have the same schema."""
    gathered = Gathered(list(accumulate((raw.num_rows for raw in raws), initial=0)))
    for each in fields:
        parts = [raw.column(each.name) for raw in raws]
        if not each.payload and len(parts) > 1:
            parts = [pa.concat_arrays(parts)]
        if parts[0].type == pa.string():
            parts = [_mended(each, part, start, gathered) for part, start in zip(parts, gathered.starts, strict=False)]
        if each.payload:
            gathered.payload[each.name] = parts
        else:
            gathered.small[each.name] = parts[0]
    found = respelled(gathered.small)
    gathered.spelled, gathered.original_ids = found.spelled, found.original_ids
    gathered.small = with_derived(found.columns)
    return gathered


def _mended(field: RunField, texts: pa.Array, start: int, gathered: Gathered) -> pa.Array:
    # ids that differ in their invalid bytes must not become the same id
    errors = "backslashreplace" if field.kind is Kind.ID else "replace"
    mended_texts, reasons = mended(texts, errors=errors, may_be_bytes=field.kind is Kind.JSON)
    for row, why in reasons.items():
        gathered.mended.setdefault((field.name, why), []).append(start + row)
    return mended_texts
