"""Publishing many days of one table: what is done is left alone, days without rows go together, the rest one by one.

Small days go side by side, because most of their time is waiting for the store. A day that turns out to be large
waits until it is the only large one, so that memory stays that of one day.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from datetime import date

from export_pipeline.errors import ExportPipelineError, PermanentError, SourceSlowError
from export_pipeline.exports.commit.day import DayOutcome, DayRequest, outcome_of
from export_pipeline.exports.commit.empty_days import DAYS_A_MANIFEST, commit_empty_days, refresh_empty_days
from export_pipeline.exports.commit.fence import InBucket, look_into_bucket
from export_pipeline.exports.commit.publish import publish_day, satisfied
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.exports.control.records import TableRecord, read_commit, read_days
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.sources.protocol import FILTERED_SECONDS, RunSource

DayResult = tuple[date, DayOutcome | ExportPipelineError]


def no_start(day: date) -> None:
    """The hook that does nothing."""


class DaysStoppedError(BaseException):
    """Ends the days that other threads work on when the caller was interrupted; never leaves this module."""


def publish_days(
    publisher: Publisher, requests: Sequence[DayRequest], *, on_start: Callable[[date], None] = no_start
) -> Iterator[DayResult]:
    """Publishes days of one table; yields each once, as it ends, with its outcome or its error.

    `on_start` is told a day before it is claimed, perhaps in another thread; what it raises is the day's error. Days
    that turn out to be done begin nothing, nor do several that have no rows.

    One bad day does not stop the others, unless the publisher's breaker does. Raises where nothing at all can be done:
    the source, the control database or the bucket cannot be reached. An interrupt of the caller (any BaseException,
    also closing the iterator) aborts the uploads under way and gives their days back.
    """
    if len({request.table.export_id for request in requests}) > 1:
        raise ValueError("publish_days takes days of one table")
    breaker = publisher.breaker
    try:
        # Closed with this generator, whatever still refers to its frame: that aborts the uploads under way.
        with closing(_publish_days(publisher, requests, on_start=on_start)) as results:
            for day, result in results:
                breaker.note(result if isinstance(result, ExportPipelineError) else None)
                yield day, result
    except ExportPipelineError as error:
        breaker.note(error)
        raise


def _publish_days(
    publisher: Publisher, requests: Sequence[DayRequest], *, on_start: Callable[[date], None]
) -> Generator[DayResult]:
    if not requests:
        return
    publisher.breaker.check()
    days = _Days(publisher, on_start)
    done = satisfied(requests, publisher.control)
    yield from done.items()
    todo = [request for request in requests if request.day.day not in done]
    if not todo:
        return
    table = todo[0].table
    if len(todo) == 1:  # which needs no look at the rows of many
        yield from days.publish_in_turn(todo, in_bucket=look_into_bucket(publisher.store, table, [todo[0].day.day]))
        return
    snapshot_at = publisher.control.now(patience=publisher.limits.patience)
    whole = Window(min(r.day.window.start for r in todo), max(r.day.window.end for r in todo))
    rows = _rows_by_day(publisher.source, table, whole)
    in_bucket = look_into_bucket(publisher.store, table, [request.day.day for request in todo])
    if rows is None:
        yield from days.publish_in_turn(todo, in_bucket=in_bucket)
        return
    empty = [request for request in todo if request.day.day not in rows]
    settled: set[date] = set()
    for day, outcome in days.settle_empty(empty, in_bucket=in_bucket, snapshot_at=snapshot_at):
        settled.add(day)
        yield day, outcome
    rest = [request for request in todo if request.day.day not in settled]
    yield from days.publish(rest, rows=rows, in_bucket=in_bucket)


def _rows_by_day(source: RunSource, table: TableRecord, window: Window) -> dict[date, int] | None:
    """The rows of each day that has any, superseded ones too, so that their manifests count these.

    None where a filter is too slow to count with: a day that is published alone has its own time.
    """
    seconds = None if table.tree is None else FILTERED_SECONDS
    try:
        days = source.days(table.project_key, window, filter=table.tree, seconds=seconds)
    except SourceSlowError:
        return None
    return {day: counted.rows for day, counted in days.items()}


@dataclass(frozen=True)
class _Days:
    """Ways to publish days of one table: many empty ones together, small ones side by side, others in turn."""

    publisher: Publisher
    on_start: Callable[[date], None]

    def settle_empty(
        self, empty: Sequence[DayRequest], *, in_bucket: InBucket, snapshot_at: int
    ) -> Iterator[tuple[date, DayOutcome]]:
        """Commits days without rows in bulk, and notes those that were committed without rows before."""
        for start in range(0, len(empty), DAYS_A_MANIFEST):
            chunk = empty[start : start + DAYS_A_MANIFEST]
            table, owner = chunk[0].table, chunk[0].owner
            by_day = {request.day.day: request for request in chunk}
            known = refresh_empty_days(self.publisher, table.export_id, list(by_day), snapshot_at=snapshot_at)
            for day in known:
                yield day, self._still_empty(by_day.pop(day))
            # A day that has a manifest already is looked at alone: it was committed before, perhaps by somebody else.
            new: list[DayWindow] = [request.day for day, request in by_day.items() if day not in in_bucket.epochs]
            if not new:
                continue
            done = commit_empty_days(self.publisher, table, new, owner=owner, snapshot_at=snapshot_at)
            if done is not None:
                outcome = outcome_of(table, "empty", done.manifest, done.manifest_key, seconds=0.0)
                yield from ((day, outcome) for day in done.days)

    def _still_empty(self, request: DayRequest) -> DayOutcome:
        export_id = request.table.export_id
        with self.publisher.control.read() as transaction:
            (record,) = read_days(transaction, export_id, first=request.day.day, last=request.day.day)
            manifest = read_commit(transaction, export_id, request.day.day)
        if manifest is None or record.manifest_key is None:
            raise AssertionError(f"{request.day.day} was found committed and is not")
        return outcome_of(request.table, "unchanged", manifest, record.manifest_key, seconds=0.0)

    def publish(
        self, rest: Sequence[DayRequest], *, rows: Mapping[date, int], in_bucket: InBucket
    ) -> Iterator[DayResult]:
        """Small days side by side, then the others one by one in the order of days."""
        small: list[DayRequest] = []
        others: list[DayRequest] = []
        for request in rest:
            (small if rows.get(request.day.day, 0) <= self.publisher.limits.small_rows else others).append(request)
        side_by_side = min(self.publisher.limits.side_by_side, len(small))
        if side_by_side > 1:
            yield from self._together(small, side_by_side, in_bucket)
            rest = others
        yield from self.publish_in_turn(rest, in_bucket=in_bucket)

    def publish_in_turn(self, requests: Sequence[DayRequest], *, in_bucket: InBucket) -> Iterator[DayResult]:
        """Days one by one, in their order."""
        for request in requests:
            yield request.day.day, self._one(request, in_bucket, _Gate(None, self.publisher.limits.small_bytes))

    def _together(self, small: Sequence[DayRequest], side_by_side: int, in_bucket: InBucket) -> Iterator[DayResult]:
        passage = _Passage()
        with ThreadPoolExecutor(side_by_side, thread_name_prefix="day") as pool:
            futures = {
                pool.submit(
                    self._one, request, in_bucket, _Gate(passage, self.publisher.limits.small_bytes)
                ): request.day.day
                for request in small
            }
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BaseException:
                passage.stop.set()
                for future in futures:
                    future.cancel()
                raise

    def _one(self, request: DayRequest, in_bucket: InBucket, gate: "_Gate") -> DayOutcome | ExportPipelineError:
        try:
            self.publisher.breaker.check()
            self.on_start(request.day.day)
            return publish_day(self.publisher, request, on_bytes=gate.pass_bytes, in_bucket=in_bucket)
        except ExportPipelineError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a fault in one day must neither hide nor stop the others
            failed = PermanentError(f"{request.day.day}: unexpected {type(error).__name__}: {error}")
            failed.__cause__ = error
            return failed
        finally:
            gate.close()


class _Passage:
    """Shared by days side by side: one large day at a time, and a common stop."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.large = threading.Semaphore()


class _Gate:
    """Lets a day read `small_bytes`, and more only when no other day does."""

    def __init__(self, passage: _Passage | None, small_bytes: int) -> None:
        self._passage = passage
        self._small_bytes = small_bytes
        self._large = False

    def pass_bytes(self, count: int) -> None:
        """Waits where need be; raises `DaysStoppedError` when the caller was interrupted."""
        passage = self._passage
        if passage is None:
            return
        if count > self._small_bytes and not self._large:
            while not passage.large.acquire(timeout=0.1):
                if passage.stop.is_set():
                    raise DaysStoppedError
            self._large = True
        if passage.stop.is_set():
            raise DaysStoppedError

    def close(self) -> None:
        """Lets the next large day pass."""
        if self._passage is not None and self._large:
            self._passage.large.release()
            self._large = False
