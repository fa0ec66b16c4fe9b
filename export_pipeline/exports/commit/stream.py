"""Reading a day: source, transform, file, upload, in one pass from one snapshot, and the counts that must agree."""

import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa

from export_pipeline.errors import RowCountError
from export_pipeline.exports.commit.attachments import MISSING, NamedAttachments
from export_pipeline.files.manifest import MAX_REJECTED_LISTED, ManifestAttachments
from export_pipeline.files.parquet import DayFile, FileFacts
from export_pipeline.runs.arrays import flags_array
from export_pipeline.runs.rejected import RejectedRow
from export_pipeline.runs.transform import RunBatch, RunTransform
from export_pipeline.sources.protocol import DayFingerprint, RunSnapshot

TWICE = "id: comes twice"


class DuplicateFilter:
    """Looks at the ids of a day, reading by reading.

    `kept` passes on a batch without the rows whose id is known to repeat and was there before in this reading;
    `has_more`, at the end of a reading, says whether another one is needed.
    """

    def __init__(self) -> None:
        self._seed = secrets.randbits(63)
        self._hashes: list[pl.Series] = []
        self._repeated: set[int] = set()
        self._met: set[str] = set()

    def kept(self, batch: RunBatch) -> RunBatch:
        """The batch, perhaps with fewer rows and more rejected ones."""
        if "id" not in batch.rows.schema.names or not batch.rows.num_rows:
            return batch
        hashes = pl.Series(batch.rows.column("id")).hash(seed=self._seed)
        if self._repeated:
            suspect = hashes.is_in(self._repeated)
            self._hashes.append(hashes.filter(~suspect))
            return self._without_repetitions(batch, suspect.arg_true().to_list())
        self._hashes.append(hashes)
        return batch

    def has_more(self) -> bool:
        """Ends a reading. The next one compares ids themselves: two with the same hash may well differ."""
        ordered = pl.concat(self._hashes).sort() if self._hashes else pl.Series(dtype=pl.UInt64)
        repeated = set(ordered.filter(ordered == ordered.shift(1)).to_list())
        self._repeated |= repeated
        self._hashes, self._met = [], set()
        return bool(repeated)

    def _without_repetitions(self, batch: RunBatch, suspects: list[int]) -> RunBatch:
        dropped: list[int] = []
        ids = batch.rows.column("id")
        for place in suspects:
            run_id = ids[place].as_py()
            if run_id in self._met:
                dropped.append(place)
            self._met.add(run_id)
        if not dropped:
            return batch
        keep = [True] * batch.rows.num_rows
        for place in dropped:
            keep[place] = False
        return replace(
            batch,
            rows=batch.rows.filter(flags_array(keep)),
            rejected=(*batch.rejected, *(_rejected(batch.rows, place) for place in dropped)),
        )


def _rejected(rows: Any, place: int) -> RejectedRow:
    start = rows.column("start_time")[place].as_py() if "start_time" in rows.schema.names else None
    return RejectedRow(rows.column("id")[place].as_py(), start and start.isoformat(), TWICE)


@dataclass
class Counters:
    """What was read so far. `rejected` lists the first rows that were set aside, `reasons` counts all of them."""

    rows_source: int = 0
    rows_rejected: int = 0
    rejected: list[RejectedRow] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)

    def add(self, batch: RunBatch) -> None:
        """Counts a batch."""
        self.rows_source += batch.rows_source
        self.rows_rejected += len(batch.rejected)
        self.rejected += batch.rejected[: MAX_REJECTED_LISTED - len(self.rejected)]
        self.reasons.update(row.reason for row in batch.rejected)
        self.replaced.update(batch.replaced)


@dataclass(frozen=True)
class StreamedDay:
    """A day that was read to its end and written as a file that nobody sees yet.

    `attachments` are those of its runs, where they were copied.
    """

    facts: FileFacts
    counters: Counters
    fingerprint: DayFingerprint
    attachments: ManifestAttachments | None = None

    def with_attachments(self, copied: NamedAttachments) -> "StreamedDay":
        """The same with its attachments, of which those that are missing count as replaced."""
        if copied.missing:
            self.counters.replaced[MISSING] += copied.missing
        return replace(self, attachments=ManifestAttachments(count=copied.count, bytes=copied.bytes))


def stream_day(
    snapshot: RunSnapshot,
    *,
    day: date,
    transform: RunTransform,
    file: DayFile,
    on_batch: Callable[[int, int], None],
    duplicates: DuplicateFilter,
) -> StreamedDay | None:
    """Writes all rows of a snapshot into `file`; `on_batch` is told the rows and bytes read so far.

    None: `duplicates` found ids that come twice, and the day is to be read again.

    Raises `RowCountError` where rows were lost or came twice on the way: every row of the snapshot is in the file
    once, or was set aside with a reason.
    """
    counters = Counters()
    for batch in map(duplicates.kept, transform.stream(_told(snapshot.batches(), on_batch))):
        file.write(batch.rows)
        counters.add(batch)
    facts = file.close()
    check_counts(
        day,
        counted=snapshot.fingerprint.rows,
        read=counters.rows_source,
        written=facts.rows,
        rejected=counters.rows_rejected,
    )
    return None if duplicates.has_more() else StreamedDay(facts, counters, snapshot.fingerprint)


def _told(raws: Iterator[pa.RecordBatch], on_batch: Callable[[int, int], None]) -> Iterator[pa.RecordBatch]:
    rows = size = 0
    for raw in raws:
        rows += raw.num_rows
        size += raw.nbytes
        on_batch(rows, size)
        yield raw
        del raw


def check_counts(day: date, *, counted: int, read: int, written: int, rejected: int) -> None:
    """Raises `RowCountError` unless every row that was counted was read, and then written or rejected."""
    if counted != read:
        raise RowCountError(f"{day}: {read:,} rows were read where the same snapshot counts {counted:,}")
    if read != written + rejected:
        raise RowCountError(
            f"{day}: of {read:,} rows {written:,} were written and {rejected:,} rejected; nothing was committed"
        )


def footer_of(*, commit_id: uuid.UUID, export_id: uuid.UUID, day: date, epoch: int) -> Mapping[str, str]:
    """What a data file says about its commit, in its Parquet footer."""
    return {"commit_id": str(commit_id), "export_id": str(export_id), "day": day.isoformat(), "epoch": str(epoch)}
