"""An interrupt as a worker of Dagster gets it, raised by a signal wherever the main thread is."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """As Dagster's own: no `Exception`."""


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGALRM raises, as SIGTERM does in a worker of Dagster."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


class Interrupting:
    """Counts calls, and interrupts at one of them."""

    def __init__(self) -> None:
        self.calls = 0
        self.at: int | None = None

    def __call__(self) -> None:
        """One call."""
        self.calls += 1
        if self.calls == self.at:
            signal.raise_signal(signal.SIGALRM)
