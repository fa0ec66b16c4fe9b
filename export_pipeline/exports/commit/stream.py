"""Reading a day: source, transform, file, upload, in one pass from one snapshot, and the counts that must agree."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from export_pipeline.errors import RowCountError
from export_pipeline.exports.commit.once import OnlyOnce
from export_pipeline.files.parquet import DayFile, FileFacts
from export_pipeline.runs.rejected import RejectedRow
from export_pipeline.runs.transform import RunBatch, RunTransform
from export_pipeline.sources.protocol import DayFingerprint, RunSnapshot

MOST_REJECTED_LISTED = 1000


@dataclass
class Tally:
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
        self.rejected += batch.rejected[: MOST_REJECTED_LISTED - len(self.rejected)]
        self.reasons.update(row.reason for row in batch.rejected)
        self.replaced.update(batch.replaced)


@dataclass(frozen=True)
class StreamedDay:
    """A day that was read to its end and written as a file that nobody sees yet."""

    facts: FileFacts
    tally: Tally
    fingerprint: DayFingerprint


def stream_day(
    snapshot: RunSnapshot,
    *,
    day: date,
    transform: RunTransform,
    file: DayFile,
    on_batch: Callable[[int, int], None],
    once: OnlyOnce,
) -> StreamedDay | None:
    """Writes all rows of a snapshot into `file`; `on_batch` is told the rows and bytes read so far.

    None: `once` found ids that come twice, and the day is to be read again.

    Raises `RowCountError` where rows were lost or came twice on the way: every row of the snapshot is in the file
    once, or was set aside with a reason.
    """
    tally = Tally()
    for batch in map(once.kept, transform.stream(_told(snapshot.batches(), on_batch))):
        file.write(batch.rows)
        tally.add(batch)
    facts = file.close()
    check_counts(
        day,
        counted=snapshot.fingerprint.rows,
        read=tally.rows_source,
        written=facts.rows,
        rejected=tally.rows_rejected,
    )
    return None if once.found_more() else StreamedDay(facts, tally, snapshot.fingerprint)


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


def footer_of(*, commit_id: str, export_id: str, day: date, epoch: int) -> Mapping[str, str]:
    """What a data file says about its commit, in its Parquet footer."""
    return {"commit_id": commit_id, "export_id": export_id, "day": day.isoformat(), "epoch": str(epoch)}
