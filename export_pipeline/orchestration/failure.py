"""Our errors as Dagster failures: the sentence alone, and whether the step is tried again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import dagster as dg

from export_pipeline.errors import ExportPipelineError, RetryableError
from export_pipeline.orchestration.project_days import DaysFailedError

_MOST_DAYS_SHOWN = 100
_NO_LIMIT = 1_000_000


@contextmanager
def as_failure(*, retry_in: float | None = None) -> Iterator[None]:
    """Turns an error of ours into a `dagster.Failure` with its text, or into another attempt where that may help.

    `retry_in` is after how many seconds the next attempt begins, None where none is left. The step itself asks for
    it: a retry policy of Dagster would also try a run again that somebody terminated.
    The cause is left out on purpose: the text of a driver's or an SDK's exception is not ours to publish.
    """
    try:
        yield
    except ExportPipelineError as error:
        _end(dg.Failure(str(error), allow_retries=isinstance(error, RetryableError)), retry_in)
    except DaysFailedError as error:
        days = sorted(error.failed)
        metadata: dict[str, Any] = {
            "failed_days": len(days),
            "causes": {str(day): str(error.failed[day]) for day in days[:_MOST_DAYS_SHOWN]},
        }
        _end(dg.Failure(str(error), metadata=metadata, allow_retries=error.retryable), retry_in)


def _end(failure: dg.Failure, retry_in: float | None) -> NoReturn:
    if retry_in is None or not failure.allow_retries:
        raise failure from None
    raise dg.RetryRequested(max_retries=_NO_LIMIT, seconds_to_wait=retry_in) from failure
