"""Columns that a trace store does not have, read off `dotted_order` for all rows at once.

Only what is plain is done here, for speed: columns without any cell, and a `dotted_order` with canonical UUIDs. All
else is derived cell by cell in `odd.py`, to the same effect.
"""

from collections.abc import Mapping

import polars as pl
import pyarrow as pa

_SEGMENT = "[0-9]{8}T[0-9]{12}Z[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_STAMP = len("20260131T235959123456Z")
_ID = 36
_PARENT_FROM_END = _ID + 1 + _STAMP + _ID


def _rules() -> dict[str, pl.Expr]:
    plain = pl.when(pl.col("order").str.contains(rf"^{_SEGMENT}(?:\.{_SEGMENT})*$")).then(pl.col("order"))
    has_parent = plain.str.contains(".", literal=True)
    segments = plain.str.split(".")
    ancestors = segments.list.head(segments.list.len() - 1).list.eval(pl.element().str.slice(_STAMP)).list.join('","')
    rules = {
        "trace_id": plain.str.slice(_STAMP, _ID),
        "parent_run_id": pl.when(has_parent).then(plain.str.slice(-_PARENT_FROM_END, _ID)),
        "parent_run_ids": pl.when(has_parent)
        .then(pl.lit('["') + ancestors + pl.lit('"]'))
        .when(~has_parent)
        .then(pl.lit("[]")),
    }
    return {name: rule.alias(name) for name, rule in rules.items()}


_RULES = _rules()


def with_derived(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """The small raw columns, with `trace_id`, `parent_run_id` and `parent_run_ids` filled in.

    They are filled where they are null throughout, in the raw form: ids, and lists as JSON text.
    """
    order = columns.get("dotted_order")
    found = dict(columns)
    if order is None or order.null_count == len(order):
        return found
    missing = [rule for name, rule in _RULES.items() if name in found and found[name].null_count == len(found[name])]
    if missing:
        for answer in pl.DataFrame({"order": pl.Series(order)}).select(missing).iter_columns():
            found[answer.name] = answer.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
    return found
