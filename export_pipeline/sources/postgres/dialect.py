"""PostgreSQL's words for the queries. Values reach the server through `set_config`, never inside the SQL."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from export_pipeline.runs.ids import parse_uuid
from export_pipeline.runs.schema import Kind, RunField
from export_pipeline.runs.times import MAX_MICROS, MICROS_IN_UNIT, MIN_MICROS, EpochUnit
from export_pipeline.sources.sql.dialect import Column, Relation, TimeSql
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
_UUID_DIGITS = "[0-9a-f]{4}(-?[0-9a-f]{4}){7}"
_ANY_UUID = rf"'^[ \t\r\n\f\v]*(urn:uuid:)?({_UUID_DIGITS}|[{{]{_UUID_DIGITS}[}}])[ \t\r\n\f\v]*$'"
_NESTED = {"array", "composite"}
_FALSY = "('', '0', 'f', 'false', 'n', 'no', 'off')"

# The driver shifts infinity by an overflow into the past, and years after 294,000 too.
_FIRST, _LAST = "'0001-12-31 00:00:00+00 BC'", "'10000-01-01 00:00:00+00'"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class NativeTime:
    """timestamptz, or timestamp and date, which are UTC."""

    sql: str
    type: str

    @property
    def _native(self) -> str:
        return "timestamptz" if self.type == "timestamptz" else "timestamp"

    @property
    def instant(self) -> str:
        """See `TimeSql`."""
        return f"{self.sql}::timestamp" if self.type == "date" else self.sql

    @property
    def raw(self) -> str:
        """See `TimeSql`."""
        zoned = self.sql if self.type == "timestamptz" else f"({self.instant} AT TIME ZONE 'UTC')"
        return (
            f"CASE WHEN {zoned} >= timestamptz {_LAST} THEN timestamptz {_LAST} "
            f"WHEN {zoned} < timestamptz {_FIRST} THEN timestamptz {_FIRST} ELSE {zoned} END"
        )

    @property
    def day(self) -> str:
        """See `TimeSql`."""
        local = f"({self.sql} AT TIME ZONE 'UTC')" if self.type == "timestamptz" else self.sql
        return f"({local}::date - date '1970-01-01')::int8"

    @property
    def newest(self) -> str:
        """See `TimeSql`."""
        return NativeTime(f"max({self.sql})", self.type).raw

    @property
    def rank(self) -> str:
        """See `TimeSql`."""
        return f"COALESCE({self.instant}, '-infinity'::{self._native})"

    def literal(self, micros: int) -> str:
        """See `TimeSql`."""
        zone = "+00" if self.type == "timestamptz" else ""
        return f"{self._native} '{clamp(micros).replace(tzinfo=None).isoformat(' ')}{zone}'"

    def near(self, low: int, high: int, *, also: str) -> str:
        """See `TimeSql`."""
        return f"{also} AND {self.instant} >= {self.literal(low)} AND {self.instant} < {self.literal(high)}"

    def exact(self, low: int, high: int) -> str:  # noqa: ARG002 - `near` is exact
        """See `TimeSql`."""
        return ""


@dataclass(frozen=True)
class NumberTime:
    """An epoch number, or text that is ISO 8601 or an epoch number: its instant is numeric microseconds."""

    sql: str
    type: str
    unit: EpochUnit

    @property
    def instant(self) -> str:
        """See `TimeSql`."""
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
    def raw(self) -> str:
        """See `TimeSql`."""
        return f"({self.instant})::int8"

    @property
    def day(self) -> str:
        """See `TimeSql`."""
        return f"floor({self.instant} / {DAY_MICROS})::int8"

    @property
    def newest(self) -> str:
        """See `TimeSql`."""
        return f"max({self.instant})"

    @property
    def rank(self) -> str:
        """See `TimeSql`."""
        return f"COALESCE({self.instant}, -1e40)"

    def literal(self, micros: int) -> str:
        """See `TimeSql`."""
        return f"{micros}::numeric"

    def near(self, low: int, high: int, *, also: str) -> str:
        """See `TimeSql`."""
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

    def exact(self, low: int, high: int) -> str:
        """See `TimeSql`."""
        return "" if self.type in INTEGERS else f"{self.instant} >= {low} AND {self.instant} < {high}"


class PostgresDialect:
    """See `Dialect`."""

    name = "postgresql"
    numbers = frozenset({*INTEGERS, *_NUMBERS})

    def __init__(self, unit: EpochUnit) -> None:
        self._unit = unit

    def quote(self, identifier: str) -> str:
        """See `Dialect`."""
        return '"' + identifier.replace('"', '""') + '"'

    def column(self, sql: str, type_: str, detail: str) -> Column:
        """See `Dialect`."""
        if type_ == LOOSE_TEXT:
            return Column(f'({sql}::text COLLATE "C")', C_TEXT, detail, indexed=sql)
        return Column(sql, type_, detail)

    def time(self, column: Column) -> TimeSql:
        """See `Dialect`."""
        if column.type in NATIVE:
            return NativeTime(column.sql, column.type)
        return NumberTime(column.sql, column.type, self._unit)

    def opened(self, column: Column, kind: Kind) -> Column:
        """See `Dialect`."""
        if kind is Kind.JSON or column.type not in _JSON:
            return column
        return Column(scalar(column.sql, column.type), "text", column.detail, reads=column.plain)

    def reference(self, column: Column, to: Column) -> Column:
        """See `Dialect`."""
        if to.type not in self.numbers or column.type not in _TEXTS:
            return column
        sql = f"regexp_replace(({column.sql})::text, '^(-?[0-9]+)[.]0+$', '\\1')"
        return Column(sql, "text", column.detail, reads=column.plain)

    def look_up(self, own: Column, wanted: Column) -> str | None:
        """See `Dialect`. Values that are none of the type of `own` are not cast."""
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

    def stamp(self, column: Column) -> str:
        """See `Dialect`."""
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

    def raw(self, field: RunField, column: Column) -> str:
        """See `Dialect`. Bytes come as bytes (`unpack` knows what they hold)."""
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

    def text(self, column: Column) -> str:
        """See `Dialect`."""
        if column.type in _NESTED:
            return f"to_json({column.sql})::text"
        if column.type == "money":
            return f"{column.sql}::numeric::text"
        return f"({column.sql})::text"

    def id(self, column: Column) -> str:
        """See `Dialect`. The cast through text is exact where float8::numeric keeps 15 digits only."""
        text = self.text(column)
        if column.type not in _NUMBERS:
            return text
        return f"(CASE WHEN {text} ~ '^[-0-9.e+]+$' THEN trim_scale({text}::numeric)::text ELSE {text} END)"

    def truth(self, column: Column) -> str:
        """See `Dialect`."""
        if column.type == "bool":
            return f"({column.sql} IS TRUE)"
        if column.type in INTEGERS or column.type in _NUMBERS:
            return f"(COALESCE({column.sql}, 0) <> 0)"
        if column.type in NATIVE:
            return f"({column.sql} IS NOT NULL)"
        return f"(lower(COALESCE({column.sql}::text, '')) NOT IN {_FALSY})"

    def bytewise(self, column: Column) -> str:
        """See `Dialect`. Other text than `LOOSE_TEXT` is equal only where its bytes are."""
        return column.sql if column.type != "json" else f"{column.sql}::text"

    def is_empty(self, column: Column) -> str:
        """See `Dialect`."""
        return f"(COALESCE({self.text(column)}, '') = '')"

    def is_project(self, column: Column, project: str) -> str:
        """See `Dialect`."""
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

    def as_project(self, column: Column, key: str) -> str:
        """See `Dialect`."""
        if column.type == "uuid" and _UUID.fullmatch(key):
            return str(uuid.UUID(key))
        is_whole = column.type in INTEGERS and key.isascii() and key.lstrip("-").isdecimal()
        return str(int(key)) if is_whole else key

    def canonical_id(self, column: Column) -> str:
        """See `Dialect`."""
        text = self.id(column)
        if column.type == "uuid":
            return text
        digits = f"right(regexp_replace(lower({text}), '[^0-9a-f]', '', 'g'), 32)"
        return f"(CASE WHEN lower({text}) ~ {_ANY_UUID} THEN {digits}::uuid::text ELSE NULLIF({text}, '') END)"

    def is_tenant(self, column: Column, tenant: str) -> str:
        """See `Dialect`. The usual spelling is found without looking at others."""
        if column.type == "uuid":
            found = parse_uuid(tenant)
            return "false" if found is None else f"{column.sql} = '{found}'::uuid"
        if not can_be_text(tenant):
            return "false"
        value = f"current_setting('{TENANT_SETTING}')"
        return f"({self.id(column)} = {value} OR {self.canonical_id(column)} = {value})"

    def order(self, column: Column) -> str:
        """See `Dialect`."""
        if column.type == "uuid" or column.type in INTEGERS:
            return column.sql
        return f'({self.text(column)}) COLLATE "C"'

    def same(self, left: Column, right: Column) -> str:
        """See `Dialect`."""
        if left.type == right.type:
            return f"{left.sql} = {right.sql}"
        if not {"uuid", *self.numbers}.isdisjoint({left.type, right.type}):
            return f"{self.id(left)} = {self.id(right)}"
        return f"{left.sql} = {right.sql}"

    def records(self, relation: Relation, *, where: str, order: Sequence[str]) -> str:
        """See `Dialect`."""
        by = f" ORDER BY {', '.join(order)}" if order else ""
        return f"(SELECT COALESCE(json_agg(row_to_json(f){by})::text, '[]') FROM {relation.from_('f')} WHERE {where})"

    def complaint(self, field: RunField, column: Column) -> str | None:
        """See `Dialect`."""
        if column.type == "bytea" and field.kind is not Kind.JSON:
            return "holds bytes; map an expression such as convert_from(column, 'UTF8')"
        if field.kind is Kind.TIME and column.type in {"bool", "uuid", "interval", "time", *_NESTED}:
            return f"is of type {column.type}, which is no time"
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
