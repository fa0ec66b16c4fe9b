"""A filter asked of one row in Python, for a database whose SQL cannot say all that a filter asks.

It means what `filter` compiles for the others: a condition that is null counts as false, and `not` is its complement.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from operator import eq, ge, gt, le, lt
from typing import Any

from export_pipeline.runs.cells import FLAGS
from export_pipeline.runs.filter_fields import ascii_lower
from export_pipeline.runs.filter_tree import (
    And,
    Compare,
    Condition,
    Entry,
    Filter,
    Has,
    In,
    Like,
    Not,
    Or,
    Search,
    Value,
    entry_part,
    paired,
)
from export_pipeline.runs.times import BLANKS, EpochUnit, microseconds
from export_pipeline.sources.sql.filter_cells import (
    compare,
    entries,
    has,
    id_of,
    like,
    listed,
    number_of,
    on_path,
    text_of,
    whole_of,
)
from export_pipeline.sources.sql.times import FAR, parse_micros

FEEDBACK = "feedback"
"""The cell that holds a run's feedback: a JSON list of pairs, key and score, both as text or null."""

Row = Mapping[str, Any]
_TESTS: dict[str, Callable[[Any, Any], bool]] = {"eq": eq, "gt": gt, "gte": ge, "lt": lt, "lte": le}
_PAYLOADS = {"metadata": "extra", "input": "inputs", "output": "outputs"}
_AVERAGE = ".avg"
_PLACE = ("id", "parent_run_id", "parent_run_ids", "dotted_order")
_READ = {
    "latency": ("start_time", "end_time"),
    "is_root": ("is_root", *_PLACE),
    "trace_id": ("trace_id", *_PLACE),
    "status": ("status", "error", "end_time"),
}


def fields_read(node: Filter) -> frozenset[str]:
    """The fields that a filter reads, and `FEEDBACK` for single records."""
    if isinstance(node, (And, Or)):
        return frozenset().union(*map(fields_read, node.operands))
    if isinstance(node, Not):
        return fields_read(node.operand)
    if isinstance(node, Search):
        return frozenset(("name", "error", "inputs", "outputs"))
    if isinstance(node, Has):
        return frozenset(("tags",))
    if (part := entry_part(node)) is not None:
        return frozenset((FEEDBACK, "feedback_stats")) if part[0] == "feedback" else frozenset((_PAYLOADS[part[0]],))
    assert isinstance(node, (Compare, In, Like))  # noqa: S101
    return frozenset(_READ.get(node.field, (node.field,)))


class RowFilter:
    """A filter; `unit` is that of times that are numbers.

    A row has its cells by field: text as str or bytes, which need be no UTF-8, times as microseconds or text. A field
    that the store does not have is missing or None. Without a cell `FEEDBACK` the averages stand in for it.
    """

    def __init__(self, tree: Filter, *, unit: EpochUnit) -> None:
        self._tree, self._unit = tree, unit

    def matches(self, row: Row) -> bool:
        """Whether the filter has the row."""
        return self._judge(self._tree, row)

    def _judge(self, node: Filter | Entry, row: Row) -> bool:  # noqa: PLR0911 - one for each kind of node
        match node:
            case And(operands):
                return all(self._judge(each, row) for each in paired(operands))
            case Or(operands):
                return any(self._judge(each, row) for each in operands)
            case Not(operand):
                return not self._judge(operand, row)
            case Search(text):
                return _search(text, row)
            case Has(text):
                return has(row.get("tags"), text)
            case Entry(family, keys, values):
                return any(
                    all(_holds(each, key) for each in keys) and all(_fits(each, kind, text) for each in values)
                    for key, kind, text in _entries(row, family, keys)
                )
            case Compare() | In() | Like():
                return self._alone(node, row)
        raise TypeError(f"{type(node).__name__} is not a node of a filter")

    def _alone(self, node: Condition, row: Row) -> bool:
        part = entry_part(node)
        if part is None:
            return _holds(node, self._value(node.field, row))
        family, is_key = part
        negated = isinstance(node, Compare) and node.operator == "neq"
        if isinstance(node, Compare) and negated:
            node = Compare(node.field, "eq", node.value)
        return negated is not self._judge(Entry(family, (node,) if is_key else (), () if is_key else (node,)), row)

    def _value(self, name: str, row: Row) -> Any:
        """What a condition on a field compares: ids and words in their one form, times as microseconds."""
        read: dict[str, Callable[[], Any]] = {
            "id": lambda: id_of(row.get("id")),
            "trace_id": lambda: _trace_id(row),
            "name": lambda: text_of(row.get("name")) or "",
            "run_type": lambda: _word(row.get("run_type")) or "chain",
            "status": lambda: self._status(row),
            "error": lambda: text_of(row.get("error")) or None,
            "start_time": lambda: self._micros(row.get("start_time")),
            "end_time": lambda: self._micros(row.get("end_time")),
            "latency": lambda: self._latency(row),
            "is_root": lambda: _is_root(row),
            "total_tokens": lambda: whole_of(row.get("total_tokens")),
        }
        return read[name]()

    def _micros(self, cell: Any) -> int | None:
        """Cells of native times are microseconds already."""
        if isinstance(cell, int):
            return cell
        micros = parse_micros(cell.encode("utf-8", "replace") if isinstance(cell, str) else cell, self._unit)
        return None if micros is None or abs(micros) == FAR else micros

    def _latency(self, row: Row) -> Decimal | None:
        start, end = self._micros(row.get("start_time")), self._micros(row.get("end_time"))
        return None if start is None or end is None else Decimal(end - start) / 1_000_000

    def _status(self, row: Row) -> str:
        if (told := _word(row.get("status"))) is not None:
            return told
        if text_of(row.get("error")):
            return "error"
        return "pending" if self._micros(row.get("end_time")) is None else "success"


def _word(cell: Any) -> str | None:
    text = text_of(cell)
    return None if text is None else ascii_lower(text.strip(BLANKS)) or None


def _leads_here(row: Row) -> bool:
    """Whether a `dotted_order` is believed (`runs.tree`)."""
    dotted, parent = row.get("dotted_order"), id_of(row.get("parent_run_id"))
    own = on_path(dotted, "own")
    return own is not None and own == id_of(row.get("id")) and parent in {None, on_path(dotted, "parent")}


def _is_root(row: Row) -> bool:
    if (told := _flag(row.get("is_root"))) is not None:
        return told
    if _leads_here(row):
        return on_path(row.get("dotted_order"), "parent") is None
    return id_of(row.get("parent_run_id")) is None and listed(row.get("parent_run_ids"), "last") is None


def _flag(cell: Any) -> bool | None:
    return cell if isinstance(cell, bool) else FLAGS.get(_word(cell) or "")


def _trace_id(row: Row) -> str | None:
    if _leads_here(row):
        return on_path(row.get("dotted_order"), "root")
    parent, last = id_of(row.get("parent_run_id")), listed(row.get("parent_run_ids"), "last")
    if last is not None and parent in {None, last}:
        return listed(row.get("parent_run_ids"), "first")
    return id_of(row.get("trace_id")) or parent or id_of(row.get("id"))


def _search(text: str, row: Row) -> bool:
    plain = ascii_lower(text)
    written = {plain, ascii_lower(json.dumps(text, ensure_ascii=False)[1:-1]), ascii_lower(json.dumps(text)[1:-1])}
    for forms, names in (({plain}, ("name", "error")), (written, ("inputs", "outputs"))):
        cells = (text_of(row.get(name)) for name in names)
        if any(form in ascii_lower(cell) for cell in cells if cell is not None for form in forms):
            return True
    return False


def _entries(row: Row, family: str, keys: tuple[Condition, ...]) -> Iterator[tuple[str | None, str, str | None]]:
    wanted = next((str(key.value) for key in keys if isinstance(key, Compare) and key.operator == "eq"), None)
    if family != "feedback":
        yield from entries(row.get(_PAYLOADS[family]), "metadata" if family == "metadata" else None, wanted)
    elif FEEDBACK in row:
        for key, score in json.loads(text_of(row[FEEDBACK]) or "[]"):
            number = number_of(score)
            yield key, "null" if number is None else "number", number
    else:
        for key, kind, text in entries(row.get("feedback_stats"), None, None):
            if key.endswith(_AVERAGE) and kind in {"number", "null"}:
                yield key.removesuffix(_AVERAGE), kind, text


def _holds(node: Condition, value: Any) -> bool:
    """A condition against a value that is null, text, a number, a flag or microseconds."""
    if isinstance(node, Like):
        return bool(like(value, node.pattern))
    if isinstance(node, In):
        return any(_holds(Compare(node.field, "eq", each), value) for each in node.values)
    if node.operator == "neq":
        return not _holds(Compare(node.field, "eq", node.value), value)
    if node.value is None:
        return value is None
    wanted = microseconds(node.value) if isinstance(node.value, datetime) else node.value
    return value is not None and _TESTS[node.operator](value, wanted)


def _fits(node: Condition, kind: str, text: str | None) -> bool:
    """A condition against the value of an entry."""
    if isinstance(node, Like):
        return kind == "string" and bool(like(text, node.pattern))
    if isinstance(node, In):
        return any(_is_typed("eq", each, kind, text) for each in node.values)
    if node.operator == "neq":
        return not _is_typed("eq", node.value, kind, text)
    return _is_typed(node.operator, node.value, kind, text)


def _is_typed(operator: str, value: Value, kind: str, text: str | None) -> bool:
    if value is None:
        return kind == "null"
    if isinstance(value, bool):
        return kind == "boolean" and text is not None and _TESTS[operator](text, "true" if value else "false")
    if isinstance(value, Decimal):
        order = compare(number_of(text), str(value)) if kind == "number" else None
        return order is not None and _TESTS[operator](order, 0)
    return kind == "string" and text is not None and _TESTS[operator](text, value)
