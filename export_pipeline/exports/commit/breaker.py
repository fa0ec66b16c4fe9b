"""A circuit breaker: once a store was away for several days in a row, the other days of a run are not tried."""

import threading

from export_pipeline.errors import (
    DayReturnedError,
    DestinationUnavailableError,
    ExportPipelineError,
    SourceUnreachableError,
)
from export_pipeline.exports.commit.publish import DayOutcome

MOST_IN_A_ROW = 3
"""Days that fail because a store is away, without one that succeeds between them, before the rest is left for later."""


class Breaker:
    """One for the days that a run publishes, side by side too.

    `check` is asked before a day is begun, `note` is told what has become of each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._last: ExportPipelineError | None = None

    def note(self, result: DayOutcome | ExportPipelineError) -> None:
        """Counts a day that failed because a store is away; one that succeeded begins the count anew."""
        with self._lock:
            if isinstance(result, DestinationUnavailableError | SourceUnreachableError):
                self._in_a_row, self._last = self._in_a_row + 1, result
            elif isinstance(result, DayOutcome):
                self._in_a_row = 0

    def check(self) -> None:
        """Raises `DayReturnedError` where the next day is to be left for later."""
        with self._lock:
            if self._in_a_row >= MOST_IN_A_ROW and self._last is not None:
                what = "trace store" if isinstance(self._last, SourceUnreachableError) else "destination"
                raise DayReturnedError(
                    f"not tried, because the {what} was unavailable for {self._in_a_row} days in a row: {self._last}"
                )
