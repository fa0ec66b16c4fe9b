"""Waiting between attempts."""

import random
import threading
import time

_random = random.SystemRandom()


class Backoff:
    """Waits longer each time, never as long as somebody else, until the patience is at its end; seconds throughout.

    Made before the first attempt, from which the patience counts. What is worth another attempt, and what is looked at
    between two of them, is the caller's.
    """

    def __init__(
        self, patience: float, *, first: float = 0.1, longest: float = 3.0, stop: threading.Event | None = None
    ) -> None:
        """`first` and `longest` are pauses; `stop` ends the waiting, and there is no other attempt then."""
        self._deadline = time.monotonic() + patience
        self._next, self._longest = first, longest
        self._stop = stop

    def wait(self, *, at_least: float = 0.0) -> bool:
        """Whether there is to be another attempt, after waiting for it; `at_least`: what the other side asks for."""
        pause = at_least + self._next * _random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, self._longest)
        if time.monotonic() + pause > self._deadline:
            return False
        if self._stop is None:
            time.sleep(pause)
            return True
        return not self._stop.wait(pause)
