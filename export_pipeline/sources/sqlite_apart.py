"""SQLite's work apart from the main thread.

Python runs signal handlers in the main thread, between two instructions of whatever runs there. Where that is a
function that SQLite calls, what the handler raises (Ctrl-C, Dagster's interrupt) is swallowed and becomes an error of
the query.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


def apart(work: Callable[[], T], *, cancel: Callable[[], None]) -> T:
    """The value of `work`, done in another thread where this is the main one.

    `cancel` makes it stop where the main thread is interrupted; nothing of it runs any more when this returns.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    with ThreadPoolExecutor(1, thread_name_prefix="export-pipeline-sqlite") as pool:
        future = pool.submit(work)
        try:
            return future.result()
        finally:
            while not future.done():
                cancel()  # again and again: the first may come before the statement has begun
                wait([future], timeout=0.05)
