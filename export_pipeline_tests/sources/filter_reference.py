"""What a filter means, said again in plain Python over the rows of a store: slow, and by other means than the product.

A row has its cells as the store holds them; text may be bytes that are no UTF-8.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from export_pipeline.runs.cells import strings
from export_pipeline.runs.filter_tree import And, Compare, Filter, Has, In, Like, Not, Or, Search
from export_pipeline.runs.ids import parse_uuid
from export_pipeline.runs.times import BLANKS
from export_pipeline.sources.sql.times import FAR, parse_micros
from export_pipeline_tests.sources.filter_reference_json import Members, Pairs, mended, number, parsed, walk

Row = Mapping[str, Any]


def matches(tree: Filter, row: Row, feedback: Sequence[tuple[Any, Any]] = ()) -> bool:
    """Whether a filter has a row; `feedback` are the keys and scores of its records."""
    return _Judge(row, feedback).judge(tree)


class _Judge:
    def __init__(self, row: Row, feedback: Sequence[tuple[Any, Any]]) -> None:
        self.row, self.feedback = row, feedback

    def text(self, name: str) -> str | None:
        return plain(self.row.get(name))

    def word(self, name: str) -> str | None:
        text = self.text(name)
        return None if text is None else lower(text.strip(BLANKS)) or None

    def judge(self, node: Filter) -> bool:  # noqa: PLR0911 - one for each kind of node
        match node:
            case And(operands):
                return self.all(list(operands))
            case Or(operands):
                return any(self.judge(each) for each in operands)
            case Not(operand):
                return not self.judge(operand)
            case Has(text):
                return text in tags(self.text("tags"))
            case Search(text):
                return self.search(text)
            case Compare(field, "neq", value):
                return not self.judge(Compare(field, "eq", value))
            case Compare(field) | In(field) | Like(field):
                if "_" in field and field.split("_")[1] in {"key", "value", "score"}:
                    return any(self.fits(node, entry) for entry in self.entries(field.split("_")[0]))
                return holds(node, self.value(field))
        raise AssertionError(node)

    def all(self, operands: list[Filter]) -> bool:
        """Operands of an `and`: each key gathers the values of its family that come after it, or before the first."""
        rest: list[Filter] = []
        for family in ("metadata", "input", "output", "feedback"):
            mine = [node for node in operands if getattr(node, "field", "").startswith(f"{family}_")]
            groups: list[list[Filter]] = [[]]
            for node in mine:
                if node.field.endswith("_key") and any(each.field.endswith("_key") for each in groups[-1]):  # type: ignore[attr-defined]
                    groups.append([])
                groups[-1].append(node)
            for group in groups:
                kinds = {node.field.endswith("_key") for node in group}  # type: ignore[attr-defined]
                if kinds == {True, False}:
                    if not any(all(self.fits(node, entry) for node in group) for entry in self.entries(family)):
                        return False
                else:
                    rest += group
            operands = [node for node in operands if node not in mine]
        return all(self.judge(node) for node in rest + operands)

    def fits(self, node: Any, entry: tuple[str, Any]) -> bool:
        if isinstance(node, Compare) and node.operator == "neq":
            return not self.fits(Compare(node.field, "eq", node.value), entry)
        key, value = entry
        if node.field.endswith("_key"):
            return holds(node, key)
        if isinstance(node, Compare) and node.value is None:
            return value is None
        wanted = node.values if isinstance(node, In) else [node.pattern if isinstance(node, Like) else node.value]
        same = [each for each in wanted if type(each) is type(value)]
        if not same:
            return False
        return holds(In(node.field, tuple(same)) if isinstance(node, In) else node, value)

    def entries(self, family: str) -> Pairs:
        if family == "feedback":
            return [(plain(key), number(plain(score))) for key, score in self.feedback]
        value = parsed(self.text({"metadata": "extra", "input": "inputs", "output": "outputs"}[family]))
        if family == "metadata" and isinstance(value, Members):
            value = dict(value.pairs).get("metadata")
        return walk("", value, top=True)

    def value(self, field: str) -> Any:
        values: dict[str, Callable[[], Any]] = {
            "id": lambda: identity(self.text("id")),
            "trace_id": self.trace_id,
            "name": lambda: self.text("name") or "",
            "run_type": lambda: self.word("run_type") or "chain",
            "error": lambda: self.text("error") or None,
            "start_time": lambda: instant(self.row["start_time"]),
            "end_time": lambda: instant(self.row.get("end_time")),
            "latency": self.latency,
            "is_root": self.is_root,
            "status": self.status,
            "total_tokens": lambda: whole(self.text("total_tokens")),
        }
        return values[field]()

    def latency(self) -> Decimal | None:
        start, end = self.value("start_time"), self.value("end_time")
        return None if end is None else Decimal(end - start) / 1_000_000

    def trace_id(self) -> str | None:
        if self.leads_here():
            return identity(self.segments()[0])
        parent, listed = identity(self.text("parent_run_id")), self.listed()
        if listed and parent in {None, listed[-1]}:
            return listed[0]
        return identity(self.text("trace_id")) or parent or self.value("id")

    def listed(self) -> list[str | None]:
        """The ids of `parent_run_ids`."""
        named = [each for each in tags(self.text("parent_run_ids")) if each.strip(BLANKS) and each != "null"]
        return [identity(each[:-2] if re.fullmatch("-?[0-9]+[.]0", each) else each) for each in named]

    def leads_here(self) -> bool:
        """Whether `dotted_order` ends with the run and its parent."""
        path = [identity(run) for run in self.segments()]
        parent = identity(self.text("parent_run_id"))
        return path[-1:] == [self.value("id")] and (parent is None or path[:-1][-1:] == [parent])

    def segments(self) -> list[str]:
        found = [each.partition("Z") for each in (self.text("dotted_order") or "").split(".")]
        ordered = all(re.fullmatch("[0-9]{8}T[0-9]{12}", stamp) and run for stamp, _, run in found)
        return [run for _, _, run in found] if ordered else []

    def is_root(self) -> bool:
        words = {"1": True, "1.0": True, "t": True, "true": True, "0": False, "0.0": False, "f": False, "false": False}
        if (told := words.get(self.word("is_root") or "")) is not None:
            return told
        if self.leads_here():
            return len(self.segments()) == 1
        return self.word("parent_run_id") is None and not self.listed()

    def status(self) -> str:
        if (told := self.word("status")) is not None:
            return told
        if self.text("error"):
            return "error"
        return "pending" if self.value("end_time") is None else "success"

    def search(self, text: str) -> bool:
        plainly = lower(text)
        forms = {plainly, lower(json.dumps(text)[1:-1]), lower(json.dumps(text, ensure_ascii=False)[1:-1])}
        near = any(plainly in lower(self.text(name) or "") for name in ("name", "error"))
        return near or any(form in lower(self.text(name) or "") for name in ("inputs", "outputs") for form in forms)


def holds(node: Any, value: Any) -> bool:
    """A condition against one value."""
    if isinstance(node, Compare) and node.value is None:
        return value is None
    if value is None:
        return False
    if isinstance(node, Like):
        return isinstance(value, str) and like(value, node.pattern)
    if isinstance(node, In):
        return any(holds(Compare(node.field, "eq", each), value) for each in node.values)
    wanted = micros(node.value) if isinstance(node.value, datetime) else node.value
    tests = {
        "eq": lambda: value == wanted,
        "gt": lambda: value > wanted,
        "gte": lambda: value >= wanted,
        "lt": lambda: value < wanted,
        "lte": lambda: value <= wanted,
    }
    return bool(tests[node.operator]())


def like(text: str, pattern: str) -> bool:
    """By the table of which beginnings of the pattern fit which beginnings of the text."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    fits = [True] + [False] * len(text)
    for part in parts:
        if part == "%":
            fits = [any(fits[: place + 1]) for place in range(len(text) + 1)]
        else:
            wanted = part[-1] if part.startswith("\\") else part
            anyone = part == "_"
            fits = [False] + [fits[place] and (anyone or text[place] == wanted) for place in range(len(text))]
    return fits[-1]


def lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


def plain(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else repr(cell)


def identity(text: str | None) -> str | None:
    if text is None or not text.strip(BLANKS):
        return None
    return str(parse_uuid(text) or text)


def micros(value: datetime) -> int:
    since = value - datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant(cell: Any) -> int | None:
    found = parse_micros(cell.encode() if isinstance(cell, str) else cell, "s")
    return None if found is None or abs(found) == FAR else found


def whole(text: str | None) -> Decimal | None:
    found = number(text)
    fits = found is not None and -(2**63) <= found < 2**63 and found == found.to_integral_value()
    return found if fits else None


def tags(text: str | None) -> list[str]:
    if text is None or text.strip(BLANKS) in {"", "null"}:
        return []
    return strings(mended(text))[0] if isinstance(parsed(text), list) else [text]
