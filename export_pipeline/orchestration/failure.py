"""Our errors as Dagster failures: the sentence alone, and whether the step is tried again."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any, NoReturn

import dagster as dg

from export_pipeline.errors import ExportPipelineError, RetryableError

_MOST_DAYS_SHOWN = 100
_NO_LIMIT = 1_000_000


class DaysFailedError(Exception):
    """Some days of a run failed; `str` names each with its cause. `retryable`: whether trying again may help."""

    def __init__(self, project: str, failed: Mapping[date, ExportPipelineError], asked: int) -> None:
        self.failed = dict(failed)
        self.retryable = any(isinstance(error, RetryableError) for error in failed.values())
        count = f"{len(failed)} of {asked} days" if asked > 1 else "the day"
        super().__init__(f"{count} of {project} failed: {'; '.join(_causes(failed))}")


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


def _causes(failed: Mapping[date, ExportPipelineError]) -> Iterator[str]:
    """The causes, each with its days; days in a row with the same cause together."""
    stretch: list[date] = []
    cause = ""
    for day in sorted(failed):
        this = str(failed[day]).removeprefix(f"{day}: ")
        if stretch and (this != cause or (day - stretch[-1]).days != 1):
            yield f"{_span(stretch)}: {cause}"
            stretch = []
        stretch.append(day)
        cause = this
    if stretch:
        yield f"{_span(stretch)}: {cause}"


def _span(days: list[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"
