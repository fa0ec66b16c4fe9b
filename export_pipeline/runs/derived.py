"""Columns that a trace store does not have, read off `dotted_order` for all rows at once.

Only what is plain is done here, for speed: columns without any cell, and a `dotted_order` of canonical UUIDs that ends
with the run's own. All else is derived cell by cell in `slow_path.py`, to the same effect.
"""

from collections.abc import Mapping

import polars as pl
import pyarrow as pa

from export_pipeline.runs.cells import PLAIN_DOTTED, SEGMENT_TIME

_ID = 36

_ORDER = pl.col("order")
_LEADS_HERE = _ORDER.str.ends_with(pl.col("id")) & _ORDER.str.contains(f"^{PLAIN_DOTTED}$")
_IDS = pl.when(_LEADS_HERE).then(_ORDER).str.replace_all(SEGMENT_TIME, "").alias("ids")
"""The ids in a plain `dotted_order`, from the root to the run itself, with dots between them."""
_ANCESTORS = pl.col("ids").str.head(-_ID - 1)
_RULES = {
    "trace_id": pl.col("ids").str.head(_ID),
    "parent_run_id": pl.when(_ANCESTORS != "").then(_ANCESTORS.str.tail(_ID)),
    "parent_run_ids": pl.when(_ANCESTORS == "")
    .then(pl.lit("[]"))
    .otherwise(pl.lit('["') + _ANCESTORS.str.replace_all(".", '","', literal=True) + pl.lit('"]')),
}


def with_derived(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """The small raw columns, with `trace_id`, `parent_run_id` and `parent_run_ids` filled in.

    They are filled where they are null throughout, in the raw form: ids, and lists as JSON text.
    """
    order = columns.get("dotted_order")
    arrays = dict(columns)
    if order is None or order.null_count == len(order):
        return arrays
    missing = {
        name: rule for name, rule in _RULES.items() if name in arrays and arrays[name].null_count == len(arrays[name])
    }
    if missing:
        ids = pl.DataFrame({"order": pl.Series(order), "id": pl.Series(columns["id"])}).select(_IDS)
        for answer in ids.select(**missing).iter_columns():
            arrays[answer.name] = answer.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
    return arrays
