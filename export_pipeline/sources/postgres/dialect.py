"""PostgreSQL's words for the queries. Values reach the server through `set_config`, never inside the SQL."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from export_pipeline.runs.ids import ANY_UUID, parse_uuid
from export_pipeline.runs.schema import Kind, RunField
from export_pipeline.runs.times import MAX_MICROS, MICROS_IN_UNIT, MIN_MICROS, EpochUnit
from export_pipeline.sources.sql.dialect import Column, Dialect, Relation, TimeSql
from export_pipeline.sources.sql.filter_json import LONE_HIGH, LONE_LOW
from export_pipeline.sources.sql.times import (
    DAY_MICROS,
    TEXT_NUMBER,
    TEXT_TIME,
    clamp,
    number_bounds,
    text_ranges,
)

PROJECT_SETTING = "export_pipeline.project"
TENANT_SETTING = "export_pipeline.tenant"
C_TEXT = "text in C order"
"""The type of a text column that sorts by its bytes; other text columns do as their language does."""

LOOSE_TEXT = "text that compares loosely"
"""The type of text for which the server takes different texts for equal: citext, and nondeterministic collations."""

INTEGERS = {"int2": 2**15, "int4": 2**31, "int8": 2**63}
_NUMBERS = {"float4", "float8", "numeric"}
_JSON = {"json", "jsonb"}
_TEXTS = {"text", "varchar", "bpchar", C_TEXT}
NATIVE = {"timestamptz", "timestamp", "date"}
_INT64 = 2**63 - 1
_UUID = re.compile("[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ANY_UUID = rf"'^[ \t\r\n\f\v]*(urn:uuid:)?({ANY_UUID}|[{{]{ANY_UUID}[}}])[ \t\r\n\f\v]*$'"
_NESTED = {"array", "composite"}
_FALSY = "('', '0', 'f', 'false', 'n', 'no', 'off')"

# The driver shifts infinity by an overflow into the past, and years after 294,000 too.
_FIRST, _LAST = "'0001-12-31 00:00:00+00 BC'", "'10000-01-01 00:00:00+00'"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class NativeTime(TimeSql):
    """timestamptz, or timestamp and date, which are UTC."""

    sql: str
    type: str

    @property
    def _native(self) -> str:
        return "timestamptz" if self.type == "timestamptz" else "timestamp"

    @property
    @override
    def instant(self) -> str:
        return f"{self.sql}::timestamp" if self.type == "date" else self.sql

    @property
    @override
    def raw(self) -> str:
        zoned = self.sql if self.type == "timestamptz" else f"({self.instant} AT TIME ZONE 'UTC')"
        return (
            f"CASE WHEN {zoned} >= timestamptz {_LAST} THEN timestamptz {_LAST} "
            f"WHEN {zoned} < timestamptz {_FIRST} THEN timestamptz {_FIRST} ELSE {zoned} END"
        )

    @property
    @override
    def day(self) -> str:
        local = f"({self.sql} AT TIME ZONE 'UTC')" if self.type == "timestamptz" else self.sql
        return f"({local}::date - date '1970-01-01')::int8"

    @property
    @override
    def newest(self) -> str:
        return NativeTime(f"max({self.sql})", self.type).raw

    @property
    @override
    def rank(self) -> str:
        return f"COALESCE({self.instant}, '-infinity'::{self._native})"

    @override
    def literal(self, micros: int) -> str:
        zone = "+00" if self.type == "timestamptz" else ""
        return f"{self._native} '{clamp(micros).replace(tzinfo=None).isoformat(' ')}{zone}'"

    @override
    def near(self, low: int, high: int, *, also: str) -> str:
        return f"{also} AND {self.instant} >= {self.literal(low)} AND {self.instant} < {self.literal(high)}"

    @override
    def exact(self, low: int, high: int) -> str:
        return ""


@dataclass(frozen=True)
class NumberTime(TimeSql):
    """An epoch number, or text that is ISO 8601 or an epoch number: its instant is numeric microseconds."""

    sql: str
    type: str
    unit: EpochUnit

    @property
    @override
    def instant(self) -> str:
        multiply, divide = MICROS_IN_UNIT[self.unit]
        if self.type in INTEGERS:
            return f"floor({self.sql}::numeric * {multiply} / {divide})"
        # The cast through text is exact where float8::numeric keeps 15 digits only.
        text = f"({self.sql})::text"
        number = f"floor({text}::numeric * {multiply} / {divide})"
        if self.type in _NUMBERS:
            pattern = TEXT_NUMBER + "(?:[eE][+-]?[0-9]{1,2})?"
            return f"CASE WHEN {text} ~ '^{pattern}$' THEN {number} END"
        cut = f"regexp_replace({text}, '([.][0-9]{{6}})[0-9]+', '\\1')"
        cut = f"regexp_replace({cut}, '([+-][0-9:]{{2,5}}) [+A-Z-].*', '\\1')"  # the name of a zone, as Go writes it
        return (
            f"CASE WHEN {text} ~ '^{TEXT_NUMBER}$' THEN {number} WHEN {text} ~ '^{TEXT_TIME}$' "
            f"THEN round((extract(epoch FROM {cut}::timestamptz) * 1000000)::numeric) END"
        )

    @property
    @override
    def raw(self) -> str:
        return f"({self.instant})::int8"

    @property
    @override
    def day(self) -> str:
        return f"floor({self.instant} / {DAY_MICROS})::int8"

    @property
    @override
    def newest(self) -> str:
        return f"max({self.instant})"

    @property
    @override
    def rank(self) -> str:
        return f"COALESCE({self.instant}, -1e40)"

    @override
    def literal(self, micros: int) -> str:
        return f"{micros}::numeric"

    @override
    def near(self, low: int, high: int, *, also: str) -> str:
        if self.type in INTEGERS:
            first, last = number_bounds(low, high, self.unit)
            # A constant beyond 64 bits would be numeric and keep the index from being used.
            if first > _INT64:
                return "false"
            upper = f" AND {self.sql} < {last}" if last <= _INT64 else ""
            return f"{also} AND {self.sql} >= {max(first, -_INT64)}{upper}"
        if self.type in _NUMBERS:
            return also
        by_bytes = self.sql if self.type == C_TEXT else f'{self.sql}::text COLLATE "C"'
        ranges = []
        for texts in text_ranges(low, high, self.unit):
            shifted = f" AND substr({self.sql}::text, 11) ~ '[+-]'" if texts.shifted else ""
            within = f"{by_bytes} >= {_literal(texts.first)} AND {by_bytes} < {_literal(texts.last)}"
            ranges.append(within + shifted)
        return f"{also} AND ({' OR '.join(ranges)})"

    @override
    def exact(self, low: int, high: int) -> str:
        return "" if self.type in INTEGERS else f"{self.instant} >= {low} AND {self.instant} < {high}"


class PostgresDialect(Dialect):
    """PostgreSQL's words for the queries."""

    name = "postgresql"
    numbers = frozenset({*INTEGERS, *_NUMBERS})
    zoneless = frozenset({"timestamp", "date"})
    keys_are_sparse = False

    def __init__(self, unit: EpochUnit) -> None:
        self._unit = unit

    @override
    def quote(self, identifier: str) -> str:
        return '"' + identifier.replace('"', '""') + '"'

    @override
    def column(self, sql: str, type_: str, detail: str) -> Column:
        if type_ == LOOSE_TEXT:
            return Column(f'({sql}::text COLLATE "C")', C_TEXT, detail, indexed=sql)
        return Column(sql, type_, detail)

    @override
    def time(self, column: Column) -> TimeSql:
        if column.type in NATIVE:
            return NativeTime(column.sql, column.type)
        return NumberTime(column.sql, column.type, self._unit)

    @override
    def opened(self, column: Column, kind: Kind) -> Column:
        if kind is Kind.JSON or column.type not in _JSON:
            return column
        return Column(scalar(column.sql, column.type), "text", column.detail, reads=column.plain)

    @override
    def reference(self, column: Column, to: Column) -> Column:
        if to.type not in self.numbers or column.type not in _TEXTS:
            return column
        sql = f"regexp_replace(({column.sql})::text, '^(-?[0-9]+)[.]0+$', '\\1')"
        return Column(sql, "text", column.detail, reads=column.plain)

    @override
    def look_up(self, own: Column, wanted: Column) -> str | None:
        """Values that are none of the type of `own` are not cast."""
        text = self.id(wanted)
        if own.type == wanted.type:
            return f"{own.sql} = {wanted.sql}"
        if own.type in INTEGERS:
            return f"{own.sql} = CASE WHEN {text} ~ '^-?[0-9]{{1,18}}$' THEN ({text})::int8 END"
        if own.type == "uuid":
            return f"{own.sql} = CASE WHEN {text} ~ '^({_UUID.pattern})$' THEN ({text})::uuid END"
        if own.type in _NUMBERS and wanted.type in self.numbers:
            return f"{own.sql} = ({wanted.sql})::{own.type}"
        return f"{own.sql} = {text}" if own.type in _TEXTS else None

    @override
    def stamp(self, column: Column) -> str:
        time = self.time(column)
        if column.type in NATIVE:
            inside = f"{time.instant} >= {time.literal(MIN_MICROS)} AND {time.instant} <= {time.literal(MAX_MICROS)}"
            local = f"{column.sql} AT TIME ZONE 'UTC'" if column.type == "timestamptz" else column.sql
        else:
            inside = f"{time.instant} BETWEEN {MIN_MICROS} AND {MAX_MICROS}"
            local = (
                f"timestamp '1970-01-01' + {time.day} * interval '1 day' "
                f"+ ({time.raw} - {time.day} * {DAY_MICROS}) * interval '1 microsecond'"
            )
        return f'(CASE WHEN {inside} THEN to_char({local}, \'YYYYMMDD"T"HH24MISSUS"Z"\') END)'

    @override
    def raw(self, field: RunField, column: Column) -> str:
        """Bytes come as bytes (`unpack` knows what they hold)."""
        if column.type == "bytea":
            return column.sql
        if field.kind is Kind.ID:
            return self.id(column)
        if field.kind is Kind.TIME and column.type in NATIVE:
            return NativeTime(column.sql, column.type).raw
        if field.kind is Kind.COUNT and column.type in INTEGERS:
            return f"{column.sql}::int8"
        if field.kind is Kind.FLAG and column.type == "bool":
            return column.sql
        return self.text(column)

    @override
    def text(self, column: Column) -> str:
        if column.type in _NESTED:
            return f"to_json({column.sql})::text"
        if column.type == "money":
            return f"{column.sql}::numeric::text"
        return f"({column.sql})::text"

    @override
    def id(self, column: Column) -> str:
        """The cast through text is exact where float8::numeric keeps 15 digits only."""
        text = self.text(column)
        if column.type not in _NUMBERS:
            return text
        return f"(CASE WHEN {text} ~ '^[-0-9.e+]+$' THEN trim_scale({text}::numeric)::text ELSE {text} END)"

    @override
    def truth(self, column: Column) -> str:
        if column.type == "bool":
            return f"({column.sql} IS TRUE)"
        if column.type in INTEGERS or column.type in _NUMBERS:
            return f"(COALESCE({column.sql}, 0) <> 0)"
        if column.type in NATIVE:
            return f"({column.sql} IS NOT NULL)"
        return f"(lower(COALESCE({column.sql}::text, '')) NOT IN {_FALSY})"

    @override
    def hash(self, column: Column) -> str:
        return f"COALESCE(hashtext({self.text(column)})::int8 & 4294967295, 0)"

    @override
    def whole(self, aggregate: str) -> str:
        return f"CAST({aggregate} AS bigint)"

    @override
    def bytewise(self, column: Column) -> str:
        """Other text than `LOOSE_TEXT` is equal only where its bytes are."""
        return column.sql if column.type != "json" else f"{column.sql}::text"

    @override
    def is_empty(self, column: Column) -> str:
        return f"(COALESCE({self.text(column)}, '') = '')"

    @override
    def is_project(self, column: Column, project: str) -> str:
        value = f"current_setting('{PROJECT_SETTING}')"
        if column.type == "uuid":
            return f"{column.sql} = {value}::uuid" if _UUID.fullmatch(project) else "false"
        if column.type in INTEGERS:
            limit = INTEGERS[column.type]
            fits = project.lstrip("-").isdecimal() and project.isascii() and -limit <= int(project) < limit
            return f"{column.sql} = {value}::{column.type}" if fits else "false"
        if column.type in _NUMBERS:
            return f"{self.id(column)} = {value}" if can_be_text(project) else "false"
        if not can_be_text(project):
            return "false"
        exactly = f"{column.sql}{'' if column.type in {'text', 'varchar', C_TEXT} else '::text'} = {value}"
        return exactly if column.indexed is None else f"({column.indexed} = {value} AND {exactly})"

    @override
    def as_project(self, column: Column, key: str) -> str:
        if column.type == "uuid" and _UUID.fullmatch(key):
            return str(uuid.UUID(key))
        is_whole = column.type in INTEGERS and key.isascii() and key.lstrip("-").isdecimal()
        return str(int(key)) if is_whole else key

    @override
    def canonical_id(self, column: Column) -> str:
        text = self.id(column)
        if column.type == "uuid":
            return text
        digits = f"right(regexp_replace(lower({text}), '[^0-9a-f]', '', 'g'), 32)"
        return f"(CASE WHEN lower({text}) ~ {_ANY_UUID} THEN {digits}::uuid::text ELSE NULLIF({text}, '') END)"

    @override
    def is_tenant(self, column: Column, tenant: str) -> str:
        """The usual spelling is found without looking at others."""
        if column.type == "uuid":
            parsed = parse_uuid(tenant)
            return "false" if parsed is None else f"{column.sql} = '{parsed}'::uuid"
        if not can_be_text(tenant):
            return "false"
        value = f"current_setting('{TENANT_SETTING}')"
        return f"({self.id(column)} = {value} OR {self.canonical_id(column)} = {value})"

    @override
    def order(self, column: Column) -> str:
        if column.type == "uuid" or column.type in INTEGERS:
            return column.sql
        return f'({self.text(column)}) COLLATE "C"'

    @override
    def same(self, left: Column, right: Column) -> str:
        if left.type == right.type:
            return f"{left.sql} = {right.sql}"
        if not {"uuid", *self.numbers}.isdisjoint({left.type, right.type}):
            return f"{self.id(left)} = {self.id(right)}"
        return f"{left.sql} = {right.sql}"

    @override
    def records(self, relation: Relation, *, where: str, order: Sequence[str]) -> str:
        by = f" ORDER BY {', '.join(order)}" if order else ""
        return f"(SELECT COALESCE(json_agg(row_to_json(f){by})::text, '[]') FROM {relation.from_('f')} WHERE {where})"

    @override
    def complaint(self, field: RunField, column: Column) -> str | None:
        if column.type == "bytea" and field.kind is not Kind.JSON:
            return "holds bytes; map an expression such as convert_from(column, 'UTF8')"
        if field.kind is Kind.TIME and column.type in {"bool", "uuid", "interval", "time", *_NESTED}:
            return f"is of type {column.type}, which is not a time"
        return None


def scalar(x: str, kind: str) -> str:
    """The text of a json or jsonb that is no JSON to its reader: null, a string's text, a number, or JSON text."""
    if kind == "jsonb":
        return f"(CASE jsonb_typeof({x}) WHEN 'number' THEN trim_scale(({x})::numeric)::text ELSE {x} #>> '{{}}' END)"
    text = f"btrim(({x})::text, E' \\t\\r\\n')"
    return (
        f"(CASE json_typeof({x}) WHEN 'null' THEN NULL WHEN 'string' THEN ({cleaned(text)})::json #>> '{{}}' "
        f"WHEN 'number' THEN regexp_replace({text}, '^(-?[0-9]+)[.]0+$', '\\1') ELSE ({x})::text END)"
    )


def cleaned(text: str) -> str:
    """JSON text without escapes that no text can hold, as `filter_json.cleaned` has it."""
    escaped = f"replace(replace({text}, '\\\\', '\\u005c'), '\\u0000', '\\ufffd')"
    mended = f"regexp_replace({escaped}, '{LONE_HIGH}', '\\\\ufffd', 'g')"
    mended = f"regexp_replace({mended}, '{LONE_LOW}', '\\\\ufffd', 'g')"
    seldom = " OR ".join(f"strpos({text}, '{sign}') > 0" for sign in ("\\u0000", "\\ud", "\\uD"))
    return f"CASE WHEN {seldom} THEN {mended} ELSE {text} END"


def can_be_text(value: str) -> bool:
    """Whether PostgreSQL can hold the text: no NUL, no lone surrogates."""
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
