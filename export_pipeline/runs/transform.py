"""Raw batches to batches of the file: pure, one batch in, one batch out, rows in the same order.

Every row of the source comes out either as a row of the file or as a rejected row with its reason. Payload columns
pass through untouched. Polars looks at the small columns, all of them in one go, and finds most batches in order; a
column with cells out of order is put right cell by cell (`odd.py`). Where a step raises all the same, the batch is
split until the bad row stands alone. `docs/columns.md` states the rules for readers.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.runs.cells import Replaced, with_original_ids
from export_pipeline.runs.odd import DERIVED_FROM, OddCells
from export_pipeline.runs.ordinary import Ordinary, ordinary
from export_pipeline.runs.raw import check_raw
from export_pipeline.runs.schema import (
    FIELD_BY_NAME,
    RUN_FIELDS,
    FormatVersion,
    Kind,
    RunField,
    arrow_schema,
    arrow_type,
)
from export_pipeline.runs.text import mended
from export_pipeline.runs.times import MAX_MICROS, MIN_MICROS, EpochUnit
from export_pipeline.runs.window import Window

SHOWN_CHARACTERS = 200
"""How much of an id or a time stands in the record of a rejected row."""

ROW_FAULTS = (
    ValueError,
    ArithmeticError,
    RecursionError,
    pa.ArrowCapacityError,
    pa.ArrowNotImplementedError,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)
"""What a value can make a library raise. Others (no memory, a misspelt name) are no fault of a row and fail the day."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OutsideWindowError(RuntimeError):
    """A source yielded a row whose start_time lies outside the window it was asked for: a programming error."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that is not exported: its id and start_time as far as known, at most 200 characters each, and why.

    Reasons are from a small set ("start_time: missing") and never hold values.
    """

    id: str | None
    start_time: str | None
    reason: str


@dataclass(frozen=True)
class RunBatch:
    """Rows in the schema of the file. `rows_source == rows.num_rows + len(rejected)`, always.

    `replaced` counts, under `"column: why"`, the cells of these rows that are not what the trace store holds.
    """

    rows: pa.RecordBatch
    rows_source: int
    rejected: tuple[RejectedRow, ...] = ()
    replaced: Mapping[str, int] = field(default_factory=dict)


class RunTransform:
    """The transform of one project's rows into the files of one export.

    `tenant_id` and `session_id` stand in for cells that are null. `epoch_unit` is the unit of times that are numbers.
    With a `window`, a row that starts outside raises `OutsideWindowError`.
    """

    def __init__(
        self,
        *,
        tenant_id: UUID,
        session_id: UUID,
        fields: tuple[RunField, ...],
        format_version: FormatVersion,
        epoch_unit: EpochUnit = "s",
        window: Window | None = None,
    ) -> None:
        self.schema = arrow_schema(fields, format_version)
        self._fields = fields
        self._format_version = format_version
        self._epoch_unit = epoch_unit
        self._constants = {"tenant_id": tenant_id, "session_id": session_id}
        self._window = None if window is None else (_micros(window.start), _micros(window.end))
        self._needed = _needed(fields)
        self._small = [each for each in self._needed if not each.payload]
        self._checked: pa.Schema | None = None
        self._ordinary: dict[str, Ordinary] = {}

    def __call__(self, raw: pa.RecordBatch) -> RunBatch:
        """The rows of a raw batch (`runs.raw`) for the file.

        Raises `TypeError` for a batch that is not in the raw form and `OutsideWindowError`; never because of a value.
        """
        if self._checked is None or not raw.schema.equals(self._checked):
            check_raw(raw)
            self._ordinary = {each.name: self._expressions(each, raw) for each in self._small}
            self._checked = raw.schema
        return self._whole_or_halves(raw)

    def _expressions(self, each: RunField, raw: pa.RecordBatch) -> Ordinary:
        return ordinary(
            each,
            is_text=raw.schema.field(each.name).type == pa.string(),
            format_version=self._format_version,
            epoch_unit=self._epoch_unit,
            constant=self._constants.get(each.name),
        )

    def _whole_or_halves(self, raw: pa.RecordBatch) -> RunBatch:
        if not raw.num_rows:
            return RunBatch(_no_rows(self.schema), 0)
        try:
            return self._convert(raw)
        except ROW_FAULTS as error:
            if raw.num_rows == 1:
                alone = _rejected(raw, 0, f"cannot be converted: {type(error).__name__}")
                return RunBatch(_no_rows(self.schema), 1, (alone,))
        half = raw.num_rows // 2
        return _joined(self._whole_or_halves(raw.slice(0, half)), self._whole_or_halves(raw.slice(half)))

    def _convert(self, raw: pa.RecordBatch) -> RunBatch:
        columns: dict[str, pa.Array] = {}
        not_utf8: dict[tuple[str, Replaced], list[int]] = {}
        for each in self._needed:
            columns[each.name] = raw.column(each.name)
            if columns[each.name].type == pa.string():
                how = "backslashreplace" if each.kind is Kind.ID else "replace"
                columns[each.name], rows = mended(columns[each.name], errors=how)
                if rows:
                    not_utf8[each.name, Replaced.NOT_UTF8] = rows
        converted, odd_rows = self._look(columns)
        odd = OddCells(
            columns=converted, raw=columns, odd=odd_rows, constants=self._constants, epoch_unit=self._epoch_unit
        )
        odd.replaced.update(not_utf8)
        start_times = self._array(FIELD_BY_NAME["start_time"], odd, converted, odd_rows)
        self._array(FIELD_BY_NAME["id"], odd, converted, odd_rows)  # a row without an id is rejected, shown or not
        arrays = {each.name: self._array(each, odd, converted, odd_rows) for each in self._fields}
        if odd.original_ids and "extra" in arrays:
            arrays["extra"] = self._with_original_ids(arrays["extra"], odd)
        return self._result(raw, arrays, start_times=start_times, odd=odd)

    def _look(self, columns: Mapping[str, pa.Array]) -> tuple[dict[str, pa.Array], dict[str, list[int]]]:
        """The columns with their ordinary cells converted, and the rows of the other cells."""
        names = [each.name for each in self._small]
        frame = pl.DataFrame(pa.RecordBatch.from_arrays([columns[name] for name in names], names))
        expressions = [
            each.converted.alias(name) for name, each in self._ordinary.items() if each.converted is not None
        ]
        expressions += [each.odd.any().alias(f"{name}: odd") for name, each in self._ordinary.items()]
        seen = frame.select(expressions)
        converted = dict(columns)
        for name, each in self._ordinary.items():
            if each.converted is not None:
                found = seen.get_column(name).to_arrow(compat_level=pl.CompatLevel.oldest())
                converted[name] = found.cast(arrow_type(FIELD_BY_NAME[name], self._format_version))
        names = [name for name in names if seen.get_column(f"{name}: odd")[0]]
        if not names:
            return converted, {}
        masks = frame.select(self._ordinary[name].odd.alias(name) for name in names)
        return converted, {name: masks.get_column(name).arg_true().to_list() for name in names}

    def _array(
        self, each: RunField, odd: OddCells, converted: Mapping[str, pa.Array], odd_rows: Mapping[str, list[int]]
    ) -> pa.Array:
        if each.name not in odd_rows:
            return converted[each.name]
        values = odd.values(each.name)
        if each.kind is Kind.TIME:
            return pa.array(values, pa.int64()).view(arrow_type(each, self._format_version))
        if each.kind is Kind.STRINGS and self._format_version == "v1":
            values = [_compact(value) if isinstance(value, list) else value for value in values]
        return pa.array(values, arrow_type(each, self._format_version))

    def _with_original_ids(self, extra: pa.Array, odd: OddCells) -> pa.Array:
        texts = extra.to_pylist()
        for row, originals in odd.original_ids.items():
            exported = {each.name: originals[each.name] for each in self._fields if each.name in originals}
            if exported:
                texts[row] = with_original_ids(texts[row], exported)
        return pa.array(texts, pa.string())

    def _result(
        self, raw: pa.RecordBatch, arrays: Mapping[str, pa.Array], *, start_times: pa.Array, odd: OddCells
    ) -> RunBatch:
        rows = pa.RecordBatch.from_arrays(list(arrays.values()), schema=self.schema)
        rejected = sorted(odd.rejected.items())
        if rejected:
            kept = pa.array([row not in odd.rejected for row in range(raw.num_rows)])
            rows, start_times = rows.filter(kept), start_times.filter(kept)
        self._check_window(start_times)
        replaced: Counter[str] = Counter()
        for (name, why), places in odd.replaced.items():
            if name in arrays:
                replaced[f"{name}: {why}"] += sum(row not in odd.rejected for row in places)
        return RunBatch(
            rows=rows,
            rows_source=raw.num_rows,
            rejected=tuple(_rejected(raw, row, reason) for row, reason in rejected),
            replaced=dict(sorted((+replaced).items())),
        )

    def _check_window(self, start_times: pa.Array) -> None:
        if self._window is None or not len(start_times):
            return
        first, last = (each.value for each in pc.min_max(start_times).values())
        if first < self._window[0] or last >= self._window[1]:
            raise OutsideWindowError(
                f"the trace store gave rows that start from {first} to {last} microseconds since 1970,"
                f" for the window from {self._window[0]} to before {self._window[1]}"
            )


def _needed(fields: Iterable[RunField]) -> list[RunField]:
    names = {each.name for each in fields} | {"id", "start_time"}
    for name in tuple(names):
        names.update(DERIVED_FROM.get(name, ()))
    return [each for each in RUN_FIELDS if each.name in names]


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _compact(strings: list[str]) -> str:
    return json.dumps(strings, ensure_ascii=False, separators=(",", ":"))


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _joined(first: RunBatch, second: RunBatch) -> RunBatch:
    return RunBatch(
        rows=pa.concat_batches([first.rows, second.rows]),
        rows_source=first.rows_source + second.rows_source,
        rejected=first.rejected + second.rejected,
        replaced=dict(sorted((Counter(first.replaced) + Counter(second.replaced)).items())),
    )


def _rejected(raw: pa.RecordBatch, row: int, reason: str) -> RejectedRow:
    return RejectedRow(_shown(raw.column("id"), row), _shown(raw.column("start_time"), row), reason)


def _shown(column: pa.Array, row: int) -> str | None:
    cell = column.slice(row, 1)
    if pa.types.is_timestamp(column.type):
        value = cell.view(pa.int64())[0].as_py()
        if value is not None and MIN_MICROS <= value <= MAX_MICROS:
            return (_EPOCH + timedelta(microseconds=value)).isoformat()
        return None if value is None else f"{value} microseconds since 1970"
    found = cell.view(pa.binary())[0].as_py()
    return None if found is None else str(found.decode(errors="backslashreplace"))[:SHOWN_CHARACTERS]
