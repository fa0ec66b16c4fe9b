"""Connections kept from one session to the next, because a new one costs more than a small day's rows."""

import threading
import time
from typing import Any

SECONDS = 30.0
"""A connection that has been idle for longer is not used again: firewalls forget idle ones without a word."""


class ConnectionPool:
    """Connections whose last transaction has ended; whoever takes one finds out whether the server still knows it."""

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Any]] = []
        self._closed = False

    def take(self) -> Any | None:
        """The one that was used last, or None; those that were idle for too long are closed."""
        with self._lock:
            newest = self._idle.pop() if self._idle else None
            if newest is not None and time.monotonic() - newest[0] < self._seconds:
                return newest[1]
            stale = [newest, *self._idle] if newest is not None else []
            self._idle = []
        for _, connection in stale:
            connection.close()
        return None

    def give(self, connection: Any) -> None:
        """Keeps a connection, or closes it where `close` was called before."""
        with self._lock:
            if not self._closed:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def close(self) -> None:
        """Closes all of them, and every one that is given from now on."""
        with self._lock:
            self._closed, idle = True, self._idle
            self._idle = []
        for _, connection in idle:
            connection.close()
