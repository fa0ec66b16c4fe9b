"""A limit on the connections to the trace store."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from export_pipeline.errors import SourceUnreachableError

MAX_CONNECTIONS = 8


class ConnectionLimit:
    """Lets so many in at once; others wait. After `close` nobody gets in."""

    def __init__(self, limit: int = MAX_CONNECTIONS) -> None:
        self._changed = threading.Condition()
        self._free = self._limit = limit
        self._closed = False

    @contextmanager
    def take(self) -> Iterator[None]:
        """Holds one slot; raises `SourceUnreachableError` where the source has been closed."""
        with self._changed:
            while self._free == 0 and not self._closed:
                self._changed.wait()
            if self._closed:
                raise SourceUnreachableError("the trace store was closed; open it again to read it")
            self._free -= 1
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    def close(self) -> None:
        """Refuses whoever comes from now on; who is in stays in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def taken(self) -> int:
        """How many are in."""
        with self._changed:
            return self._limit - self._free

    @property
    def deserted(self) -> bool:
        """Whether it is closed and nobody is in any more."""
        with self._changed:
            return self._closed and self._free == self._limit
