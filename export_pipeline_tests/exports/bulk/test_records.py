"""The statuses, case by case."""

import pytest

from export_pipeline.errors import (
    DestinationRefusedError,
    DestinationUnavailableError,
    ExportPipelineError,
    PermanentError,
    SourceUnreachableError,
)
from export_pipeline.exports.bulk.records import may_retry, status_of_ended


@pytest.mark.parametrize(
    ("units", "status"),
    [
        ([], "Completed"),
        (["Completed", "Completed"], "Completed"),
        (["Completed", "Created"], None),
        (["Failed", "Running"], None),
        (["Completed", "Failed"], "Failed"),
        (["TimedOut", "Failed"], "Failed"),
        (["TimedOut", "Completed"], "TimedOut"),
        (["Cancelled", "Completed"], "Cancelled"),
    ],
)
def test_an_export_ends_when_its_last_unit_does(units: list[str], status: str | None) -> None:
    assert status_of_ended(units) == status  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "attempt", "first_attempt", "again"),
    [
        (SourceUnreachableError("down"), 0, 0, True),
        (SourceUnreachableError("down"), 19, 0, True),
        (SourceUnreachableError("down"), 20, 0, False),
        (SourceUnreachableError("down"), 40, 21, True),
        (DestinationUnavailableError("busy", error_class="Unavailable"), 0, 0, True),
        (DestinationRefusedError("no", error_class="Access denied"), 0, 0, False),
        (PermanentError("never"), 0, 0, False),
        (ExportPipelineError("odd"), 0, 0, True),
    ],
)
def test_only_what_may_pass_is_tried_again_and_not_for_ever(
    error: ExportPipelineError, attempt: int, first_attempt: int, again: bool
) -> None:
    assert may_retry(error, attempt=attempt, first_attempt=first_attempt, most=20) is again
