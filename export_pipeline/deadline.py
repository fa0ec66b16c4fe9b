"""A total time for what comes through a socket; a time-out of the socket itself begins anew with every byte."""

import socket
import threading


class Deadline:
    """Shuts a connection down when something takes too long, whatever the thread that reads it is waiting for."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self.passed = False
        self._socket = sock
        self._timer = self._started(seconds)

    def extend(self, seconds: float) -> None:
        """From now on so many seconds are left."""
        self._timer.cancel()
        self._timer = self._started(seconds)

    def cancel(self) -> None:
        """It is done."""
        self._timer.cancel()

    def close(self) -> None:
        """It is done, and the socket is closed: for one that was copied for the deadline's sake."""
        self.cancel()
        self._socket.close()

    def _started(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._shut_down)
        timer.daemon = True
        timer.start()
        return timer

    def _shut_down(self) -> None:
        self.passed = True
        try:
            # Of the plain socket below TLS: the other thread is reading through it.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return
