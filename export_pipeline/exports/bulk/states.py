"""The statuses of bulk exports and their units, in the contract's words, and what may follow what; pure functions."""

from collections.abc import Collection
from typing import Literal

from export_pipeline.errors import ConflictError, DayReturnedError, ExportPipelineError, PermanentError

UnitStatus = Literal["Created", "Running", "Completed", "Failed", "Cancelled", "TimedOut"]
ExportStatus = Literal["Created", "Running", "Completed", "Failed", "Cancelled", "TimedOut", "IntervalScheduled"]

UNFINISHED_UNITS: tuple[UnitStatus, ...] = ("Created", "Running")
UNFINISHED_EXPORTS: tuple[ExportStatus, ...] = ("Created", "Running")
RETRYABLE_EXPORTS: tuple[ExportStatus, ...] = ("Failed", "TimedOut")


def may_cancel(status: ExportStatus) -> bool:
    """Whether a cancel changes anything: False where the export is cancelled already.

    Raises `ConflictError` where it has ended in another way.
    """
    if status == "Cancelled":
        return False
    if status in {"Completed", "Failed", "TimedOut"}:
        raise ConflictError(f"The export has ended already, as {status}, and cannot be cancelled.")
    return True


def refuse_retry(status: ExportStatus) -> None:
    """Raises `ConflictError` unless the export has failed or timed out."""
    if status not in RETRYABLE_EXPORTS:
        hint = "; create a new export instead" if status == "Cancelled" else ""
        raise ConflictError(f"Only an export that is Failed or TimedOut can be retried, this one is {status}{hint}.")


def status_of_ended(units: Collection[UnitStatus]) -> ExportStatus | None:
    """What an export has become whose units have these statuses; None while one of them is unfinished."""
    if any(status in UNFINISHED_UNITS for status in units):
        return None
    for status in ("Failed", "TimedOut", "Cancelled"):
        if status in units:
            return status
    return "Completed"


def may_retry(error: ExportPipelineError, *, attempt: int, first_attempt: int, most: int) -> bool:
    """Whether a unit is tried again after its attempt number `attempt` ended with `error`.

    `first_attempt` is where counting began: 0, or where a retry by hand began.
    """
    if isinstance(error, DayReturnedError):
        return True
    return not isinstance(error, PermanentError) and attempt - first_attempt < most
