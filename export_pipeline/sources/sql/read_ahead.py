"""Fetches ahead in a session's thread, bounded by bytes: the database works while the rest of the product does."""

import threading
from collections import deque
from collections.abc import Generator
from typing import Any, Self

import pyarrow as pa

from export_pipeline.sources.sql.session_thread import SessionThread

READ_AHEAD_BYTES = 32 * 1024 * 1024


class ReadAhead:
    """An iterator over `batches`, which the session's thread consumes; an error there is raised here.

    At most `limit` bytes wait, or one batch where that is larger. Raises `SourceSlowError` where the next batch does
    not come in the time that any question may take.
    """

    def __init__(
        self, batches: Generator[pa.RecordBatch], *, thread: SessionThread[Any], limit: int = READ_AHEAD_BYTES
    ) -> None:
        self._batches, self._thread, self._limit = batches, thread, limit
        self._changed = threading.Condition()
        self._ready: deque[pa.RecordBatch] = deque()
        self._bytes = 0
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._task = thread.start(self._run)

    def _run(self) -> None:
        try:
            for batch in self._batches:
                if not self._put(batch):
                    return
                del batch  # so that it is not held while the next one is fetched
        except BaseException as error:  # noqa: BLE001 - whatever it is, the consumer must fail with it
            self._error = error
        finally:
            self._batches.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, batch: pa.RecordBatch) -> bool:
        size = batch.nbytes
        with self._changed:
            while self._ready and self._bytes + size > self._limit and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._ready.append(batch)
            self._bytes += size
            self._changed.notify_all()
            return True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pa.RecordBatch:
        with self._changed:
            if not self._changed.wait_for(lambda: self._ready or self._ended, self._thread.seconds):
                raise self._thread.slow()
            if self._ready:
                batch = self._ready.popleft()
                self._bytes -= batch.nbytes
                self._changed.notify_all()
                return batch
        if self._error is not None:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        """Stops reading, wherever it is."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        if self._ended:
            self._task.ended.wait()
        else:
            self._thread.stop(self._task)
