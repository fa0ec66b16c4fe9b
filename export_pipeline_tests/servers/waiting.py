"""Waiting for what servers do."""

import socket
import time
from collections.abc import Callable

PATIENCE = 60.0


def wait_for(condition: Callable[[], bool], *, what: str, seconds: float = PATIENCE) -> None:
    """Comes back when `condition` holds; raises `TimeoutError` that says `what` did not.

    It looks often where that is cheap and seldom where it is not: what is waited for needs the processor too.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        if began > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} s")
        time.sleep(min(1.0, max(0.02, 9 * (time.monotonic() - began))))


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
