"""Fetches ahead in a thread, bounded by bytes, so that the database works while the rest of the product does."""

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Self

import pyarrow as pa

READ_AHEAD_BYTES = 32 * 1024 * 1024


class ReadAhead:
    """An iterator over `batches`, which a thread of its own consumes; an error there is raised here.

    At most `limit` bytes wait, or one batch where that is larger. `cancel` makes a read that is under way stop; it is
    called from `close`, which returns when the thread has ended.
    """

    def __init__(
        self, batches: Generator[pa.RecordBatch], *, cancel: Callable[[], None], limit: int = READ_AHEAD_BYTES
    ) -> None:
        self._batches, self._cancel, self._limit = batches, cancel, limit
        self._changed = threading.Condition()
        self._ready: deque[pa.RecordBatch] = deque()
        self._bytes = 0
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="export-pipeline-read-ahead", daemon=True)
        self._thread.start()

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
            while not self._ready and not self._ended:
                self._changed.wait()
            if self._ready:
                batch = self._ready.popleft()
                self._bytes -= batch.nbytes
                self._changed.notify_all()
                return batch
        if self._error is not None:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        """Stops the thread, wherever it is, and waits for it."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        if self._ended:
            self._thread.join()
        while self._thread.is_alive():
            self._cancel()  # again and again: the first may come before the thread's next read has begun
            self._thread.join(timeout=0.05)
