"""The slow path: columns with cells that are not ordinary, mended or derived cell by cell, everything counted.

Columns are finished when they are asked for, because some are derived from others: `trace_id`, `parent_run_id`,
`parent_run_ids` and `dotted_order` from each other and `id` (`tree.py`), `is_root` from `parent_run_id`, `status` from
`error` and `end_time`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.runs import cells, tree
from export_pipeline.runs.cells import Rejected, RejectedCellError, Replaced
from export_pipeline.runs.fast_path import CHOICES
from export_pipeline.runs.ids import parse_uuid, uuid_of
from export_pipeline.runs.schema import FIELD_BY_NAME, Kind, RunField
from export_pipeline.runs.times import BLANKS, EpochUnit, micros

DERIVED_FROM: Mapping[str, tuple[str, ...]] = {
    "trace_id": ("id", "dotted_order", "parent_run_ids", "parent_run_id"),
    "parent_run_ids": ("dotted_order", "parent_run_id", "trace_id"),
    "parent_run_id": ("dotted_order",),
    "is_root": ("parent_run_id", "dotted_order"),
    "status": ("error", "end_time"),
}
"""What a column that the trace store lacks is derived from."""

_SCALARS = {Kind.STRINGS, Kind.TIME, Kind.COUNT, Kind.COST, Kind.FLAG}
"""Where the text `null` can be nothing but JSON's null."""

RUN_TYPE_WHERE_MISSING = "chain"


class SlowPath:
    """The columns of one batch as Python values, odd cells put right.

    `columns` are the raw columns, valid UTF-8, or what the ordinary cells were converted into; `raw` are the raw
    columns throughout. `odd` are the rows of the odd cells of each column that has some.
    """

    def __init__(
        self,
        *,
        columns: Mapping[str, pa.Array],
        raw: Mapping[str, pa.Array],
        spelled: Mapping[str, pa.Array],
        original_ids: dict[int, dict[str, str]],
        odd: Mapping[str, Sequence[int]],
        constants: Mapping[str, UUID],
        epoch_unit: EpochUnit,
    ) -> None:
        self._columns = columns
        self._raw = raw
        self._spelled = spelled
        self._odd = odd
        self._constants = constants
        self._epoch_unit = epoch_unit
        self._finished: dict[str, list[Any]] = {}
        self._raw_lists: dict[str, list[Any]] = {}
        self._places: dict[int, tuple[tree.Place, str | None]] = {}
        self._uuids: dict[str, str] = {}
        self._not_uuids: set[str] = set()
        self._lists: dict[tuple[bool, str], tuple[list[str], set[Replaced]]] = {}
        self._has_error: list[bool | None] | None = None
        self.replaced: dict[tuple[str, Replaced], list[int]] = {}
        self.rejected: dict[int, str] = {}
        self.original_ids = original_ids

    def values(self, name: str) -> list[Any]:
        """The finished column: times as microseconds, costs as decimals, lists as lists (or text, where ordinary)."""
        if name not in self._finished:
            self._finished[name] = self._finish(FIELD_BY_NAME[name])
        return self._finished[name]

    def count(self, name: str, why: Replaced, row: int) -> None:
        """Records that a cell was replaced."""
        self.replaced.setdefault((name, why), []).append(row)

    def _finish(self, field: RunField) -> list[Any]:
        column = self._columns[field.name]
        values = _as_list(column)
        if rows := self._odd.get(field.name):
            values = list(values)
            rule = self._rule(field)
            for row in rows:
                values[row] = rule(field.name, row, self._raw_cell(field.name, row))
        return values

    def _raw_cell(self, name: str, row: int) -> Any:
        """The cell as the trace store holds it, None where it stands for null."""
        if name not in self._raw_lists:
            self._raw_lists[name] = _as_list(self._raw[name])
        cell = self._raw_lists[name][row]
        if not isinstance(cell, str) or name == "name":
            return cell
        is_null = cells.is_null if FIELD_BY_NAME[name].kind in _SCALARS else cells.is_blank
        return None if is_null(cell) else cell

    def _rule(self, field: RunField) -> Callable[[str, int, Any], Any]:
        if field.name in CHOICES:
            return self._choice
        if field.name in tree.COLUMNS:
            return self._placed
        rules: dict[Kind, Callable[[str, int, Any], Any]] = {
            Kind.ID: self._id,
            Kind.TEXT: self._name,
            Kind.TIME: self._time,
            Kind.STRINGS: self._strings,
            Kind.COUNT: self._count,
            Kind.COST: self._cost,
            Kind.FLAG: self._flag,
        }
        return rules[field.kind]

    def _reject(self, name: str, why: str, row: int) -> None:
        self.rejected.setdefault(row, f"{name}: {why}")

    def _uuid(self, text: str) -> str:
        if text not in self._uuids:
            self._uuids[text] = str(uuid_of(text))
            if parse_uuid(text) is None:
                self._not_uuids.add(text)
        return self._uuids[text]

    def _id(self, name: str, row: int, text: str | None) -> str | None:
        if text is None:
            if name == "id":
                self._reject(name, Rejected.MISSING, row)
            return str(self._constants[name]) if name in self._constants else None
        parsed = self._uuid(text)
        if text in self._not_uuids:
            self._keep_original(name, row, text)
        return parsed

    def _keep_original(self, name: str, row: int, text: str) -> None:
        spelled = self._spelled.get(name)
        self.original_ids.setdefault(row, {})[name] = text if spelled is None else spelled[row].as_py()

    def _placed(self, name: str, row: int, _cell: str | None) -> Any:
        if row not in self._places:
            self._places[row] = self._place(row)
        place, dotted_order = self._places[row]
        return dotted_order if name == "dotted_order" else getattr(place, name)

    def _place(self, row: int) -> tuple[tree.Place, str | None]:
        """The run's place in its trace, and its `dotted_order`."""
        trace, listed, dotted = (self._raw_cell(name, row) for name in ("trace_id", "parent_run_ids", "dotted_order"))
        segments = cells.dotted_segments(dotted)
        path = [self._uuid(own) for _, own in segments]
        place = tree.place_of(
            self.values("id")[row],
            trace=self._id("trace_id", row, trace),
            parent=self._id("parent_run_id", row, self._raw_cell("parent_run_id", row)),
            ancestors=None if listed is None else self._strings("parent_run_ids", row, listed),
            path=path,
        )
        for name, why in place.replaced.items():
            self.count(name, why, row)
        if "trace_id" in place.replaced and trace is not None:
            self._keep_original("trace_id", row, trace)
        if dotted is None:
            return place, None
        if not place.leads_here:
            self.count("dotted_order", Replaced.NOT_ITS_PATH, row)
            self._keep_original("dotted_order", row, dotted)
            return place, None
        return place, ".".join(time + own for (time, _), own in zip(segments, path, strict=True))

    def _strings(self, name: str, row: int, text: str | None) -> list[str]:
        if text is None:
            return []
        of_ids = name == "parent_run_ids"
        if (of_ids, text) not in self._lists:
            self._lists[of_ids, text] = cells.ids(text) if of_ids else cells.strings(text)
        texts, notes = self._lists[of_ids, text]
        for why in notes:
            self.count(name, why, row)
        return [self._uuid(each) for each in texts] if of_ids else texts

    def _name(self, name: str, row: int, _text: str | None) -> str:
        self.count(name, Replaced.MISSING, row)
        return ""

    def _time(self, name: str, row: int, cell: str | int | None) -> int | None:
        value = micros(cell, self._epoch_unit) if isinstance(cell, str) else None
        if value is None and name == "start_time":
            self._reject(name, Rejected.MISSING if cell is None else Rejected.NOT_A_TIME, row)
        elif value is None and cell is not None:
            self.count(name, Replaced.NOT_A_TIME, row)
        return value

    def _count(self, name: str, row: int, text: str | None) -> int | None:
        if text is None:
            return None
        if (value := cells.count(text)) is None:
            self.count(name, Replaced.NOT_A_COUNT, row)
        return value

    def _cost(self, name: str, row: int, text: str | None) -> Any:
        try:
            return None if text is None else cells.cost(text)
        except RejectedCellError as error:
            self._reject(name, str(error), row)
            return None

    def _flag(self, name: str, row: int, cell: str | None) -> bool:
        value = None if cell is None else cells.flag(cell)
        if value is None and cell is not None:
            self.count(name, Replaced.NOT_A_FLAG, row)
        return self.values("parent_run_id")[row] is None if value is None else value

    def _choice(self, name: str, row: int, text: str | None) -> str | None:
        word = "" if text is None else text.strip(BLANKS).lower()
        if word in CHOICES[name]:
            return word
        if word:
            self.count(name, Replaced.UNKNOWN, row)
            return word
        if name == "status":
            return self._status(row)
        if name == "run_type":
            self.count(name, Replaced.MISSING, row)
            return RUN_TYPE_WHERE_MISSING
        return None

    def _status(self, row: int) -> str:
        if self._has_error is None:
            self._has_error = pc.greater(pc.binary_length(self._raw["error"]), 0).to_pylist()
        if self._has_error[row]:
            return "error"
        return "pending" if self.values("end_time")[row] is None else "success"


def _as_list(column: pa.Array) -> list[Any]:
    values: list[Any] = (column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values
