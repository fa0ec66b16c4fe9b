"""SQLite's words for the queries. Columns hold any type there, so types are looked at row by row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from typing_extensions import override

from export_pipeline.runs.schema import Kind, RunField
from export_pipeline.runs.times import EpochUnit
from export_pipeline.sources.sql.dialect import Column, Dialect, Relation, TimeSql
from export_pipeline.sources.sql.times import number_bounds, text_ranges

MICROS_FUNCTION = "export_pipeline_micros"
DAY_FUNCTION = "export_pipeline_day"
STAMP_FUNCTION = "export_pipeline_stamp"
PAYLOAD_FUNCTION = "export_pipeline_payload"
PLAIN_FUNCTION = "export_pipeline_plain"
SCALAR_FUNCTION = "export_pipeline_scalar"
ID_FUNCTION = "export_pipeline_id"
HASH_FUNCTION = "export_pipeline_hash"
TENANT_PARAMETER = "tenant"
PROJECT_PARAMETERS = ("project_text", "project_blob", "project_number", "project_bytes")

_FALSY = "('', '0', 'f', 'false', 'n', 'no', 'off')"


@dataclass(frozen=True)
class LooseTime(TimeSql):
    """A time of any form; `times.parse_micros` reads it."""

    sql: str
    unit: EpochUnit

    @property
    def _value(self) -> str:
        # Text reaches Python as bytes only in this way; it may not be UTF-8.
        x = self.sql
        return f"CASE typeof({x}) WHEN 'text' THEN CAST({x} AS BLOB) WHEN 'blob' THEN NULL ELSE {x} END"

    @property
    @override
    def instant(self) -> str:
        return f"{MICROS_FUNCTION}({self._value})"

    @property
    @override
    def raw(self) -> str:
        return self.instant

    @property
    @override
    def day(self) -> str:
        return f"{DAY_FUNCTION}({self._value})"

    @property
    @override
    def newest(self) -> str:
        return f"max({self.instant})"

    @property
    @override
    def rank(self) -> str:
        return f"COALESCE({self.instant}, {-(2**63)})"

    @override
    def literal(self, micros: int) -> str:
        return str(micros)

    @override
    def near(self, low: int, high: int, *, also: str) -> str:
        """`also` stands in every branch, so that each is a search of its own in the index."""
        x = self.sql
        first, last = number_bounds(low, high, self.unit)
        conditions = [f"{x} >= {first - 1} AND {x} < {last + 1}"]
        x = f"{x} COLLATE BINARY"  # as bytes, like everything that is compared
        for texts in text_ranges(low, high, self.unit):
            shifted = f" AND substr({x}, 11) GLOB '*[+-]*' AND {x} NOT GLOB '*+00:00'" if texts.shifted else ""
            conditions.append(f"{x} >= '{texts.first}' AND {x} < '{texts.last}'{shifted}")
        return "(" + " OR ".join(f"({also} AND {condition})" for condition in conditions) + ")"

    @override
    def exact(self, low: int, high: int) -> str:
        return f"{self.instant} BETWEEN {low} AND {high - 1}"


class SqliteDialect(Dialect):
    """SQLite's words for the queries."""

    name = "sqlite"
    numbers: frozenset[str] = frozenset()
    zoneless: frozenset[str] = frozenset()
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
        return LooseTime(column.sql, self._unit)

    @override
    def raw(self, field: RunField, column: Column) -> str:
        """Values as they are; a UUID of 16 bytes as hexadecimal digits."""
        return self.id(column) if field.kind is Kind.ID else column.sql

    @override
    def opened(self, column: Column, kind: Kind) -> Column:
        x, is_json = column.sql, "json" in column.type.lower()
        if kind is Kind.JSON:
            sql = f"CASE typeof({x}) WHEN 'blob' THEN {PAYLOAD_FUNCTION}({x}) ELSE {x} END"
        elif is_json:
            begins = f"substr(ltrim({x}, char(32, 9, 13, 10)), 1, 1) IN ('\"', 'n')"
            blob = x if kind is Kind.ID else f"{PLAIN_FUNCTION}({x}, 1)"
            sql = (
                f"CASE typeof({x}) WHEN 'text' THEN CASE WHEN {begins} THEN {SCALAR_FUNCTION}(CAST({x} AS BLOB)) "
                f"ELSE {x} END WHEN 'blob' THEN {blob} ELSE {x} END"
            )
        elif kind in {Kind.STRINGS, Kind.TEXT}:
            sql = f"CASE typeof({x}) WHEN 'blob' THEN {PLAIN_FUNCTION}({x}, {int(kind is Kind.STRINGS)}) ELSE {x} END"
        else:
            return column
        return replace(column, sql=f"({sql})", reads=column.plain)

    @override
    def reference(self, column: Column, to: Column) -> Column:
        x, declared = column.sql, to.type.upper()
        if not any(sign in declared for sign in ("INT", "REAL", "FLOA", "DOUB", "NUM", "DEC")):
            return column
        is_whole = f"typeof({x}) = 'text' AND {x} GLOB '[-0-9]*.0' AND substr({x}, 2) NOT GLOB '*[^0-9.]*'"
        sql = f"(CASE WHEN {is_whole} THEN CAST({x} AS INTEGER) ELSE {x} END)"
        return replace(column, sql=sql, reads=column.plain)

    @override
    def look_up(self, own: Column, wanted: Column) -> str | None:
        return self.same(own, wanted)

    @override
    def stamp(self, column: Column) -> str:
        return f"{STAMP_FUNCTION}({self.time(column).instant})"

    @override
    def id(self, column: Column) -> str:
        """A UUID of 16 bytes as hexadecimal digits."""
        x = column.sql
        whole = f"CASE WHEN CAST({x} AS INTEGER) = {x} THEN CAST({x} AS INTEGER) ELSE {x} END"
        return f"CASE typeof({x}) WHEN 'blob' THEN hex({x}) WHEN 'real' THEN {whole} ELSE {x} END"

    @override
    def text(self, column: Column) -> str:
        return f"CASE typeof({column.sql}) WHEN 'blob' THEN hex({column.sql}) ELSE {column.sql} END"

    @override
    def truth(self, column: Column) -> str:
        x = column.sql
        return (
            f"(CASE typeof({x}) WHEN 'null' THEN 0 WHEN 'text' THEN lower({x}) NOT IN {_FALSY} "
            f"WHEN 'blob' THEN 1 ELSE {x} <> 0 END)"
        )

    @override
    def hash(self, column: Column) -> str:
        return f"{HASH_FUNCTION}(CAST({column.sql} AS BLOB))"

    @override
    def whole(self, aggregate: str) -> str:
        return f"CAST({aggregate} AS bigint)"

    @override
    def bytewise(self, column: Column) -> str:
        return f"{column.sql} COLLATE BINARY"

    @override
    def is_empty(self, column: Column) -> str:
        return f"(COALESCE({column.sql}, '') COLLATE BINARY = '')"

    @override
    def is_project(self, column: Column, project: str) -> str:
        """The first condition is for an index, whose collation may let more through."""
        text, blob, number, raw = (f":{name}" for name in PROJECT_PARAMETERS)
        forms = f"IN (CAST({text} AS TEXT), {blob}, {number}, CAST({raw} AS TEXT))"
        return f"({column.sql} {forms} AND {self.bytewise(column)} {forms})"

    @override
    def as_project(self, column: Column, key: str) -> str:
        return key

    @override
    def canonical_id(self, column: Column) -> str:
        return f"{ID_FUNCTION}(CAST({self.id(column)} AS BLOB))"

    @override
    def is_tenant(self, column: Column, tenant: str) -> str:
        """The usual spelling is found without a call of Python."""
        value = f"CAST(:{TENANT_PARAMETER} AS TEXT)"
        # As text: a column of numbers would take '01' for 1.
        usual = f"CAST({column.sql} AS TEXT) COLLATE BINARY"
        return f"({usual} = {value} OR {self.canonical_id(column)} = {value})"

    @override
    def order(self, column: Column) -> str:
        return self.bytewise(column)

    @override
    def same(self, left: Column, right: Column) -> str:
        return f"{left.sql} = {self.bytewise(right)}"

    @override
    def records(self, relation: Relation, *, where: str, order: Sequence[str]) -> str:
        """Columns declared JSON are nested, all others are values."""
        members = ", ".join(
            f"'{name.replace(chr(39), chr(39) * 2)}', {self._member(name, declared)}"
            for name, declared in relation.columns.items()
        )
        by = f" ORDER BY {', '.join(order)}" if order else ""
        return (
            f"(SELECT json_group_array(json(record)) FROM (SELECT json_object({members}) AS record "
            f"FROM {relation.from_('f')} WHERE {where}{by}))"
        )

    def _member(self, name: str, declared: str) -> str:
        x = f"f.{self.quote(name)}"
        nested = (
            f" WHEN 'text' THEN CASE WHEN json_valid({x}) THEN json({x}) ELSE {x} END"
            if "json" in declared.lower()
            else ""
        )
        unpacked = f"CASE WHEN json_valid({PAYLOAD_FUNCTION}({x})) THEN json({PAYLOAD_FUNCTION}({x})) ELSE hex({x}) END"
        return f"CASE typeof({x}) WHEN 'blob' THEN {unpacked if nested else f'hex({x})'}{nested} ELSE {x} END"

    @override
    def complaint(self, field: RunField, column: Column) -> str | None:
        return None
