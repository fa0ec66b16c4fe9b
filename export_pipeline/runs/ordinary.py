"""Cells in their ordinary form, found and converted by Polars, a column at a time.

For each column there are two expressions over the raw columns. `odd` is true for the cells that are *not* ordinary:
those are left to the rules of `cells` and `odd`, one by one. `converted` gives the value in the file's type and is
null for odd cells; where it is missing the raw column already is what the file holds, and passes through untouched.

What is ordinary here must come out exactly as the single-cell rules have it; the tests compare the two.
"""

from dataclasses import dataclass
from uuid import UUID

import polars as pl

from export_pipeline.runs.schema import (
    COST_PRECISION,
    COST_SCALE,
    RUN_TYPES,
    STATUSES,
    TRACE_TIERS,
    FormatVersion,
    Kind,
    RunField,
)
from export_pipeline.runs.times import MAX_MICROS, MICROS_IN_UNIT, MIN_MICROS, EpochUnit

CHOICES: dict[str, tuple[str, ...]] = {"run_type": RUN_TYPES, "status": STATUSES, "trace_tier": TRACE_TIERS}
"""The columns that hold one of a few words."""

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUIDS = rf'^\[(?:"{_UUID}"(?:, ?"{_UUID}")*)?\]$'
_STRING = r'"[^"\\\x00-\x1f]*"'
_STRINGS = rf"^\[(?:{_STRING}(?:, ?{_STRING})*)?\]$"
_COMPACT_STRINGS = rf"^\[(?:{_STRING}(?:,{_STRING})*)?\]$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|\+00(?::?00)?)?$"
)
_COUNT = r"^([0-9]{1,18})(?:\.0*)?$"
_COST = rf"^-?[0-9]{{1,{COST_PRECISION - COST_SCALE}}}(?:\.[0-9]{{1,{COST_SCALE}}})?$"


@dataclass(frozen=True)
class Ordinary:
    """The two expressions of a column; `converted` is None where the raw column passes through."""

    odd: pl.Expr
    converted: pl.Expr | None = None


def ordinary(
    field: RunField,
    *,
    is_text: bool,
    format_version: FormatVersion,
    epoch_unit: EpochUnit,
    constant: UUID | None,
) -> Ordinary:
    """The expressions of a column; `is_text` says whether its raw form is text, `constant` what it holds throughout."""
    if constant is not None:
        return Ordinary(pl.col(field.name).ne_missing(pl.lit(str(constant))))
    if field.kind is Kind.TIME:
        return _time_text(field, epoch_unit) if is_text else _time(field)
    if field.kind is Kind.STRINGS:
        return _lists(field, format_version)
    if field.kind in {Kind.COUNT, Kind.FLAG}:
        return _number_or_flag_text(field) if is_text else Ordinary(_odd(field))
    if field.kind is Kind.COST:
        plain = pl.when(pl.col(field.name).str.contains(_COST)).then(pl.col(field.name))
        return _converted(field, plain.cast(pl.Decimal(COST_PRECISION, COST_SCALE)))
    return _text(field)


def _odd(field: RunField, odd: pl.Expr | None = None) -> pl.Expr:
    null = pl.col(field.name).is_null() if field.required else pl.lit(value=False)
    return null if odd is None else odd | null


def _converted(field: RunField, converted: pl.Expr) -> Ordinary:
    missed = converted.is_null() if field.required else converted.is_null() & pl.col(field.name).is_not_null()
    return Ordinary(missed, converted)


def _text(field: RunField) -> Ordinary:
    cell = pl.col(field.name)
    if field.name in CHOICES:
        return Ordinary(_odd(field, ~cell.is_in(list(CHOICES[field.name]))))
    if field.kind is not Kind.ID:
        return Ordinary(_odd(field))
    odd = _odd(field, ~cell.str.contains(f"^{_UUID}$"))
    if field.name == "parent_run_id":  # a run whose dotted_order has more than one segment has a parent
        odd |= cell.is_null() & pl.col("dotted_order").str.contains(".", literal=True)
    return Ordinary(odd)


def _number_or_flag_text(field: RunField) -> Ordinary:
    cell = pl.col(field.name)
    if field.kind is Kind.COUNT:
        return _converted(field, cell.str.extract(_COUNT).cast(pl.Int64))
    truth = pl.when(cell.is_in(["1", "t", "true"])).then(pl.lit(value=True))
    return _converted(field, truth.when(cell.is_in(["0", "f", "false"])).then(pl.lit(value=False)))


def _time(field: RunField) -> Ordinary:
    return Ordinary(_odd(field, ~pl.col(field.name).cast(pl.Int64).is_between(MIN_MICROS, MAX_MICROS)))


def _time_text(field: RunField, epoch_unit: EpochUnit) -> Ordinary:
    cell = pl.col(field.name)
    plain = pl.when(cell.str.contains(_ISO)).then(cell.str.slice(0, 10) + pl.lit("T") + cell.str.slice(11, 8))
    whole = plain.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False, cache=False).cast(pl.Int64)
    numerator, denominator = MICROS_IN_UNIT[epoch_unit]
    places = len(str(numerator)) - 1  # decimal places of a unit that are whole microseconds
    digits = cell.str.extract(rf"^([0-9]{{1,{18 - places}}})(?:\.[0-9]*)?$").cast(pl.Int64)
    epoch = digits * numerator // denominator
    if places:
        epoch += _fraction(cell, places)
    value = pl.coalesce(whole + _fraction(cell, 6), epoch)
    inside = pl.when(value.is_between(MIN_MICROS, MAX_MICROS)).then(value)
    return _converted(field, inside.cast(pl.Datetime("us", "UTC")))


def _fraction(cell: pl.Expr, places: int) -> pl.Expr:
    digits = cell.str.extract(rf"\.([0-9]{{1,{places}}})").str.pad_end(places, "0")
    return digits.cast(pl.Int64).fill_null(0)


def _lists(field: RunField, format_version: FormatVersion) -> Ordinary:
    """Lists of plain strings; in `v1` they stay text, written without blanks between the elements."""
    cell = pl.col(field.name)
    if field.name == "parent_run_ids":
        plain = pl.when(cell.str.contains(_UUIDS)).then(cell)
        if format_version == "v1":
            return _converted(field, plain.str.replace_all(" ", "", literal=True))
        return _converted(field, plain.str.json_decode(pl.List(pl.String)))
    filled = cell.fill_null("[]")
    if format_version == "v1":
        compact = filled.str.contains(_COMPACT_STRINGS)
        spaced = pl.when(~compact & filled.str.contains(_STRINGS)).then(filled)
        joined = pl.lit('["') + spaced.str.json_decode(pl.List(pl.String)).list.join('","') + pl.lit('"]')
        return _converted(field, pl.when(compact).then(filled).otherwise(joined))
    return _converted(field, pl.when(filled.str.contains(_STRINGS)).then(filled).str.json_decode(pl.List(pl.String)))
