"""The fast path: cells in their ordinary form, found and converted a column at a time.

A glance at a column (Arrow's counts, extremes and distinct values) often settles that all its cells are ordinary. For
the others Polars evaluates, in one query over all columns, either whether any cell is odd, or what the ordinary cells
become in the file. The odd cells are left to the rules of `cells`, one by one (`slow_path.py`).

What is ordinary here must come out exactly as those rules have it; the tests compare the two.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.runs import tree
from export_pipeline.runs.arrays import array_of, text_array
from export_pipeline.runs.cells import FLAGS
from export_pipeline.runs.ids import CANONICAL_UUID
from export_pipeline.runs.schema import (
    COST_PRECISION,
    COST_SCALE,
    FIELD_BY_NAME,
    RUN_TYPES,
    STATUSES,
    TRACE_TIERS,
    FormatVersion,
    Kind,
    RunField,
    arrow_type,
)
from export_pipeline.runs.times import MAX_MICROS, MICROS_IN_UNIT, MIN_MICROS, EpochUnit

CHOICES: dict[str, tuple[str, ...]] = {"run_type": RUN_TYPES, "status": STATUSES, "trace_tier": TRACE_TIERS}
"""The columns that hold one of a few words."""

_UUIDS = rf'^\[(?:"{CANONICAL_UUID}"(?:, ?"{CANONICAL_UUID}")*)?\]$'
_STRING = r'"[^"\\\x00-\x1f]*"'
_STRINGS = rf"^\[(?:{_STRING}(?:, ?{_STRING})*)?\]$"
_COMPACT_STRINGS = rf"^\[(?:{_STRING}(?:,{_STRING})*)?\]$"
_WITHOUT_ZONE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = r"(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
_FIRST, _LAST = (array_of([value], pa.int64())[0] for value in (MIN_MICROS, MAX_MICROS))
"""As Arrow has them: what compares with a number of Python's imports pandas where that is installed."""
_TREE = ("id", *tree.COLUMNS)
_MISPLACED = "misplaced"
_ID = 36
_STAMP = len("20260131T235959123456Z")
_SEGMENT = _STAMP + _ID + 1
_LISTED = len('"",') + _ID
"""Characters of an id in a list; one more where a blank follows each comma."""
_COUNT = r"^([0-9]{1,18})(?:\.0*)?$"
_COST = rf"^-?[0-9]{{1,{COST_PRECISION - COST_SCALE}}}(?:\.[0-9]{{1,{COST_SCALE}}})?$"


class FastPath:
    """What is ordinary in the small columns `fields` of one stream of raw batches.

    `raw` is the schema of the batches, `constants` say which columns hold one and the same id throughout.
    """

    def __init__(
        self,
        fields: Sequence[RunField],
        *,
        raw: pa.Schema,
        format_version: FormatVersion,
        epoch_unit: EpochUnit,
        constants: Mapping[str, UUID],
    ) -> None:
        self._fields = fields
        self._format_version = format_version
        self._epoch_unit = epoch_unit
        self._constants = {name: text_array([str(value).encode()])[0] for name, value in constants.items()}
        self._words: dict[str, set[str]] = {name: {str(value)} for name, value in constants.items()}
        self._words |= {name: set(choices) for name, choices in CHOICES.items()}
        texts = {each.name for each in fields if raw.field(each.name).type == pa.string()}
        self._text_times = {each.name for each in fields if each.kind is Kind.TIME and each.name in texts}
        self._converted = {
            each.name: _converted(each, format_version)
            for each in fields
            if each.kind in {Kind.COUNT, Kind.COST, Kind.STRINGS, Kind.FLAG} and each.name in texts
        }
        self._has_tree = {each.name for each in fields}.issuperset(_TREE)
        self._questions = {
            each.name: self._converted.get(each.name, self._odd(each)).alias(each.name) for each in fields
        }

    def look(self, columns: Mapping[str, pa.Array]) -> tuple[dict[str, pa.Array], dict[str, list[int]]]:
        """The columns with their ordinary cells in the file's type (null where odd), and the rows of the odd cells.

        Columns that hold in the file what the raw column holds are the same objects.
        """
        arrays: dict[str, pa.Array] = {}
        doubtful: list[RunField] = []
        for each in self._fields:
            column = columns[each.name]
            if each.name in self._constants and column.null_count:
                column = pc.fill_null(column, self._constants[each.name])
            if each.name in self._text_times:
                arrays[each.name] = _text_times(column, self._epoch_unit)
            elif column.null_count == len(column) and not each.required:
                arrays[each.name] = pa.nulls(len(column), arrow_type(each, self._format_version))
            else:
                arrays[each.name] = column
                if not self._settled(each, column):
                    doubtful.append(each)
        odd = self._ask(doubtful, columns, arrays)
        for each in self._fields:
            if each.name in self._converted or each.name in self._text_times:
                odd |= _missed(each, columns[each.name], arrays[each.name])
        misplaced = set(odd.pop(_MISPLACED, ()))
        if self._has_tree:
            misplaced.update(row for name in _TREE for row in odd.get(name, ()))
        if misplaced:
            odd |= dict.fromkeys(tree.COLUMNS, sorted(misplaced))
        return arrays, odd

    def _settled(self, field: RunField, column: pa.Array) -> bool:
        """Whether a glance shows that a column is ordinary throughout and passes through as it is."""
        if field.name in self._converted or (field.required and column.null_count):
            return False
        if field.name in self._words:
            words: set[str | None] = set(column.unique().to_pylist())
            return words <= self._words[field.name] | {None}
        if field.kind is Kind.TIME:
            first, last = (each.value for each in pc.min_max(column).values())
            return bool(first >= MIN_MICROS and last <= MAX_MICROS)
        return field.kind is not Kind.ID

    def _ask(
        self, doubtful: Sequence[RunField], columns: Mapping[str, pa.Array], arrays: dict[str, pa.Array]
    ) -> dict[str, list[int]]:
        """Puts the converted columns into `arrays`; the rows of the odd cells of the others, and of misplaced runs."""
        if not doubtful:
            return {}
        names = [each.name for each in doubtful]
        shown = sorted({*names, *(_TREE if self._has_tree else ())})
        frame = pl.DataFrame(pa.RecordBatch.from_arrays([columns[name] for name in shown], shown))
        asked = [*(self._questions[name] for name in names), *([_misplaced()] if self._has_tree else [])]
        odd: dict[str, list[int]] = {}
        for answer in frame.select(asked).iter_columns():
            if answer.name in self._converted:
                values = answer.to_arrow(compat_level=pl.CompatLevel.oldest())
                arrays[answer.name] = values.cast(arrow_type(FIELD_BY_NAME[answer.name], self._format_version))
            elif answer.any():
                odd[answer.name] = answer.arg_true().to_list()
        return odd

    def _odd(self, field: RunField) -> pl.Expr:
        """True for the odd cells of a column that is not converted."""
        cell = pl.col(field.name)
        odd = pl.lit(value=False)
        if field.name in self._words:
            odd = ~cell.is_in(sorted(self._words[field.name]))
        elif field.kind is Kind.TIME:
            odd = ~cell.cast(pl.Int64).is_between(MIN_MICROS, MAX_MICROS)
        elif field.kind is Kind.ID:
            odd = ~cell.str.contains(f"^{CANONICAL_UUID}$")
        return odd | cell.is_null() if field.required else odd


@lru_cache(maxsize=16)
def ordinary_cells(
    fields: tuple[RunField, ...],
    *,
    raw: pa.Schema,
    format_version: FormatVersion,
    epoch_unit: EpochUnit,
    constants: tuple[tuple[str, UUID], ...],
) -> FastPath:
    """`FastPath`, made once for all days of an export: making them takes as long as a small day's look at them."""
    return FastPath(fields, raw=raw, format_version=format_version, epoch_unit=epoch_unit, constants=dict(constants))


def _converted(field: RunField, format_version: FormatVersion) -> pl.Expr:
    """The ordinary cells of a column of text in the type of the file."""
    cell = pl.col(field.name)
    if field.kind is Kind.COUNT:
        return cell.str.extract(_COUNT).cast(pl.Int64)
    if field.kind is Kind.COST:
        return pl.when(cell.str.contains(_COST)).then(cell).cast(pl.Decimal(COST_PRECISION, COST_SCALE))
    if field.kind is Kind.FLAG:
        true = [word for word, is_set in FLAGS.items() if is_set]
        truth = pl.when(cell.is_in(true)).then(pl.lit(value=True))
        return truth.when(cell.is_in(sorted(FLAGS.keys() - true))).then(pl.lit(value=False))
    if field.name == "parent_run_ids":
        plain = pl.when(cell.str.contains(_UUIDS)).then(cell)
        return plain.str.replace_all(" ", "", literal=True) if format_version == "v1" else _decoded(plain)
    filled = cell.fill_null("[]")
    if format_version == "v2_beta":
        return _decoded(pl.when(filled.str.contains(_STRINGS)).then(filled))
    compact = filled.str.contains(_COMPACT_STRINGS)
    spaced = _decoded(pl.when(~compact & filled.str.contains(_STRINGS)).then(filled))
    return pl.when(compact).then(filled).otherwise(pl.lit('["') + spaced.list.join('","') + pl.lit('"]'))


@cache
def _misplaced() -> pl.Expr:
    """True where the tree columns do not plainly agree, all in canonical ids: `tree.place_of` decides what is right.

    Views of bytes are compared, which costs a tenth of a regular expression. Lists are held against their ends.
    """
    own, trace, parent, ancestors, order = (pl.col(name).cast(pl.Binary) for name in _TREE)
    size, listed, is_root = order.bin.size(), ancestors.bin.size(), parent.is_null()
    above = (size + 1) // _SEGMENT - 1
    before = order.bin.head(size - _SEGMENT)
    leads_here = (
        ((size + 1) % _SEGMENT == 0)
        & order.bin.ends_with(own)
        & (order.bin.slice(_STAMP, _ID) == trace)
        & pl.when(above > 0).then(before.bin.ends_with(parent).fill_null(value=False)).otherwise(is_root)
        & ((listed == _LISTED * above + 1) | (listed == (_LISTED + 1) * above) | (above == 0)).fill_null(value=True)
    )
    child = (ancestors.bin.slice(2, _ID) == trace) & (ancestors.bin.slice(-2 - _ID, _ID) == parent)
    follows = pl.when(is_root).then(ancestors == pl.lit(b"[]")).otherwise(child)
    return (~(leads_here.fill_null(value=True) & follows.fill_null(value=True))).alias(_MISPLACED)


def _decoded(texts: pl.Expr) -> pl.Expr:
    return texts.str.json_decode(pl.List(pl.String))


def _missed(field: RunField, raw: pa.Array, converted: pa.Array) -> dict[str, list[int]]:
    """The rows of the cells that were not converted, under the column's name; nothing where there are none."""
    if converted.null_count == (0 if field.required else raw.null_count):
        return {}
    missed = converted.is_null() if field.required else pc.and_(converted.is_null(), raw.is_valid())
    return {field.name: pc.indices_nonzero(missed).to_pylist()}


def _text_times(texts: pa.Array, epoch_unit: EpochUnit) -> pa.Array:
    """The times of the cells that hold plain ISO 8601 or a whole epoch number; null for all others.

    Arrow reads ISO 8601 ten times as fast as Polars, but refuses a whole column for one bad cell: then all are odd.
    """
    cell = pl.col("cell")
    numerator, denominator = MICROS_IN_UNIT[epoch_unit]
    digits = 18 - len(str(numerator))
    number = pl.when(cell.str.contains(rf"^[0-9]{{1,{digits}}}$")).then(cell).cast(pl.Int64)
    forms = pl.DataFrame({"cell": pl.Series(texts)}).select(
        without=pl.when(cell.str.contains(f"^{_WITHOUT_ZONE}$")).then(cell),
        zoned=pl.when(cell.str.contains(f"^{_WITHOUT_ZONE}{_ZONE}$")).then(cell),
        number=number * numerator // denominator,
    )
    without, zoned, number_found = (
        form.to_arrow(compat_level=pl.CompatLevel.oldest()) for form in forms.iter_columns()
    )
    try:
        parts = [
            without.cast(pa.timestamp("us")).view(pa.int64()),
            zoned.cast(pa.timestamp("us", tz="UTC")).view(pa.int64()),
            number_found,
        ]
    except pa.ArrowInvalid:
        parts = [number_found]
    parsed = pc.coalesce(*parts)
    inside = pc.and_(pc.greater_equal(parsed, _FIRST), pc.less_equal(parsed, _LAST))
    return pc.if_else(inside, parsed, pa.nulls(1, pa.int64())[0]).view(pa.timestamp("us", tz="UTC"))
