"""The rows of one window out of ClickHouse, and what is counted of them, all from one SELECT."""

from collections import defaultdict
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.arrays import flags_array
from export_pipeline.runs.raw import with_failed
from export_pipeline.runs.schema import RUN_FIELDS, Kind
from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.sources.clickhouse import failing
from export_pipeline.sources.clickhouse.failing import Failing, FailingPlaces
from export_pipeline.sources.clickhouse.queries import ClickhouseQueries
from export_pipeline.sources.sql.counting import Counted, count_days
from export_pipeline.sources.sql.failing import ExpressionError
from export_pipeline.sources.sql.filter_rows import RowFilter
from export_pipeline.sources.sql.queries import Output
from export_pipeline.sources.sql.source import Counted as SnapshotCounts
from export_pipeline.sources.sql.source import Reading

BATCH_BYTES = 4 * 1024 * 1024


class Session(failing.Session, Protocol):
    """What is needed of a session."""

    def stream(self, sql: str, *, fails_early: bool = False) -> Generator[pa.RecordBatch]:
        """The batches of a query as they come; `fails_early`: with the first one all values have been computed."""


class ClickhouseReading(Reading):
    """The rows of a window. What is asked before they are read is a statement of its own, and compared at the end."""

    def __init__(
        self,
        session: Session,
        *,
        queries: ClickhouseQueries,
        window: Window,
        fields: Collection[str] | None,
        unit: EpochUnit,
    ) -> None:
        self._session, self._queries, self._window, self._unit = session, queries, window, unit
        self._fields = fields
        self._failing: Failing = {}
        self._day = queries.day(window, fields, self._failing)
        self._filter = None if queries.tree is None else RowFilter(queries.tree, unit=unit)
        self._told: Counted | None = None
        self._read: Counted | None = None

    def _counted(self) -> Counted:
        if self._read is not None:
            return self._read
        if self._told is None:
            days = count_days(self._session.rows, self._queries, self._window, unit=self._unit)
            self._told = sum(days.values(), Counted())
        return self._told

    @property
    @override
    def counted(self) -> SnapshotCounts:
        totals = self._counted()
        return (
            totals.rows,
            totals.newest,
            totals.rows + totals.superseded if self._day.versions else None,
            totals.digest,
        )

    @property
    @override
    def records(self) -> tuple[int, int | None] | None:
        totals = self._counted()
        return (totals.records, totals.newest_record) if self._day.feedback else None

    @override
    def batches(self) -> Generator[pa.RecordBatch]:
        has_begun = False
        while self._read is None:
            try:
                for batch in self._batches():
                    has_begun = True
                    yield batch
                    del batch
            except ExpressionError as error:
                self._leave_out_failing(error, has_begun=has_begun)

    def _leave_out_failing(self, failure: ExpressionError, *, has_begun: bool) -> None:
        """Makes ready to read anew without what fails; raises where that is something else, or rows have been given."""
        fields = [
            output.field.name
            for output in self._day.outputs
            if output.sql is not None and output.field.name in self._queries.expressions
        ]
        if not fields:
            raise failure
        places = FailingPlaces(self._session, self._queries, self._window, failure)
        found = places.find(fields)
        if not found or found == self._failing:
            raise failure
        if has_begun:
            field, (place, *_) = next(iter(found.items()))
            raise places.unusable(field, place, rows_are="rows such as")
        self._failing, self._day = found, self._queries.day(self._window, self._fields, found)

    def _batches(self) -> Generator[pa.RecordBatch]:
        counted, choice = Counted(), _Choice()
        for batch in self._session.stream(self._day.sql, fails_early=not self._queries.is_plain):
            newest = choice.newest(batch) if self._day.versions else None
            matching = None if self._filter is None else self._matching(batch, self._filter)
            kept = _both(newest, matching)
            counted += self._of(
                batch, kept, among=batch.num_rows if matching is None else pc.sum(matching).as_py() or 0
            )
            marks = self._marks(batch, kept)
            raw = _raw(batch, self._day.outputs)
            del batch
            raw = raw if kept is None else raw.filter(kept)
            yield from _parts(raw) if not marks else _marked(raw, marks)
            del raw
        if self._told is not None and self._told != counted:
            raise SourceUnreachableError("the trace store changed between two statements that read it; try again")
        self._read = counted

    def _marks(self, batch: pa.RecordBatch, kept: pa.Array | None) -> dict[int, list[str]]:
        """The fields that were left out of kept rows, by the number of the row."""
        if not self._failing:
            return {}
        starts, hashes = (batch.column(name) for name in ("start_time out", "place"))
        if kept is not None:
            starts, hashes = starts.filter(kept), hashes.filter(kept)
        marks = defaultdict(list)
        for name, places in self._failing.items():
            among = set(places)
            maybe = pc.is_in(hashes, pa.array([place for _, place in places], pa.uint64()))
            for row in pc.indices_nonzero(maybe).to_pylist():
                if (starts[row].as_py(), hashes[row].as_py()) in among:
                    marks[row].append(name)
        return marks

    def _matching(self, batch: pa.RecordBatch, judged: RowFilter) -> pa.Array:
        cells = [_cells(batch.column(f"filter {name}")) for name in self._day.filtered]
        rows = zip(*cells, strict=True) if cells else ((),) * batch.num_rows
        return flags_array([judged.matches(dict(zip(self._day.filtered, row, strict=True))) for row in rows])

    def _of(self, batch: pa.RecordBatch, kept: pa.Array | None, *, among: int) -> Counted:
        """What is counted of the kept rows; `among` match the filter."""

        def of_kept(name: str) -> pa.Array:
            column = batch.column(name)
            return column if kept is None else column.filter(kept)

        changed = of_kept("changed")
        rows = len(changed)
        records = newest_record = None
        if self._day.feedback:
            records, newest_record = pc.sum(of_kept("records")).as_py(), pc.max(of_kept("newest record")).as_py()
        digest = pc.sum(of_kept("digest")).as_py() if self._day.digest else None
        return Counted(rows, among - rows, pc.max(changed).as_py(), records or 0, newest_record, digest)


class _Choice:
    """Which of the newest versions of a run counts: those that agree come one after the other, and it is the first."""

    def __init__(self) -> None:
        self._last: tuple[Any, ...] | None = None
        self._has_one = False

    def newest(self, batch: pa.RecordBatch) -> pa.Array:
        """Flags of the rows that count."""
        newest = batch.column("export pipeline newest").cast(pa.bool_())
        starts, runs, ids = (batch.column(name) for name in ("start_time out", "run", "id out"))
        keys = starts, runs, ids
        again = pc.and_kleene(pc.equal(starts[1:], starts[:-1]), pc.equal(runs[1:], runs[:-1]))
        if batch.num_rows and not pc.any(again).as_py() and self._key(keys, 0) != self._last:
            self._last, self._has_one = self._key(keys, batch.num_rows - 1), newest[-1].as_py()
            return newest
        return flags_array([self._counts(self._key(keys, row), newest[row].as_py()) for row in range(batch.num_rows)])

    @staticmethod
    def _key(columns: tuple[pa.Array, ...], row: int) -> tuple[Any, ...] | None:
        """A row without an id is nobody's version."""
        key = tuple(_cells(column.slice(row, 1))[0] for column in columns)
        return None if key[-1] is None else key

    def _counts(self, key: tuple[Any, ...] | None, is_newest: bool) -> bool:
        if key is None or key != self._last:
            self._last, self._has_one = key, False
        counts = is_newest and not self._has_one
        self._has_one = self._has_one or (counts and key is not None)
        return counts


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The rows in order, in batches of about `BATCH_BYTES`: a block of the server has many rows, however large."""
    rows = max(batch.num_rows * BATCH_BYTES // max(batch.nbytes, 1), 1)
    for first in range(0, batch.num_rows, rows):
        yield batch.slice(first, rows)


def _marked(batch: pa.RecordBatch, marks: Mapping[int, list[str]]) -> Iterator[pa.RecordBatch]:
    """The rows in order, those with marks one by one."""
    done = 0
    for row in sorted(marks):
        if row > done:
            yield batch.slice(done, row - done)
        yield with_failed(batch.slice(row, 1), marks[row])
        done = row + 1
    if done < batch.num_rows:
        yield batch.slice(done)


def _both(first: pa.Array | None, second: pa.Array | None) -> pa.Array | None:
    """Where both are true; one that is None is true everywhere, and so is the answer None."""
    flags = [each for each in (first, second) if each is not None and not pc.all(each).as_py()]
    return None if not flags else reduce(pc.and_, flags)


def _cells(column: pa.Array) -> list[Any]:
    """Values as Python's; text as bytes."""
    return list((column.view(pa.binary()) if pa.types.is_string(column.type) else column).to_pylist())


def _raw(batch: pa.RecordBatch, outputs: Sequence[Output]) -> pa.RecordBatch:
    arrays = []
    for output in outputs:
        if output.sql is None:
            arrays.append(pa.nulls(batch.num_rows, _null_type(output)))
            continue
        array = batch.column(f"{output.field.name} out")
        if output.field.kind is Kind.TIME and pa.types.is_integer(array.type):
            array = array.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in RUN_FIELDS])


def _null_type(output: Output) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if output.field.kind is Kind.TIME else pa.string()
