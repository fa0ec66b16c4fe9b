"""Columns with cells that are not ordinary: mended or derived cell by cell, everything counted.

Columns are finished when they are asked for, because some are derived from others: `trace_id`, `parent_run_id`,
`parent_run_ids` and `is_root` from `dotted_order` and each other, `status` from `error` and `end_time`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.runs import cells
from export_pipeline.runs.cells import Rejected, RejectedCellError, Replaced
from export_pipeline.runs.ids import parse_uuid, uuid_of
from export_pipeline.runs.ordinary import CHOICES
from export_pipeline.runs.schema import FIELD_BY_NAME, Kind, RunField
from export_pipeline.runs.times import BLANKS, EpochUnit, micros

DERIVED_FROM: Mapping[str, tuple[str, ...]] = {
    "trace_id": ("id", "dotted_order", "parent_run_ids", "parent_run_id"),
    "parent_run_ids": ("dotted_order", "parent_run_id", "trace_id"),
    "parent_run_id": ("dotted_order",),
    "is_root": ("parent_run_id", "dotted_order"),
    "status": ("error", "end_time"),
}
"""The columns that must be there to derive a column, all of them: those of the columns named here too."""

RUN_TYPE_WHERE_MISSING = "chain"


class OddCells:
    """The columns of one batch as Python values, odd cells put right.

    `columns` are the raw columns, valid UTF-8, or what the ordinary cells were converted into; `raw` are the raw
    columns throughout. `odd` are the rows of the odd cells of each column that has some.
    """

    def __init__(
        self,
        *,
        columns: Mapping[str, pa.Array],
        raw: Mapping[str, pa.Array],
        odd: Mapping[str, Sequence[int]],
        constants: Mapping[str, UUID],
        epoch_unit: EpochUnit,
    ) -> None:
        self._columns = columns
        self._raw = raw
        self._odd = odd
        self._constants = constants
        self._epoch_unit = epoch_unit
        self._finished: dict[str, list[Any]] = {}
        self._dotted: dict[int, list[str]] = {}
        self._uuids: dict[str, str] = {}
        self._not_uuids: set[str] = set()
        self._lists: dict[str, tuple[list[str], set[Replaced]]] = {}
        self._guessed: set[int] = set()
        self._has_error: list[bool | None] | None = None
        self.replaced: dict[tuple[str, Replaced], list[int]] = {}
        self.rejected: dict[int, str] = {}
        self.original_ids: dict[int, dict[str, str]] = {}

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
            raw = values if column is self._raw[field.name] else _as_list(self._raw[field.name])
            rule = self._rule(field)
            for row in rows:
                cell = raw[row]
                if isinstance(cell, str) and field.name != "name" and cells.is_blank(cell):
                    cell = None
                values[row] = rule(field.name, row, cell)
        return values

    def _rule(self, field: RunField) -> Callable[[str, int, Any], Any]:
        if field.name in CHOICES:
            return self._choice
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

    def _ids_of_dotted_order(self, row: int) -> list[str]:
        if row not in self._dotted:
            self._dotted[row] = cells.dotted_ids(self.values("dotted_order")[row])
        return self._dotted[row]

    def _id(self, name: str, row: int, text: str | None) -> str | None:
        if text is None:
            return self._id_where_null(name, row)
        found = self._uuid(text)
        if text in self._not_uuids:
            self.original_ids.setdefault(row, {})[name] = text
        return found

    def _id_where_null(self, name: str, row: int) -> str | None:
        if name in self._constants:
            return str(self._constants[name])
        if name == "id":
            self._reject(name, Rejected.MISSING, row)
        if name == "parent_run_id":
            ancestors = self._ids_of_dotted_order(row)[:-1]
            return ancestors[-1] if ancestors else None
        if name == "trace_id":
            return self._trace_id(row)
        return None

    def _trace_id(self, row: int) -> str | None:
        if found := self._ids_of_dotted_order(row):
            return found[0]
        ancestors = self.values("parent_run_ids")[row]
        if isinstance(ancestors, str):
            ancestors = json.loads(ancestors)
        if not ancestors:
            return str(self.values("id")[row])
        if row in self._guessed:
            self.count("trace_id", Replaced.GUESSED, row)
        return str(ancestors[0])

    def _ancestors(self, row: int) -> list[str]:
        """What is known of a run's ancestors where its `parent_run_ids` is null."""
        if found := self._ids_of_dotted_order(row):
            return found[:-1]
        if (parent := self.values("parent_run_id")[row]) is None:
            return []
        trace = self._raw["trace_id"][row].as_py()
        root = None if trace is None or cells.is_blank(trace) else self._uuid(trace)
        if root == parent:
            return [parent]
        self._guessed.add(row)
        self.count("parent_run_ids", Replaced.GUESSED, row)
        return [parent] if root is None else [root, parent]

    def _strings(self, name: str, row: int, text: str | None) -> list[str]:
        if text is None:
            return self._ancestors(row) if name == "parent_run_ids" else []
        if text not in self._lists:
            self._lists[text] = cells.strings(text)
        found, notes = self._lists[text]
        if name == "parent_run_ids":
            ids = [self._uuid(each) for each in found if not cells.is_blank(each) and each != "null"]
            notes = notes | ({Replaced.NOT_A_STRING} if len(ids) < len(found) else set())
            found = ids
        for why in notes:
            self.count(name, why, row)
        return found

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
