"""Lines of a run's log, several in one event: Dagster on SQLite takes a sixth of a small day's time for each."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

SECONDS = 5.0


class BundledLog:
    """Passes lines on to `log`, joined, at most once every `seconds`; the rest when the `with` block ends."""

    def __init__(self, log: Callable[[str], None], *, seconds: float = SECONDS) -> None:
        self._log, self._seconds = log, seconds
        self._lines: list[str] = []
        self._due = time.monotonic() + seconds

    def add(self, line: str) -> None:
        """Takes a line."""
        self._lines.append(line)
        if time.monotonic() >= self._due:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._lines:
            self._log("\n".join(self._lines))
        self._lines = []
        self._due = time.monotonic() + self._seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pass_on()
