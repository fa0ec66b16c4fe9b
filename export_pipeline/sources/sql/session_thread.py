"""A session in a thread of its own, so that whoever asks it need not wait for ever.

What blocks in a database's driver can be ended by a cancel only, and a server that is frozen, or a pooler that has lost
it, answers no cancel either. Here the caller waits in Python: for a bounded time, and for interrupts too. (Those would
also be swallowed where SQLite calls a function of ours in the main thread, and become an error of the query.)
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from export_pipeline.errors import SourceSlowError
from export_pipeline.settings import PREFIX

THREAD_NAME = "export-pipeline-session"
_GRACE_SECONDS = 10.0
"""How long a session may take to end what was cancelled; after that it is left alone for good."""
_CANCEL_AGAIN_SECONDS = 0.05


class Endable(Protocol):
    """What is needed of a session here."""

    def cancel(self) -> None:
        """Makes what is under way stop; comes from another thread."""

    def close(self) -> None:
        """Ends the session."""


S = TypeVar("S", bound=Endable)
T = TypeVar("T")


class Task:
    """Work that was handed to the thread; `ended` is set once its value or its error is there."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self.ended = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Does the work."""
        try:
            self.value = self._work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the one who asked must fail with it
            self.error = error
        finally:
            self.ended.set()


class SessionThread(Generic[S]):
    """A session that `begin` begins at the first question; all that it does, it does in one thread.

    `seconds` is how long any question may take, `place` names the store. `abandoned`: the session did not end although
    it was cancelled; its connection must not be touched by anybody else.
    """

    def __init__(self, begin: Callable[[], S], *, seconds: float, place: str) -> None:
        self._begin, self.seconds, self._place = begin, seconds, place
        self._session: S | None = None
        self._canceller: threading.Thread | None = None
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()
        self.abandoned = False

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()
            del task  # so that a session's last answer is not held while it waits

    def ask(self, work: Callable[[S], T], *, seconds: float | None = None) -> T:
        """The value of `work`, which gets the session; raises what it raises.

        Raises `SourceSlowError` where it takes more than `seconds`, or more than any question may. Nothing of it runs
        any more after that, nor after an interrupt of the caller, unless the session had to be abandoned.
        """
        task = self.start(lambda: work(self._begun()))
        try:
            in_time = task.ended.wait(self.seconds if seconds is None else seconds)
        except BaseException:
            self.stop(task)
            raise
        if not in_time:
            self.stop(task)
            raise (
                self.slow()
                if seconds is None
                else SourceSlowError(f"the trace store took more than {seconds:g} seconds to answer")
            )
        if task.error is not None:
            raise task.error
        value: T = task.value
        return value

    def _begun(self) -> S:
        if self._session is None:
            self._session = self._begin()
        return self._session

    def start(self, work: Callable[[], object]) -> Task:
        """Hands over work that nobody waits for yet; it comes after what was handed over before."""
        task = Task(work)
        self._tasks.put(task)
        return task

    def slow(self) -> SourceSlowError:
        """The error of a question that took too long."""
        return SourceSlowError(
            f"the trace store ({self._place}) gave nothing for {self.seconds / 60:g} minutes, the longest that "
            f"{PREFIX}SOURCE_MINUTES lets it be waited for; what was asked was cancelled"
        )

    def stop(self, task: Task) -> None:
        """Cancels work that is under way, and waits until it has ended, but not for ever."""
        if task.ended.is_set() or self.abandoned:
            return
        canceller = self._canceller = threading.Thread(target=self._cancel, args=(task,), daemon=True)
        canceller.start()  # a cancel may itself wait for the server
        task.ended.wait(_GRACE_SECONDS)
        canceller.join(_GRACE_SECONDS)
        self.abandoned = canceller.is_alive() or not task.ended.is_set()

    def _cancel(self, task: Task) -> None:
        while not task.ended.is_set() and not self.abandoned:
            if self._session is not None:
                self._session.cancel()  # again and again: the first may come before the statement has begun
            task.ended.wait(_CANCEL_AGAIN_SECONDS)

    def close(self) -> None:
        """Ends the session, and then the thread; one that is abandoned does so when, and if, it comes back."""
        task = self.start(self._end)
        self._tasks.put(None)
        if self.abandoned:
            return
        self.abandoned = not task.ended.wait(_GRACE_SECONDS)
        if task.error is not None:
            raise task.error

    def _end(self) -> None:
        if self._canceller is not None:
            self._canceller.join()  # it uses the connection
        if self._session is not None:
            self._session.close()
