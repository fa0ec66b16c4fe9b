"""A run's `dotted_order` where a store has only parents: a walk upwards, a step for all rows of a window at a time.

Ancestors are looked for in the window and the day before it. A path that comes to a run twice is none.
"""

from dataclasses import dataclass

from export_pipeline.sources.sql.dialect import Column, Dialect
from export_pipeline.sources.sql.path import MAX_DEPTH, above_of, segment_of


@dataclass(frozen=True)
class Tree:
    """The walk over a source of rows r; `newest` orders versions of a run, and is empty where there are none."""

    dialect: Dialect
    fields: dict[str, Column]
    source: str
    newest: tuple[str, ...]

    @property
    def path(self) -> str:
        """The `dotted_order` of row r, to which the join has been made."""
        above = above_of(self.dialect, self.fields["parent_run_id"])
        return f"if({above} IS NULL, {segment_of(self.dialect, self.fields)}, nullIf(p.path, ''))"

    def join(self, *, rows: str, ancestors: str) -> str:
        """The join with the paths of the rows that fulfil the one condition, of ancestors that fulfil the other."""
        known = self._known(ancestors)
        first = f"SELECT run, above, segment AS path, 1 AS depth FROM ({self._known(rows)}) WHERE above <> ''"
        step = (
            f"SELECT up.run, n.above, concat(n.segment, '.', up.path), up.depth + 1 FROM up JOIN ({known}) AS n "
            f"ON n.run = up.above WHERE up.depth < {MAX_DEPTH} AND position(up.path, n.segment) = 0"
        )
        walk = f"WITH RECURSIVE up AS ({first} UNION ALL {step}) SELECT run, path FROM up WHERE above = ''"
        return f" LEFT ANY JOIN ({walk}) AS p ON p.run = {self.dialect.id(self.fields['id'])}"

    def _known(self, condition: str) -> str:
        """Rows of run, above (empty for a root), segment; each run once."""
        own = self.dialect.id(self.fields["id"])
        above = f"COALESCE(toString({above_of(self.dialect, self.fields['parent_run_id'])}), '')"
        segment = segment_of(self.dialect, self.fields)
        where = f"FROM {self.source} WHERE {condition} AND {own} IS NOT NULL AND {segment} IS NOT NULL"
        if not self.newest:
            return f"SELECT {own} AS run, {above} AS above, {segment} AS segment {where}"
        newest = f"tuple({', '.join(self.newest)})"
        return (
            f"SELECT {own} AS run, argMax({above}, {newest}) AS above, argMax({segment}, {newest}) AS segment {where} "
            f"GROUP BY run"
        )
