"""A filter as a tree: frozen, typed, and written back by `str()` as a text that parses to the same tree."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

Operator = Literal["eq", "neq", "gt", "gte", "lt", "lte"]
Value = str | Decimal | bool | datetime | None


class Filter:
    """Any node. A tree comes from `parse_filter`, which checks what nodes by themselves do not."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class And(Filter):
    """All of the operands. A key and the values after it are judged on one and the same entry (`paired`)."""

    operands: tuple[Filter, ...]

    def __str__(self) -> str:
        return f"and({', '.join(map(str, self.operands))})"


@dataclass(frozen=True, slots=True)
class Or(Filter):
    """Any of the operands."""

    operands: tuple[Filter, ...]

    def __str__(self) -> str:
        return f"or({', '.join(map(str, self.operands))})"


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """Exactly the rows that the operand leaves out."""

    operand: Filter

    def __str__(self) -> str:
        return f"not({self.operand})"


@dataclass(frozen=True, slots=True)
class Compare(Filter):
    """A field against a value; with None only `eq` and `neq`."""

    field: str
    operator: Operator
    value: Value

    def __str__(self) -> str:
        return f"{self.operator}({self.field}, {_literal(self.value)})"


@dataclass(frozen=True, slots=True)
class In(Filter):
    """A field against each of some values, none of them null."""

    field: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"in({self.field}, [{', '.join(map(_literal, self.values))}])"


@dataclass(frozen=True, slots=True)
class Like(Filter):
    """A field against a pattern: `%` any text, `_` any one character, a backslash before what stands for itself."""

    field: str
    pattern: str

    def __str__(self) -> str:
        return f"like({self.field}, {_literal(self.pattern)})"


@dataclass(frozen=True, slots=True)
class Has(Filter):
    """Whether a text is among the tags."""

    text: str

    def __str__(self) -> str:
        return f"has(tags, {_literal(self.text)})"


@dataclass(frozen=True, slots=True)
class Search(Filter):
    """Whether a text occurs in name, error, inputs or outputs."""

    text: str

    def __str__(self) -> str:
        return f"search({_literal(self.text)})"


Condition = Compare | In | Like


@dataclass(frozen=True, slots=True)
class Entry:
    """Conditions on the key and on the value of one and the same entry."""

    family: str
    keys: tuple[Condition, ...]
    values: tuple[Condition, ...]


def entry_part(node: Filter) -> tuple[str, bool] | None:
    """The family of entries that a condition asks about, and whether it asks about the key; None for other nodes."""
    if not isinstance(node, (Compare, In, Like)):
        return None
    family, _, part = node.field.partition("_")
    if part not in {"key", "value", "score"}:
        return None
    return family, part == "key"


def is_quick(node: Filter) -> bool:
    """Whether a filter is judged in not much more time than counting takes: it reads no inputs, outputs or feedback."""
    if isinstance(node, (And, Or)):
        return all(map(is_quick, node.operands))
    if isinstance(node, Not):
        return is_quick(node.operand)
    part = entry_part(node)
    return not isinstance(node, Search) and (part is None or part[0] == "metadata")


def paired(operands: Sequence[Filter]) -> Iterator[Filter | Entry]:
    """The operands of an `and`, keys and their values put together.

    A key takes the values of its family that stand after it, up to the next key; values that stand before the only
    key belong to it too. A key without values, and values without any key, are conditions of their own.
    """
    open_: dict[str, tuple[list[Condition], list[Condition]]] = {}
    for node in operands:
        part = entry_part(node)
        if part is None or not isinstance(node, (Compare, In, Like)):
            yield node
            continue
        family, is_key = part
        if is_key and family in open_ and open_[family][0]:
            yield from _closed(family, *open_.pop(family))
        keys, values = open_.setdefault(family, ([], []))
        (keys if is_key else values).append(node)
    for family, (keys, values) in open_.items():
        yield from _closed(family, keys, values)


def _closed(family: str, keys: list[Condition], values: list[Condition]) -> Iterator[Filter | Entry]:
    if keys and values:
        yield Entry(family, tuple(keys), tuple(values))
    else:
        yield from (*keys, *values)


def _literal(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value.isoformat() if isinstance(value, datetime) else value, ensure_ascii=False)
