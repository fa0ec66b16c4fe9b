"""SQLite's words for filters: what its own functions do otherwise than PostgreSQL's is done in Python."""

import json
import re
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from typing_extensions import override

from export_pipeline.runs import cells
from export_pipeline.runs.ids import parse_uuid
from export_pipeline.runs.times import BLANKS, NUMBER
from export_pipeline.sources.sql import filter_json
from export_pipeline.sources.sql.dialect import Column
from export_pipeline.sources.sql.filter_words import BoundKind, FilterWords, ListPlace, PathPlace
from export_pipeline.sources.sql.times import FAR
from export_pipeline.sources.sqlite.dialect import SqliteDialect

MAX_NUMBER = 1_000
"""Characters of a number; longer ones are none."""

_PREFIX = "export_pipeline_filter_"
_BLANKS = f"char({', '.join(str(ord(blank)) for blank in BLANKS)})"
_LARGE = re.compile(r"[eE][+-]?0*[0-9]{4,}$")


def parameter(number: int) -> str:
    """The name of a bound value."""
    return f"filter_{number}"


class SqliteFilterWords(FilterWords):
    """SQLite's words for filters."""

    def __init__(self, dialect: SqliteDialect) -> None:
        self._dialect = dialect

    @override
    def bound(self, number: int, kind: BoundKind) -> str:
        return f":{parameter(number)}"

    @override
    def text(self, column: Column) -> str:
        return _call("text", _value(column.sql))

    @override
    def haystack(self, column: Column) -> str:
        return f"lower({self.text(column)})"

    @override
    def id(self, column: Column) -> str:
        return _call("id", _value(f"({self._dialect.id(column)})"))

    @override
    def on_path(self, column: Column, place: PathPlace) -> str:
        return _call("on_path", _value(column.sql), f"'{place}'")

    @override
    def listed(self, column: Column, place: ListPlace) -> str:
        return _call("listed", _value(column.sql), f"'{place}'")

    @override
    def word(self, column: Column) -> str:
        text = self._dialect.text(column)
        return f"NULLIF(lower(trim({_call('text', _value(f'({text})'))}, {_BLANKS})), '')"

    @override
    def micros(self, column: Column) -> str:
        return f"NULLIF(NULLIF({self._dialect.time(column).instant}, {FAR}), {-FAR})"

    @override
    def whole(self, column: Column) -> str:
        return _call("whole", _value(column.sql))

    @override
    def flag(self, column: Column) -> str:
        word = self.word(column)
        found = " ".join(f"WHEN '{text}' THEN {int(is_set)}" for text, is_set in cells.FLAGS.items())
        return f"(CASE {word} {found} END)"

    @override
    def number(self, column: Column) -> str:
        return _call("number", _value(column.sql))

    @override
    def json_number(self, text: str) -> str:
        return _call("number", text)

    @override
    def compare(self, number: str, sign: str, bound: str) -> str:
        return f"{_call('compare', number, bound)} {sign} 0"

    @override
    def like(self, text: str, pattern: str) -> str:
        return _call("like", text, pattern)

    @override
    def contains(self, haystack: str, text: str) -> str:
        return f"instr({haystack}, {text}) > 0"

    @override
    def has(self, column: Column, text: str) -> str:
        return _call("has", _value(column.sql), text)

    @override
    def entries(self, column: Column, *, inside: str | None, wanted: str | None) -> str:
        root = "NULL" if inside is None else f"'{inside}'"
        called = _call("entries", _value(column.sql), root, wanted or "NULL")
        key, kind, text = (f"json_extract(j.value, '$[{place}]')" for place in range(3))
        return f"(SELECT {key} AS key, {kind} AS type, {text} AS text FROM json_each({called}) AS j)"


def add_functions(connection: sqlite3.Connection) -> None:
    """Makes the functions known that the words name."""
    for name, (function, arguments) in _FUNCTIONS.items():
        connection.create_function(_PREFIX + name, arguments, function, deterministic=True)


def _call(name: str, *arguments: str) -> str:
    return f"{_PREFIX}{name}({', '.join(arguments)})"


def _value(x: str) -> str:
    """Text reaches Python as bytes only in this way; it may not be UTF-8."""
    return f"CASE typeof({x}) WHEN 'text' THEN CAST({x} AS BLOB) ELSE {x} END"


def _text(value: Any) -> str | None:
    """A cell as the export takes it."""
    if value is None or isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)


def _id(value: Any) -> str | None:
    text = _text(value)
    if text is None or cells.is_blank(text):
        return None
    found = parse_uuid(text)
    return text if found is None else str(found)


def _number(value: Any) -> str | None:
    text = (_text(value) or "").strip(BLANKS)
    usable = len(text) <= MAX_NUMBER and NUMBER.fullmatch(text) and not _LARGE.search(text)
    return text if usable else None


def _whole(value: Any) -> int | None:
    text = _number(value)
    return None if text is None else cells.count(text)


def _compare(left: str | None, right: str) -> int | None:
    if left is None:
        return None
    number, other = Decimal(left), Decimal(right)
    return (number > other) - (number < other)


def _on_path(value: Any, place: PathPlace) -> str | None:
    ids = [own for _, own in cells.dotted_segments(_text(value))]
    found = ids[:1] if place == "root" else ids[-2:-1] if place == "parent" else ids[-1:]
    return _id(found[0]) if found else None


def _strings(value: Any, read: Callable[[str], tuple[list[str], Any]] = cells.strings) -> list[str]:
    text = _text(value)
    if text is None or cells.is_null(text):
        return []
    return read(filter_json.cleaned(text))[0] if filter_json.is_list(text) else [text]


def _listed(value: Any, place: ListPlace) -> str | None:
    found = _strings(value, cells.ids)
    return _id(found[0 if place == "first" else -1]) if found else None


def _has(value: Any, wanted: str) -> bool:
    return wanted in _strings(value)


def _entries(value: Any, inside: str | None, wanted: str | None) -> str | None:
    text = _text(value)
    found = [] if text is None else filter_json.entries(text, inside, wanted)
    return json.dumps(found) if found else None


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> tuple[tuple[int, re.Pattern[str]], ...]:
    """What stands between the `%` of a pattern, each with its length in characters."""
    parts, escaped = [""], False
    lengths = [0]
    for char in pattern:
        if char == "\\" and not escaped:
            escaped = True
            continue
        if char == "%" and not escaped:
            parts.append("")
            lengths.append(0)
        else:
            parts[-1] += "." if char == "_" and not escaped else re.escape(char)
            lengths[-1] += 1
        escaped = False
    return tuple((length, re.compile(part, re.DOTALL)) for length, part in zip(lengths, parts, strict=True))


def _like(text: str | None, pattern: str) -> bool | None:
    """The first place that fits is always the right one, so that no pattern makes it go back and forth."""
    if text is None:
        return None
    (first, head), *others = _pattern(pattern)
    if not others:
        return len(text) == first and head.match(text) is not None
    *middle, (last, tail) = others
    place = first
    if head.match(text) is None:
        return False
    for _, part in middle:
        if (found := part.search(text, place)) is None:
            return False
        place = found.end()
    return len(text) - last >= place and tail.match(text, len(text) - last) is not None


_FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "text": (_text, 1),
    "id": (_id, 1),
    "on_path": (_on_path, 2),
    "listed": (_listed, 2),
    "number": (_number, 1),
    "whole": (_whole, 1),
    "compare": (_compare, 2),
    "like": (_like, 2),
    "has": (_has, 2),
    "entries": (_entries, 3),
}
