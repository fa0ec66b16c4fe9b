"""What a filter may ask: the fields, the operators that each accepts, and how a value is read.

This is the allow-list. A name that is not here never gets any further than the parser.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

from export_pipeline.runs.filter_tree import Operator, Value
from export_pipeline.runs.ids import parse_uuid
from export_pipeline.runs.times import BLANKS, NUMBER, instant, micros

EQUALITY: tuple[Operator, ...] = ("eq", "neq")
ORDER: tuple[Operator, ...] = ("gt", "gte", "lt", "lte")
OPERATORS = (*EQUALITY, *ORDER, "in", "like", "has")

_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_SECONDS = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?s")
_MICROS = Decimal(1_000_000)


class Kind(StrEnum):
    """What a field's values are compared as."""

    ID = "id"
    TEXT = "text"
    WORD = "word"
    """A word of a small set; case does not matter."""
    TIME = "time"
    SECONDS = "seconds"
    FLAG = "flag"
    COUNT = "whole number"
    TAGS = "list of texts"
    KEY = "key"
    SCALAR = "text, number, true, false or null"
    NUMBER = "number"


@dataclass(frozen=True)
class FilterField:
    """One field: what it is compared as, and the operators that it accepts."""

    kind: Kind
    operators: tuple[str, ...]


_IDENTITY = (*EQUALITY, "in")
_QUANTITY = (*EQUALITY, *ORDER, "in")
_WRITTEN = (*_QUANTITY, "like")

FAMILIES = ("metadata", "input", "output", "feedback")
"""What has entries, each with a key and a value."""

FIELDS: dict[str, FilterField] = {
    "id": FilterField(Kind.ID, _IDENTITY),
    "trace_id": FilterField(Kind.ID, _IDENTITY),
    "name": FilterField(Kind.TEXT, _WRITTEN),
    "run_type": FilterField(Kind.WORD, (*_IDENTITY, "like")),
    "status": FilterField(Kind.WORD, (*_IDENTITY, "like")),
    "error": FilterField(Kind.TEXT, _WRITTEN),
    "start_time": FilterField(Kind.TIME, _QUANTITY),
    "end_time": FilterField(Kind.TIME, _QUANTITY),
    "latency": FilterField(Kind.SECONDS, _QUANTITY),
    "is_root": FilterField(Kind.FLAG, EQUALITY),
    "tags": FilterField(Kind.TAGS, ("has",)),
    "total_tokens": FilterField(Kind.COUNT, _QUANTITY),
    **{f"{family}_key": FilterField(Kind.KEY, (*_IDENTITY, "like")) for family in FAMILIES},
    **{f"{family}_value": FilterField(Kind.SCALAR, _WRITTEN) for family in FAMILIES if family != "feedback"},
    "feedback_score": FilterField(Kind.NUMBER, _QUANTITY),
}


def ascii_lower(text: str) -> str:
    """The text with its ASCII letters in lower case: what both databases fold in the same way."""
    return text.translate(_ASCII_LOWER)


def _id(value: Value) -> Value:
    if not isinstance(value, str):
        return None
    parsed = parse_uuid(value)
    return value if parsed is None else str(parsed)


def _text(value: Value) -> Value:
    return value if isinstance(value, str) else None


def _word(value: Value) -> Value:
    return ascii_lower(value.strip(BLANKS)) if isinstance(value, str) else None


def _time(value: Value) -> Value:
    if not isinstance(value, str) or NUMBER.fullmatch(value.strip(BLANKS)):
        return None
    parsed = micros(value)
    if parsed is not None:
        return instant(parsed)
    try:
        other = datetime.fromisoformat(value.strip(BLANKS))  # the basic form, weeks
        return (other if other.tzinfo else other.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _seconds(value: Value) -> Value:
    if isinstance(value, str) and (match := _SECONDS.fullmatch(value.strip(BLANKS))):
        return Decimal(match[1])
    if isinstance(value, Decimal) and abs(value) < 10**15 and value * _MICROS % 1 == 0:
        return value
    return None


def _flag(value: Value) -> Value:
    return value if isinstance(value, bool) else None


def _count(value: Value) -> Value:
    if isinstance(value, Decimal) and -(2**63) <= value < 2**63 and value == value.to_integral_value():
        return value
    return None


def _scalar(value: Value) -> Value:
    return value if isinstance(value, (str, Decimal, bool)) else None


def _number(value: Value) -> Value:
    return value if isinstance(value, Decimal) else None


_READERS: dict[Kind, tuple[Callable[[Value], Value], str]] = {
    Kind.ID: (_id, "an id in quotes"),
    Kind.TEXT: (_text, "a text in quotes"),
    Kind.WORD: (_word, "a word in quotes"),
    Kind.TIME: (_time, 'a time such as "2026-01-31T12:00:00Z"'),
    Kind.SECONDS: (_seconds, 'seconds such as 5 or "5s", to the microsecond'),
    Kind.FLAG: (_flag, "true or false"),
    Kind.COUNT: (_count, "a whole number within 64 bits"),
    Kind.TAGS: (_text, "a text in quotes"),
    Kind.KEY: (_text, "a text in quotes"),
    Kind.SCALAR: (_scalar, "a text in quotes, a number, true or false"),
    Kind.NUMBER: (_number, "a number"),
}


def read_value(kind: Kind, value: Value) -> Value:
    """The value as the field compares it; None where the field cannot be compared with it."""
    return _READERS[kind][0](value)


def expected(kind: Kind) -> str:
    """What `read_value` takes, in words."""
    return _READERS[kind][1]


def documentation_table() -> str:
    """Fields and operators as a Markdown table, as it stands in the documentation."""
    rows = ["| field | compared as | " + " | ".join(OPERATORS) + " |", "|---" * (len(OPERATORS) + 2) + "|"]
    for name, field in FIELDS.items():
        marks = " | ".join("✓" if operator in field.operators else "" for operator in OPERATORS)
        rows.append(f"| `{name}` | {field.kind} | {marks} |")
    return "\n".join(rows) + "\n"
