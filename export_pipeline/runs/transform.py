"""Raw batches to batches of the file: pure, one batch out for each one in, rows in the same order.

Every row of the source comes out either as a row of the file or as a rejected row with its reason. Payload columns
pass through untouched. The small columns are looked at all together (`fast_path.py`) and mostly found in order; a
column with odd cells is put right cell by cell (`slow_path.py`). Where a step raises all the same, the batch is split
until the bad row stands alone. `docs/columns.md` states the rules for readers.
"""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.runs import tree
from export_pipeline.runs.arrays import array_of, flags_array, instants_array
from export_pipeline.runs.cells import with_original_ids
from export_pipeline.runs.fast_path import FastPath, ordinary_cells
from export_pipeline.runs.gather import Gathered, gather
from export_pipeline.runs.raw import check_raw, failed_fields
from export_pipeline.runs.rejected import RejectedRow, rejected_row
from export_pipeline.runs.schema import (
    RUN_FIELDS,
    FormatVersion,
    Kind,
    RunField,
    arrow_schema,
    arrow_type,
)
from export_pipeline.runs.slow_path import DERIVED_FROM, SlowPath
from export_pipeline.runs.times import EpochUnit, microseconds
from export_pipeline.runs.window import Window

GROUP_BYTES = 8 * 1024 * 1024
"""Bytes of raw batches whose small columns are looked at together."""

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


class OutsideWindowError(RuntimeError):
    """A source yielded a row whose start_time lies outside the window it was asked for: a programming error."""


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
        self._window = None if window is None else (microseconds(window.start), microseconds(window.end))
        self._keeping_originals = [each.name for each in fields if each.kind is Kind.ID or each.name == "dotted_order"]
        finished = {"id", "start_time", *(each.name for each in fields)}
        self._finished_fields = [each for each in RUN_FIELDS if each.name in finished]
        self._needed = _with_origins(self._finished_fields)
        self._checked: tuple[pa.Schema, FastPath] | None = None

    def __call__(self, raw: pa.RecordBatch) -> RunBatch:
        """The rows of a raw batch (`runs.raw`) for the file.

        Raises `TypeError` for a batch that is not in the raw form and `OutsideWindowError`; never because of a value.
        """
        return self._together([raw])[0]

    def stream(self, raws: Iterable[pa.RecordBatch], *, group_bytes: int = GROUP_BYTES) -> Iterator[RunBatch]:
        """The same for a stream of batches, whose small columns are looked at together, `group_bytes` at a time.

        As many batches come out as went in. Looking costs some milliseconds however few the rows, so this is cheaper.
        """
        group: list[pa.RecordBatch] = []
        gathered = 0
        for raw in raws:
            group.append(raw)
            gathered += raw.nbytes
            if gathered >= group_bytes:
                yield from self._together(group)
                group, gathered = [], 0
        yield from self._together(group)

    def _together(self, raws: Sequence[pa.RecordBatch]) -> list[RunBatch]:
        for raw in raws:
            self._ordinary(raw)
        if len(raws) > 1:
            try:
                return self._convert(raws)
            except ROW_FAULTS:
                pass
        return [self._whole_or_halves(raw) for raw in raws]

    def _ordinary(self, raw: pa.RecordBatch) -> FastPath:
        if self._checked is None or not raw.schema.equals(self._checked[0]):
            check_raw(raw)
            ordinary = ordinary_cells(
                tuple(each for each in self._needed if not each.payload),
                raw=raw.schema,
                format_version=self._format_version,
                epoch_unit=self._epoch_unit,
                constants=tuple(self._constants.items()),
            )
            self._checked = (raw.schema, ordinary)
        return self._checked[1]

    def _whole_or_halves(self, raw: pa.RecordBatch) -> RunBatch:
        try:
            return self._convert([raw])[0]
        except ROW_FAULTS as error:
            if raw.num_rows == 1:
                alone = rejected_row(raw, 0, f"cannot be converted: {type(error).__name__}")
                return RunBatch(self._no_rows(), 1, (alone,))
        half = raw.num_rows // 2
        return _joined(self._whole_or_halves(raw.slice(0, half)), self._whole_or_halves(raw.slice(half)))

    def _convert(self, raws: Sequence[pa.RecordBatch]) -> list[RunBatch]:
        if not any(raw.num_rows for raw in raws):
            return [RunBatch(self._no_rows(), 0) for _ in raws]
        gathered = gather(raws, self._needed)
        arrays, odd_rows = self._ordinary(raws[0]).look(gathered.small)
        odd = SlowPath(
            columns=arrays,
            raw=gathered.columns(),
            spelled=gathered.spelled,
            original_ids=gathered.original_ids,
            odd=odd_rows,
            constants=self._constants,
            epoch_unit=self._epoch_unit,
        )
        for each in self._finished_fields:
            if each.name in odd_rows:
                arrays[each.name] = self._finished(each, odd)
        for place, raw in enumerate(raws):
            if failed := [name for name in failed_fields(raw) if name in {each.name for each in self._needed}]:
                rows = range(gathered.starts[place], gathered.starts[place + 1])
                odd.rejected |= dict.fromkeys(rows, f"{', '.join(failed)}: the mapping's expression fails")
        self._check_window(arrays["start_time"], odd)
        replaced = self._replaced(gathered, odd)
        return [
            self._batch(raw, place, gathered=gathered, ordinary=arrays, odd=odd, replaced=replaced[place])
            for place, raw in enumerate(raws)
        ]

    def _finished(self, each: RunField, odd: SlowPath) -> pa.Array:
        values = odd.values(each.name)
        if each.kind is Kind.TIME:
            return instants_array(values)
        if each.kind is Kind.STRINGS and self._format_version == "v1":
            values = [_compact(value) if isinstance(value, list) else value for value in values]
        return array_of(values, arrow_type(each, self._format_version))

    def _batch(
        self,
        raw: pa.RecordBatch,
        place: int,
        *,
        gathered: Gathered,
        ordinary: Mapping[str, pa.Array],
        odd: SlowPath,
        replaced: Mapping[str, int],
    ) -> RunBatch:
        start, end = gathered.starts[place], gathered.starts[place + 1]
        arrays = {
            each.name: gathered.payload[each.name][place]
            if each.payload
            else ordinary[each.name].slice(start, end - start)
            for each in self._fields
        }
        if "extra" in arrays:
            arrays["extra"] = self._with_original_ids(arrays["extra"], start, odd)
        rows = pa.RecordBatch.from_arrays(list(arrays.values()), schema=self.schema)
        rejected = {row - start: why for row, why in odd.rejected.items() if start <= row < end}
        if rejected:
            rows = rows.filter(flags_array([row not in rejected for row in range(end - start)]))
        return RunBatch(
            rows=rows,
            rows_source=raw.num_rows,
            rejected=tuple(rejected_row(raw, row, why) for row, why in sorted(rejected.items())),
            replaced=replaced,
        )

    def _with_original_ids(self, extra: pa.Array, start: int, odd: SlowPath) -> pa.Array:
        shown = {
            row - start: {name: ids[name] for name in self._keeping_originals if name in ids}
            for row, ids in odd.original_ids.items()
            if start <= row < start + len(extra)
        }
        if not any(shown.values()):
            return extra
        texts = extra.to_pylist()
        for row, ids in shown.items():
            texts[row] = with_original_ids(texts[row], ids) if ids else texts[row]
        return array_of(texts, pa.string())

    def _replaced(self, gathered: Gathered, odd: SlowPath) -> list[dict[str, int]]:
        """For each batch the replaced cells of the rows and columns that are exported."""
        counts: list[Counter[str]] = [Counter() for _ in gathered.starts[1:]]
        cells = {**odd.replaced, **gathered.mended}
        exported = {each.name for each in self._fields}
        for (name, why), rows in cells.items():
            for row in rows if name in exported else ():
                if row not in odd.rejected:
                    counts[bisect_right(gathered.starts, row) - 1][f"{name}: {why}"] += 1
        return [dict(sorted(each.items())) for each in counts]

    def _check_window(self, start_times: pa.Array, odd: SlowPath) -> None:
        if self._window is None:
            return
        if odd.rejected:
            start_times = start_times.filter(flags_array([row not in odd.rejected for row in range(len(start_times))]))
        first, last = (each.value for each in pc.min_max(start_times).values())
        if first is not None and (first < self._window[0] or last >= self._window[1]):
            raise OutsideWindowError(
                f"the trace store gave rows that start from {first} to {last} microseconds since 1970,"
                f" for the window from {self._window[0]} to before {self._window[1]}"
            )

    def _no_rows(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in self.schema], schema=self.schema)


def _with_origins(fields: Iterable[RunField]) -> list[RunField]:
    """The fields and those from which they may have to be derived, in the schema's order."""
    names = {each.name for each in fields}
    for name in tuple(names):
        names.update(DERIVED_FROM.get(name, ()))
    if not names.isdisjoint(tree.COLUMNS):
        names.update(("id", *tree.COLUMNS))
    return [each for each in RUN_FIELDS if each.name in names]


def _compact(strings: list[str]) -> str:
    return json.dumps(strings, ensure_ascii=False, separators=(",", ":"))


def _joined(first: RunBatch, second: RunBatch) -> RunBatch:
    return RunBatch(
        rows=pa.concat_batches([first.rows, second.rows]),
        rows_source=first.rows_source + second.rows_source,
        rejected=first.rejected + second.rejected,
        replaced=dict(sorted((Counter(first.replaced) + Counter(second.replaced)).items())),
    )
