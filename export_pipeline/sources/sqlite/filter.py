"""SQLite's words for filters: what its own functions do otherwise than PostgreSQL's is done in Python."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from export_pipeline.runs import cells
from export_pipeline.runs.times import BLANKS
from export_pipeline.sources.sql import filter_cells
from export_pipeline.sources.sql.dialect import Column
from export_pipeline.sources.sql.filter_words import BoundKind, FilterWords, ListPlace, PathPlace
from export_pipeline.sources.sql.times import FAR
from export_pipeline.sources.sqlite.dialect import SqliteDialect

_PREFIX = "export_pipeline_filter_"
_BLANKS = f"char({', '.join(str(ord(blank)) for blank in BLANKS)})"


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
        branches = " ".join(f"WHEN '{text}' THEN {int(is_set)}" for text, is_set in cells.FLAGS.items())
        return f"(CASE {word} {branches} END)"

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


def _entries(value: Any, inside: str | None, wanted: str | None) -> str | None:
    pairs = filter_cells.entries(value, inside, wanted)
    return json.dumps(pairs) if pairs else None


_FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "text": (filter_cells.text_of, 1),
    "id": (filter_cells.id_of, 1),
    "on_path": (filter_cells.on_path, 2),
    "listed": (filter_cells.listed, 2),
    "number": (filter_cells.number_of, 1),
    "whole": (filter_cells.whole_of, 1),
    "compare": (filter_cells.compare, 2),
    "like": (filter_cells.like, 2),
    "has": (filter_cells.has, 2),
    "entries": (_entries, 3),
}
