"""ClickHouse's words for the queries.

Texts that are not the product's own stand in a query as hexadecimal digits only, so that none becomes SQL.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from typing_extensions import override

from export_pipeline.runs.ids import canonical, parse_uuid
from export_pipeline.runs.schema import Kind, RunField
from export_pipeline.runs.times import EpochUnit
from export_pipeline.sources.clickhouse.times import NEVER, NativeTime, ValueTime, literal
from export_pipeline.sources.clickhouse.types import (
    IN_INT64,
    INTEGERS,
    NATIVE_TIMES,
    NESTED,
    NUMBERS,
    family,
    scale,
    unwrapped,
)
from export_pipeline.sources.sql.dialect import Column, Dialect, Relation, TimeSql
from export_pipeline.sources.sql.projects import unescaped

_UUID_DIGITS = "[0-9a-f]{4}(-?[0-9a-f]{4}){7}"
_ANY_UUID = rf"^[ \t\r\n\f\v]*(urn:uuid:)?({_UUID_DIGITS}|[{{]{_UUID_DIGITS}[}}])[ \t\r\n\f\v]*$"
_FALSY = "('', '0', 'f', 'false', 'n', 'no', 'off')"
_NIL = "toUUID('00000000-0000-0000-0000-000000000000')"


@dataclass(frozen=True)
class Table(Relation):
    """A table or query. `final`: its engine merges versions of a row, and has to be asked to have done so."""

    final: bool = False

    @override
    def from_(self, alias: str) -> str:
        return f"{self.source} AS {alias}{' FINAL' if self.final else ''}"


def bound(text: str) -> str:
    """A text as a constant of hexadecimal digits."""
    digits = text.encode("utf-8", "surrogatepass").hex()
    return f"unhex('{digits}')"


def _iso(x: str, type_: str) -> str:
    """A time as text in UTC, whatever zone the server shows it in."""
    return f"concat(replaceOne(toString(toDateTime64({x}, {scale(type_)}, 'UTC')), ' ', 'T'), '+00:00')"


def _zero(type_: str) -> str:
    return f"toDateTime64(0, {scale(type_)})" if type_.startswith("DateTime64") else "toDateTime(0)"


class ClickhouseDialect(Dialect):
    """ClickHouse's words for the queries."""

    name = "clickhouse"
    numbers = NUMBERS
    zoneless: frozenset[str] = frozenset()
    keys_are_sparse = True
    counts_feedback = True

    def __init__(self, unit: EpochUnit) -> None:
        self._unit = unit

    @override
    def quote(self, identifier: str) -> str:
        return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"

    @override
    def column(self, sql: str, type_: str, detail: str) -> Column:
        return Column(sql, type_, detail)

    @override
    def opened(self, column: Column, kind: Kind) -> Column:
        """In a column that cannot be null the zero of times and UUIDs stands for what was not given."""
        type_, nullable = unwrapped(column.type)
        opened = replace(column, type=type_)
        x = column.sql
        if not nullable and kind is Kind.TIME and family(type_) in {"DateTime", "DateTime64"}:
            return replace(opened, sql=f"nullIf({x}, {_zero(type_)})", indexed=x)
        if not nullable and kind is Kind.ID and type_ == "UUID":
            return replace(opened, sql=f"nullIf({x}, {_NIL})", indexed=x)
        if kind is Kind.ID and type_ not in {"String", "UUID", *INTEGERS}:
            return replace(opened, sql=self.text(opened), type="String", indexed=x)
        return opened

    @override
    def time(self, column: Column) -> TimeSql:
        if family(column.type) in NATIVE_TIMES:
            return NativeTime(column.sql, column.type, column.indexed or column.sql)
        return ValueTime(column.sql, column.type, self._unit)

    @override
    def reference(self, column: Column, to: Column) -> Column:
        if family(to.type) not in NUMBERS or column.type != "String":
            return column
        sql = f"replaceRegexpOne({column.sql}, '^(-?[0-9]+)[.]0+$', '\\\\1')"
        return Column(sql, "String", column.detail, reads=column.plain)

    @override
    def look_up(self, own: Column, wanted: Column) -> str | None:
        """No key of a table finds a run by its id."""
        return None

    @override
    def stamp(self, column: Column) -> str:
        time = self.time(column)
        text = f"formatDateTime(fromUnixTimestamp64Micro({time.instant}, 'UTC'), '%Y%m%dT%H%i%S%f', 'UTC')"
        return f"concat({text}, 'Z')"

    @override
    def raw(self, field: RunField, column: Column) -> str:
        """Native times as microseconds."""
        if field.kind is Kind.ID:
            return self.id(column)
        if field.kind is Kind.TIME and family(column.type) in NATIVE_TIMES:
            return self.time(column).instant
        if field.kind is Kind.COUNT and column.type in IN_INT64:
            return f"toInt64({column.sql})"
        if field.kind is Kind.FLAG and column.type == "Bool":
            return column.sql
        return self.text(column)

    @override
    def text(self, column: Column) -> str:
        if family(column.type) in NESTED:
            return f"toJSONString({column.sql})"
        if family(column.type) in {"DateTime", "DateTime64"}:
            return _iso(column.sql, column.type)
        return column.sql if column.type == "String" else f"toString({column.sql})"

    @override
    def id(self, column: Column) -> str:
        return self.text(column)

    @override
    def truth(self, column: Column) -> str:
        """A time that is zero was not given."""
        x, kind = column.sql, family(column.type)
        if kind in NUMBERS or kind == "Bool":
            return f"(COALESCE({x}, 0) <> 0)"
        if kind in NATIVE_TIMES:
            return f"({self.time(column).rank} > 0)"
        return f"(lower(COALESCE(toString({x}), '')) NOT IN {_FALSY})"

    @override
    def hash(self, column: Column) -> str:
        return f"COALESCE(toInt64(xxHash32({self.text(column)})), 0)"

    @override
    def whole(self, aggregate: str) -> str:
        return f"CAST({aggregate} AS bigint)"

    @override
    def bytewise(self, column: Column) -> str:
        return column.sql

    @override
    def is_empty(self, column: Column) -> str:
        return f"(COALESCE({self.text(column)}, '') = '')"

    @override
    def is_project(self, column: Column, project: str) -> str:
        x, kind = column.indexed or column.sql, family(column.type)
        if kind == "UUID":
            parsed = parse_uuid(project)
            return NEVER if parsed is None or not parsed.int else f"{x} = toUUID('{parsed}')"
        if kind in INTEGERS:
            fits = re.fullmatch("0|-?[1-9][0-9]{0,76}", project)
            return f"{x} = {project}" if fits and abs(int(project)) < 2**63 else NEVER
        key = bound(project)
        raw = unescaped(project.encode("utf-8", "surrogatepass"))
        same = f"= {key}" if raw is None else f"IN ({key}, unhex('{raw.hex()}'))"
        return f"{x if kind == 'String' else self.id(column)} {same}"

    @override
    def as_project(self, column: Column, key: str) -> str:
        return canonical(key) if column.type == "UUID" else key

    @override
    def canonical_id(self, column: Column) -> str:
        text = self.id(column)
        if column.type == "UUID":
            return text
        digits = f"right(replaceRegexpAll(lower({text}), '[^0-9a-f]', ''), 32)"
        parts = ", '-', ".join(
            f"substring({digits}, {start}, {length})" for start, length in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
        )
        return f"if(match(lower({text}), {literal(_ANY_UUID)}), concat({parts}), nullIf({text}, ''))"

    @override
    def is_tenant(self, column: Column, tenant: str) -> str:
        """The usual spelling is found without looking at others."""
        value = bound(canonical(tenant))
        if column.type == "UUID":
            return f"COALESCE({self.id(column)} = {value}, false)"
        return f"COALESCE({self.id(column)} = {value} OR {self.canonical_id(column)} = {value}, false)"

    @override
    def order(self, column: Column) -> str:
        """As text: ClickHouse sorts UUIDs by their second half first."""
        return column.sql if column.type in INTEGERS else self.text(column)

    @override
    def same(self, left: Column, right: Column) -> str:
        return f"{left.sql} = {right.sql}" if left.type == right.type else f"{self.id(left)} = {self.id(right)}"

    @override
    def records(self, relation: Relation, *, where: str, order: Sequence[str]) -> str:
        return f"(SELECT {self.record_list(relation, order=order)} FROM {relation.from_('f')} WHERE {where})"

    def record_list(self, relation: Relation, *, order: Sequence[str]) -> str:
        """The aggregate that gives rows (alias f) as a JSON list of objects."""
        columns = {name: kind for name, kind in relation.columns.items() if name not in relation.forbidden}
        members = [self._member(name, kind) for name, kind in columns.items()]
        types = literal(f"Tuple({', '.join(kind for _, kind in members)})")
        record = f"toJSONString(CAST(tuple({', '.join(value for value, _ in members)}), {types}))"
        ordered = f"arraySort(x -> x.1, groupArray((tuple({', '.join(order) or 0}), {record})))"
        return f"concat('[', arrayStringConcat(arrayMap(x -> x.2, {ordered}), ','), ']')"

    def _member(self, name: str, declared: str) -> tuple[str, str]:
        """A column of a record, and its name and type."""
        x, quoted = f"f.{self.quote(name)}", self.quote(name)
        type_, nullable = unwrapped(declared)
        if family(type_) not in {"DateTime", "DateTime64"}:
            return x, f"{quoted} {declared}"
        return _iso(x, type_), f"{quoted} {'Nullable(String)' if nullable else 'String'}"

    @override
    def complaint(self, field: RunField, column: Column) -> str | None:
        if field.kind is Kind.TIME and (
            family(column.type) in NESTED or column.type in {"Bool", "UUID"} or column.type.startswith("Enum")
        ):
            return f"is of type {column.type}, which is not a time"
        if column.type.startswith("AggregateFunction"):
            return "holds states of an aggregation; map an expression such as finalizeAggregation(column)"
        return None
