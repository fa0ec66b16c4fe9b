"""A total time for what comes through a socket; a time-out of the socket itself begins anew with every byte."""

import heapq
import os
import socket
import threading
import time
import weakref
from contextlib import suppress
from itertools import count


class Deadline:
    """Shuts a connection down when something takes too long, whatever the thread that reads it is waiting for."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self.passed = False
        # TLS within a proxy's TLS is no socket, but has one.
        self._socket: socket.socket = getattr(sock, "socket", sock)
        self.ends_at: float | None = None
        """On the clock of `time.monotonic`; None where it cannot pass any more."""
        self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """From now on so many seconds are left."""
        _watch.add(self, seconds)

    def cancel(self) -> None:
        """It is done; the connection, which may serve others now, is not shut down any more."""
        _watch.drop(self)

    def close(self) -> None:
        """It is done, and the socket is closed: for one that was copied for the deadline's sake."""
        self.cancel()
        self._socket.close()

    def shut_down(self) -> None:
        """Its time has come."""
        self.passed = True
        with suppress(Exception):  # whatever it is: the other deadlines wait for the same thread
            # Of the plain socket below TLS: the other thread is reading through it.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Watch:
    """One thread that waits for all deadlines: a small day has half a dozen, and a thread costs as much as a query."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._order = count()
        self._waiting: list[tuple[float, int, weakref.ref[Deadline]]] = []
        """A heap; what was extended or is done stays in it until its time, without its socket."""
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline, seconds: float) -> None:
        """Lets it pass in so many seconds, and not before."""
        ends_at = time.monotonic() + seconds
        with self._changed:
            deadline.ends_at = ends_at
            entry = (ends_at, next(self._order), weakref.ref(deadline))
            heapq.heappush(self._waiting, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif self._waiting[0] is entry:
                self._changed.notify()

    def drop(self, deadline: Deadline) -> None:
        """Lets it pass no more."""
        with self._changed:
            deadline.ends_at = None

    def _run(self) -> None:
        with self._changed:
            while True:
                while self._waiting and self._waiting[0][0] <= time.monotonic():
                    ends_at, _, found = heapq.heappop(self._waiting)
                    if (deadline := found()) is not None and deadline.ends_at == ends_at:
                        deadline.shut_down()
                    del deadline
                self._changed.wait(self._waiting[0][0] - time.monotonic() if self._waiting else None)


_watch = _Watch()


def _watch_anew() -> None:
    """Threads are not forked."""
    global _watch  # noqa: PLW0603 - nothing else holds it
    _watch = _Watch()


os.register_at_fork(after_in_child=_watch_anew)
