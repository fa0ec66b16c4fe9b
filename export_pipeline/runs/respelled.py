"""Ids in the spelling of the files, for all rows at once: the ids of most stores of spans are no UUIDs.

Only for speed, and to the same effect as `slow_path.py`, to which everything is left that is not a column of such ids
throughout: whether it is one is told by its first cell, so that other columns cost nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from export_pipeline.runs.cells import PLAIN_DOTTED, SEGMENT_TIME, is_blank
from export_pipeline.runs.ids import CANONICAL_UUID, parse_uuid, uuid_of
from export_pipeline.runs.schema import RUN_FIELDS, Kind

_IDS = tuple(each.name for each in RUN_FIELDS if each.kind is Kind.ID)
_FIRST = 16
"""Cells that are looked at one by one before all are: to ask Polars costs a small day a millisecond a column."""
_STAMP = len("20260131T235959123456Z")
_SEGMENTS = rf"^{SEGMENT_TIME}[^.]+(?:\.{SEGMENT_TIME}[^.]+)*$"


@dataclass
class Respelled:
    """The columns, those of other ids respelled; `spelled` holds these as the store has them.

    `original_ids` are, by row and column, the ids that are no UUIDs.
    """

    columns: dict[str, pa.Array]
    spelled: dict[str, pa.Array] = field(default_factory=dict)
    original_ids: dict[int, dict[str, str]] = field(default_factory=dict)


def respelled(columns: Mapping[str, pa.Array]) -> Respelled:
    """The small raw columns, valid UTF-8, with ids as UUIDs in the usual spelling wherever that is plain."""
    found = Respelled(dict(columns))
    uuids: dict[str, str] = {}
    for name in _IDS:
        if name in columns and not _begins_with(CANONICAL_UUID, columns[name]):
            found.spelled[name] = columns[name]
            found.columns[name] = _respelled(columns[name], uuids)
            _keep_originals(name, columns[name], uuids, found.original_ids)
    if "dotted_order" in columns and not _begins_with(PLAIN_DOTTED, columns["dotted_order"]):
        found.spelled["dotted_order"] = columns["dotted_order"]
        found.columns["dotted_order"] = _respelled_paths(columns["dotted_order"], uuids)
    return found


def _begins_with(pattern: str, column: pa.Array) -> bool:
    """Whether the first cell that is not null is of this form; so is a column without any."""
    if column.null_count == len(column):
        return True
    first = next((cell for cell in column[:_FIRST].to_pylist() if cell is not None), None)
    if first is None:
        # Arrow's own `index` begins threads, whose memory arenas stay: 50 MB for a day of large payloads.
        first = column[pl.Series(column).is_not_null().arg_max() or 0].as_py()
    return re.fullmatch(pattern, first) is not None


def _respelled(column: pa.Array, uuids: dict[str, str]) -> pa.Array:
    cells = pl.Series(column)
    for text in cells.unique().drop_nulls().to_list():
        if text not in uuids:
            uuids[text] = text if is_blank(text) else str(uuid_of(text))
    return _mapped(cells, uuids).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())


def _mapped(cells: pl.Series, uuids: Mapping[str, str]) -> pl.Series:
    return cells.replace_strict(pl.Series(list(uuids)), pl.Series(list(uuids.values())), return_dtype=pl.String)


def _keep_originals(
    name: str, column: pa.Array, uuids: Mapping[str, str], originals: dict[int, dict[str, str]]
) -> None:
    others = {text for text, own in uuids.items() if own != text and parse_uuid(text) is None}
    for row, text in enumerate(column.to_pylist() if others else ()):
        if text in others:
            originals.setdefault(row, {})[name] = text


def _respelled_paths(column: pa.Array, uuids: dict[str, str]) -> pa.Array:
    """The same for `dotted_order`; a text that is none stays as it is."""
    paths = pl.DataFrame({"path": pl.Series(column)}).with_row_index()
    segments = (
        paths.filter(pl.col("path").str.contains(_SEGMENTS))
        .with_columns(pl.col("path").str.split("."))
        .explode("path")
        .select("index", stamp=pl.col("path").str.head(_STAMP), own=pl.col("path").str.slice(_STAMP))
    )
    for text in segments["own"].unique().to_list():
        if text not in uuids:
            uuids[text] = str(uuid_of(text))
    respelt = (
        segments.with_columns(_mapped(segments["own"], uuids))
        .group_by("index", maintain_order=True)
        .agg((pl.col("stamp") + pl.col("own")).str.join("."))
        .rename({"stamp": "respelt"})
    )
    joined = paths.join(respelt, on="index", how="left", maintain_order="left")
    whole = joined.select(pl.coalesce("respelt", "path"))["respelt"]
    return whole.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
