"""MySQL's words for the queries, as the session's `sql_mode` has them: standard quotes, `||` joins texts.

Collations take different texts for equal, and most ignore blanks at the end. So what an index finds by its collation is
compared by its bytes too. Texts that are not the product's own stand in a query as hexadecimal digits only.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from export_pipeline.runs.ids import ANY_UUID, canonical
from export_pipeline.runs.schema import Kind, RunField
from export_pipeline.runs.times import MAX_MICROS, MIN_MICROS, EpochUnit
from export_pipeline.sources.mysql.times import NEVER, NativeTime, ValueTime, binary, exact, literal
from export_pipeline.sources.mysql.types import NATIVE_TIMES, NUMBERS, TEXTS, collation, family
from export_pipeline.sources.sql.dialect import Column, Dialect, Relation, TimeSql

_ANY_UUID = rf"^[ \t\r\n\f\x0b]*(urn:uuid:)?({ANY_UUID}|[{{]{ANY_UUID}[}}])[ \t\r\n\f\x0b]*\z"
_FALSY = "('', '0', 'f', 'false', 'n', 'no', 'off')"
_LONG_ID = 512
"""Bytes; of longer values the server compares the beginning only where it sorts."""
_HEX = re.compile("(?:[0-9a-fA-F]{2})+")
_INTEGER = re.compile("0|-?[1-9][0-9]{0,19}")


def bound(text: str) -> str:
    """The bytes of a text as a constant of hexadecimal digits."""
    return f"x'{text.encode('utf-8', 'surrogatepass').hex()}'"


class MysqlDialect(Dialect):
    """MySQL's words for the queries."""

    name = "mysql"
    numbers = NUMBERS
    zoneless = frozenset({"datetime", "date"})
    keys_are_sparse = False

    def __init__(self, unit: EpochUnit) -> None:
        self._unit = unit

    @override
    def quote(self, identifier: str) -> str:
        return '"' + identifier.replace('"', '""') + '"'

    @override
    def column(self, sql: str, type_: str, detail: str) -> Column:
        return Column(sql, type_, detail)

    @override
    def time(self, column: Column) -> TimeSql:
        if column.type in NATIVE_TIMES:
            return NativeTime(column.sql)
        return ValueTime(column.sql, column.type, self._unit)

    @override
    def opened(self, column: Column, kind: Kind) -> Column:
        if kind is Kind.JSON or family(column.type) != "json":
            return column
        x = column.sql
        sql = (
            f"(CASE JSON_TYPE({x}) WHEN 'NULL' THEN NULL WHEN 'STRING' THEN JSON_UNQUOTE({x}) "
            f"ELSE {_without_fraction(exact(x))} END)"
        )
        return Column(sql, "text utf8mb4_bin", column.detail, reads=column.plain)

    @override
    def reference(self, column: Column, to: Column) -> Column:
        if to.type not in NUMBERS or family(column.type) != "text":
            return column
        return replace(column, sql=_without_fraction(column.sql), reads=column.plain)

    @override
    def look_up(self, own: Column, wanted: Column) -> str | None:
        """A recursive query cannot name the row that it is made for: `queries` walks for all rows at once."""
        return None

    def finds(self, own: Column, key: str) -> str | None:
        """The condition that a row has this id (as `id` has it), served by an index on it."""
        kind = family(own.type)
        if kind in {"integer", "decimal"}:
            digits, most, number = exact(key), 19, "DECIMAL(20, 0)"  # MySQL has no patterns for bytes
            if kind == "decimal":
                most, number = 30, "DECIMAL(65, 30)"
            return f"{own.sql} = CASE WHEN {digits} REGEXP '^-?[0-9]{{1,{most}}}$' THEN CAST({digits} AS {number}) END"
        if kind == "binary":
            return f"{own.sql} = UNHEX({key})"
        if kind != "text":
            return None
        return f"({own.sql} = {_collated(key, own)} AND {self.id(own)} = {key})"

    @override
    def stamp(self, column: Column) -> str:
        instant = self.time(column).instant
        moment = f"DATE_ADD(TIMESTAMP'1970-01-01 00:00:00.000000', INTERVAL {instant} MICROSECOND)"
        inside = f"{instant} BETWEEN {MIN_MICROS} AND {MAX_MICROS}"
        return f"(CASE WHEN {inside} THEN CONCAT(DATE_FORMAT({moment}, '%Y%m%dT%H%i%s%f'), 'Z') END)"

    @override
    def raw(self, field: RunField, column: Column) -> str:
        """Native times as microseconds, bytes as bytes (`unpack` knows what they hold)."""
        if field.kind is Kind.ID:
            return self.id(column)
        if field.kind is Kind.TIME and column.type in NATIVE_TIMES:
            return self.time(column).instant
        return column.sql if family(column.type) in {*TEXTS, "binary"} else self.text(column)

    @override
    def text(self, column: Column) -> str:
        x, kind = column.sql, family(column.type)
        if kind in TEXTS:
            return exact(x)
        if kind in {"binary", "geometry"}:
            return f"LOWER(HEX({x}))"
        if kind == "bit":
            return f"CAST(CAST({x} AS UNSIGNED) AS CHAR)"
        if kind == "timestamp":
            return f"CONCAT(CAST({x} AS CHAR), '+00:00')"
        # A FLOAT by itself is shown with six digits.
        return f"CAST({x} + 0e0 AS CHAR)" if kind == "float" else f"CAST({x} AS CHAR)"

    @override
    def id(self, column: Column) -> str:
        """As bytes, which compare as they are."""
        text = self.text(column)
        if column.type in {"decimal", "double", "float"}:
            whole = f"CAST(CAST({column.sql} AS DECIMAL(65, 0)) AS CHAR)"
            text = f"(CASE WHEN {column.sql} = FLOOR({column.sql}) THEN {whole} ELSE {text} END)"
        return binary(column.sql) if family(column.type) in TEXTS else f"CAST({text} AS BINARY)"

    @override
    def truth(self, column: Column) -> str:
        x = column.sql
        if column.type in NUMBERS or column.type == "bit":
            return f"(COALESCE({x}, 0) <> 0)"
        if column.type in NATIVE_TIMES:
            return f"({self.time(column).instant} IS NOT NULL)"
        return f"(LOWER(COALESCE({self.text(column)}, '')) NOT IN {_FALSY})"

    @override
    def hash(self, column: Column) -> str:
        return f"COALESCE(CRC32({self.text(column)}), 0)"

    @override
    def whole(self, aggregate: str) -> str:
        return f"CAST({aggregate} AS SIGNED)"

    @override
    def bytewise(self, column: Column) -> str:
        if column.type == "integer":
            return column.sql
        x = self.id(column)
        return f"(CASE WHEN LENGTH({x}) > {_LONG_ID} THEN CAST(SHA2({x}, 256) AS BINARY) ELSE {x} END)"

    @override
    def is_empty(self, column: Column) -> str:
        return f"(COALESCE(LENGTH({column.sql}), 0) = 0)"

    @override
    def is_project(self, column: Column, project: str) -> str:
        x, kind, key = column.sql, family(column.type), bound(project)
        if kind == "integer":
            return f"{x} = {project}" if _INTEGER.fullmatch(project) else NEVER
        if kind == "binary":
            return f"{x} = x'{project}'" if _HEX.fullmatch(project) else NEVER
        if kind == "text" and not any("\ud800" <= char <= "\udfff" for char in project):
            return f"({x} = {_collated(key, column)} AND {self.id(column)} = {key})"
        return f"{self.id(column)} = {key}"

    @override
    def as_project(self, column: Column, key: str) -> str:
        is_whole = column.type == "integer" and key.isascii() and key.lstrip("-").isdecimal()
        return str(int(key)) if is_whole else key

    @override
    def canonical_id(self, column: Column) -> str:
        text = self.text(column)
        digits = f"RIGHT(REGEXP_REPLACE(LOWER({text}), '[^0-9a-f]', ''), 32)"
        for place in (21, 17, 13, 9):
            digits = f"INSERT({digits}, {place}, 0, '-')"
        is_uuid = f"LOWER({text}) REGEXP {literal(_ANY_UUID)}"
        usual = f"CAST({digits} AS BINARY)"
        return f"(CASE WHEN {is_uuid} THEN {usual} WHEN {self.is_empty(column)} THEN NULL ELSE {self.id(column)} END)"

    @override
    def is_tenant(self, column: Column, tenant: str) -> str:
        """The usual spelling is found without looking at others."""
        value = bound(canonical(tenant))
        return f"({self.id(column)} = {value} OR {self.canonical_id(column)} = {value})"

    @override
    def order(self, column: Column) -> str:
        return column.sql if column.type == "integer" else self.id(column)

    @override
    def same(self, left: Column, right: Column) -> str:
        if left.type == right.type and family(left.type) != "text":
            return f"{left.sql} = {right.sql}"
        found = self.finds(left, self.id(right))
        return found if found is not None else f"{self.id(left)} = {self.id(right)}"

    @override
    def records(self, relation: Relation, *, where: str, order: Sequence[str]) -> str:
        members = ", ".join(
            f"{_name(name)}, {self._member(Column(f'f.{self.quote(name)}', kind, name))}"
            for name, kind in relation.columns.items()
        )
        return self.listed(f"JSON_OBJECT({members})", relation, where=where, order=order)

    def listed(self, element: str, relation: Relation, *, where: str, order: Sequence[str] = ()) -> str:
        """A subquery that gives JSON of each row (alias f) as a JSON list."""
        by = f" ORDER BY {', '.join(order)}" if order else ""
        elements = f"GROUP_CONCAT({element}{by} SEPARATOR ',')"
        return f"(SELECT CONCAT('[', COALESCE({elements}, ''), ']') FROM {relation.from_('f')} WHERE {where})"

    def _member(self, column: Column) -> str:
        kind = family(column.type)
        if kind == "float":
            return f"{column.sql} + 0e0"
        if kind == "bit":
            return f"CAST({column.sql} AS UNSIGNED)"
        return column.sql if kind in {*TEXTS, *NUMBERS} else self.text(column)

    @override
    def complaint(self, field: RunField, column: Column) -> str | None:
        kind = family(column.type)
        if kind == "binary" and field.kind not in {Kind.JSON, Kind.ID}:
            return "holds bytes; map an expression such as CONVERT(column USING utf8mb4)"
        if kind == "geometry":
            return "holds shapes; map an expression such as ST_AsGeoJSON(column)"
        if field.kind is Kind.TIME and kind in {"time", "bit"}:
            return f"is of type {column.type}, which is not a time"
        return None


def _name(name: str) -> str:
    return f"CONVERT({bound(name)} USING utf8mb4)"


def _collated(key: str, column: Column) -> str:
    """Bytes of UTF-8 as a text that is compared as the column's index compares."""
    collated = collation(column.type)
    return f"CONVERT(CONVERT({key} USING utf8mb4) USING {collated.partition('_')[0]}) COLLATE {collated}"


def _without_fraction(x: str) -> str:
    """A text such as `1.0` as `1`."""
    return f"(CASE WHEN {x} REGEXP '^-?[0-9]+[.]0+$' THEN SUBSTRING_INDEX({x}, '.', 1) ELSE {x} END)"
