"""Our errors as Dagster failures: the sentence alone, and whether a retry policy may try again."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from export_pipeline.errors import ExportPipelineError, RetryableError
from export_pipeline.orchestration.project_days import DaysFailedError

_MOST_DAYS_SHOWN = 100


@contextmanager
def as_failure(*, may_retry: bool = True) -> Iterator[None]:
    """Turns an error of ours into a `dagster.Failure` with its text.

    The last attempt passes `may_retry=False`: otherwise Dagster would put "Exceeded max_retries" in the text's place.
    The cause is left out on purpose: the text of a driver's or an SDK's exception is not ours to publish.
    """
    try:
        yield
    except ExportPipelineError as error:
        raise dg.Failure(str(error), allow_retries=may_retry and isinstance(error, RetryableError)) from None
    except DaysFailedError as error:
        days = sorted(error.failed)
        raise dg.Failure(
            str(error),
            metadata={
                "failed_days": len(days),
                "causes": {str(day): str(error.failed[day]) for day in days[:_MOST_DAYS_SHOWN]},
            },
            allow_retries=may_retry and error.retryable,
        ) from None
