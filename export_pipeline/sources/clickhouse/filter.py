"""What of a filter ClickHouse can decide: rows that certainly do not match are left out there.

ClickHouse's own readers of JSON and numbers round, and refuse what others take. So a filter is judged in Python, by
the one rule for rows (`sql.filter_rows`); here stands what every row that matches must fulfil, so that most others
are never sent. Where nothing can be said of a condition, all rows pass.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from export_pipeline.runs.filter_fields import ascii_lower
from export_pipeline.runs.filter_tree import And, Compare, Filter, In, Or, Search, Value, entry_part
from export_pipeline.runs.ids import parse_uuid
from export_pipeline.runs.times import microseconds
from export_pipeline.sources.clickhouse.dialect import ClickhouseDialect, bound
from export_pipeline.sources.clickhouse.types import INTEGERS, NATIVE_TIMES, family
from export_pipeline.sources.sql.dialect import Column

_SIGNS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_PAYLOADS = {"metadata": "extra", "input": "inputs", "output": "outputs"}
_REPLACEMENT = "\ufffd"
"""Stands for bytes that are no UTF-8, so that a text with it may be written in other bytes."""


@dataclass(frozen=True)
class Narrowing:
    """Finds what the rows of a filter fulfil; `column` gives the column of a field, or None."""

    dialect: ClickhouseDialect
    column: Callable[[str], Column | None]

    def condition(self, node: Filter) -> str | None:
        """A condition that is true for every row that matches; None where nothing is known."""
        match node:
            case And(operands):
                return _joined(
                    " AND ", (narrowed for each in operands if (narrowed := self.condition(each)) is not None)
                )
            case Or(operands):
                found_all = [self.condition(each) for each in operands]
                return None if None in found_all else _joined(" OR ", filter(None, found_all))
            case Search(text):
                return self._search(text)
            case Compare(field, operator, value) if operator != "neq" and value is not None:
                return self._compared(node, field, operator, (value,))
            case In(field, values):
                return self._compared(node, field, "eq", values)
        return None

    def _compared(self, node: Filter, field: str, operator: str, values: tuple[Value, ...]) -> str | None:
        if (part := entry_part(node)) is not None:
            return self._entry(part[0], values) if operator == "eq" else None
        column = self.column(field)
        if column is None:
            return None
        if field in {"start_time", "end_time"} and family(column.type) in NATIVE_TIMES:
            instants = [microseconds(each) for each in values if isinstance(each, datetime)]
            return _any(f"{self.dialect.time(column).instant} {_SIGNS[operator]} {each}" for each in instants)
        if field == "total_tokens" and column.type in INTEGERS:
            numbers = [int(each) for each in values if isinstance(each, Decimal)]
            return _any(f"{column.sql} {_SIGNS[operator]} {each}" for each in numbers)
        texts = [each for each in values if isinstance(each, str)]
        if operator != "eq" or len(texts) != len(values) or any(not each or _REPLACEMENT in each for each in texts):
            return None
        return self._equal(field, column, texts)

    def _equal(self, field: str, column: Column, texts: list[str]) -> str | None:
        x = self.dialect.text(column)
        if field in {"name", "error"}:
            return f"{x} IN ({', '.join(map(bound, texts))})"
        if field == "id":
            return _any(self._is_id(x, each) for each in texts)
        if field in {"status", "run_type"}:
            unsaid = field == "status" or "chain" in texts
            said = [f"position(lower({x}), {bound(each)}) > 0" for each in texts]
            return _any([*said, f"match(COALESCE({x}, ''), '^[ \\\\t\\\\r\\\\n\\\\f\\\\v]*$')"] if unsaid else said)
        return None

    @staticmethod
    def _is_id(x: str, text: str) -> str:
        parsed = parse_uuid(text)
        if parsed is None:
            return f"{x} = {bound(text)}"
        return f"position(replaceAll(lower({x}), '-', ''), '{parsed.hex}') > 0"

    def _search(self, text: str) -> str | None:
        if not text or _REPLACEMENT in text:
            return None
        forms = {
            ascii_lower(each) for each in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        }
        columns = filter(None, map(self.column, ("name", "error", "inputs", "outputs")))
        places = [f"lower({self.dialect.text(each)})" for each in columns]
        return _any(f"position({place}, {bound(form)}) > 0" for place in places for form in sorted(forms))

    def _entry(self, family_: str, values: tuple[Value, ...]) -> str | None:
        """A text without an escape holds its strings and keys as they are."""
        column = self.column(_PAYLOADS[family_]) if family_ in _PAYLOADS else None
        if column is None or any(
            not isinstance(each, str) or not each or {".", _REPLACEMENT} & set(each) for each in values
        ):
            return None
        x = self.dialect.text(column)
        return _any([*(f"position({x}, {bound(str(each))}) > 0" for each in values), f"position({x}, '\\\\') > 0"])


def _any(conditions: Iterable[str]) -> str | None:
    return _joined(" OR ", conditions)


def _joined(word: str, conditions: Iterable[str]) -> str | None:
    parts = [f"COALESCE({each}, false)" for each in conditions]
    return f"({word.join(parts)})" if parts else None
