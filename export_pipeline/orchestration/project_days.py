"""What a project's asset returns: not rows, but the way to publish the days that a run was asked for.

Nothing here knows Dagster's contexts: the asset passes the ways to report as callables.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.errors import ExportPipelineError, RetryableError
from export_pipeline.orchestration.bundled_log import BundledLog
from export_pipeline.runs.reasons import describe_rejected

if TYPE_CHECKING:
    from export_pipeline.exports.commit.publish import DayOutcome

DayMetadata = Mapping[str, Any]
_TOLD = ("id", "start_time", "reason")


@dataclass(frozen=True)
class ProjectDays:
    """The days of one project that one run publishes.

    `publish` yields each day once with what came of it, which `note` is told; `report` attaches metadata to the day's
    materialization, which Dagster records when the whole step succeeds; `record` records a materialization at once,
    whatever comes after. `log` takes lines for people. `retry_in`: after how many seconds another attempt begins, None
    for the last one.
    """

    project: str
    days: tuple[date, ...]
    publish: Callable[[], "Iterator[tuple[date, DayOutcome | ExportPipelineError]]"]
    report: Callable[[date, DayMetadata], None]
    record: Callable[[date, DayMetadata], None]
    log: Callable[[str], None]
    note: "Callable[[DayOutcome | ExportPipelineError], None]" = lambda _result: None
    retry_in: float | None = None


class DaysFailedError(Exception):
    """Some days of a run failed; `str` names each with its cause. `retryable`: whether trying again may help."""

    def __init__(self, project: str, failed: Mapping[date, ExportPipelineError], asked: int) -> None:
        self.failed = dict(failed)
        self.retryable = any(isinstance(error, RetryableError) for error in failed.values())
        count = f"{len(failed)} of {asked} days" if asked > 1 else "the day"
        super().__init__(f"{count} of {project} failed: {'; '.join(_causes(failed))}")


@dataclass
class _Progress:
    done: "dict[date, DayOutcome]" = field(default_factory=dict)
    failed: dict[date, ExportPipelineError] = field(default_factory=dict)


def publish_days_of(value: ProjectDays) -> None:
    """Publishes every day and reports it; one bad day does not stop the others.

    Raises `DaysFailedError` when all are through and some failed. Whatever ends the work, an interruption included,
    the days committed until then are recorded, so that only the others count as missing.
    """
    progress = _Progress()
    complete = False
    try:
        with BundledLog(value.log) as log:
            for day, result in value.publish():
                value.note(result)
                if isinstance(result, ExportPipelineError):
                    progress.failed[day] = result
                    log.add(f"{day} failed: {str(result).removeprefix(f'{day}: ')}")
                else:
                    progress.done[day] = result
                    value.report(day, day_metadata(result))
                    if result.rows or result.rejected or result.superseded:
                        log.add(f"{day}: {describe(result)}")
        if missing := set(value.days) - progress.done.keys() - progress.failed.keys():
            raise RuntimeError(f"nothing came back for the days {sorted(map(str, missing))}")
        if progress.failed:
            raise DaysFailedError(value.project, progress.failed, len(value.days))
        complete = True
    finally:
        if not complete:
            for day, outcome in progress.done.items():
                value.record(day, day_metadata(outcome))


def day_metadata(outcome: "DayOutcome") -> dict[str, Any]:
    """What Dagster shows of a published day."""
    metadata: dict[str, Any] = {
        "outcome": outcome.outcome,
        "dagster/partition_row_count": outcome.rows,
        "dagster/size_bytes": outcome.bytes,
        "rejected_rows": outcome.rejected,
        "superseded_rows": outcome.superseded,
        "replaced_cells": outcome.replaced,
        "seconds": round(outcome.seconds, 3),
        "epoch": outcome.epoch,
    }
    if outcome.rejected:
        metadata["rejected_rows_by_reason"] = dict(outcome.reasons)
        metadata["first_rejected_rows"] = dg.MetadataValue.table(
            [dg.TableRecord({name: row[name] or "–" for name in _TOLD}) for row in outcome.first_rejected],
            dg.TableSchema([dg.TableColumn(name, "string") for name in _TOLD]),
        )
    if outcome.uri is not None:
        metadata["dagster/uri"] = outcome.uri
    if outcome.manifest_uri is not None:
        metadata["manifest"] = outcome.manifest_uri
    return metadata


def describe(outcome: "DayOutcome") -> str:
    """A published day in a few words."""
    text = f"{outcome.outcome}, {outcome.rows:,} rows, {outcome.bytes:,} bytes, {outcome.seconds:.2f} s"
    if outcome.rejected:
        text += f", {describe_rejected(outcome.reasons)}"
    return text + (f", {outcome.superseded:,} older versions set aside" if outcome.superseded else "")


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
