"""The asset check for rows that no partition covers: before the first day, or dated in the future."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from export_pipeline.errors import ExportPipelineError
from export_pipeline.runs.window import Window

if TYPE_CHECKING:
    from export_pipeline.sources.protocol import RunSource

OUTSIDE_CHECK = "rows_outside_the_partitions"

_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True)
class RowsOutside:
    """How many rows of a project lie outside the partitions, and on which days the outermost of them."""

    rows_before: int
    first_day: date | None
    rows_after: int
    last_day: date | None


def outside_check_spec(asset_key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check as part of a project's asset: computed in the asset's own step, so it costs no step of its own."""
    return dg.AssetCheckSpec(
        OUTSIDE_CHECK,
        asset=asset_key,
        description=(
            "Whether the trace store holds runs of the project that no partition covers: before the first partition, "
            "or dated later than today. They are not exported."
        ),
    )


def rows_outside(source: "RunSource", *, project: str, start: date, today: date) -> RowsOutside:
    """Counts the rows before `start` and after `today`; today's rows get their partition tomorrow."""
    first = Window.of_day(start).start
    after = Window.of_day(today).end
    before_days = _rows(source, project, Window(_EARLIEST, first)) if first > _EARLIEST else {}
    after_days = _rows(source, project, Window(after, _LATEST))
    return RowsOutside(
        rows_before=sum(before_days.values()),
        first_day=min(before_days, default=None),
        rows_after=sum(after_days.values()),
        last_day=max(after_days, default=None),
    )


def _rows(source: "RunSource", project: str, window: Window) -> Mapping[date, int]:
    return {day: found.rows for day, found in source.days(project, window).items() if found.rows}


def count_outside(source: "RunSource", *, project: str, start: date, asset_key: dg.AssetKey) -> dg.AssetCheckResult:
    """The check's result; where the rows cannot be counted it says so and fails as a warning, never the export."""
    today = datetime.now(UTC).date()
    try:
        found = rows_outside(source, project=project, start=start, today=today)
    except ExportPipelineError as error:
        return _result(asset_key, passed=False, description=f"the rows could not be counted: {error}", metadata={})
    metadata: dict[str, int | str] = {
        "rows_before_the_first_partition": found.rows_before,
        "rows_after_today": found.rows_after,
        "first_partition": start.isoformat(),
    }
    if found.first_day is not None:
        metadata["first_day_with_rows"] = found.first_day.isoformat()
    if found.last_day is not None:
        metadata["last_day_with_rows"] = found.last_day.isoformat()
    return _result(
        asset_key,
        passed=not found.rows_before and not found.rows_after,
        description=_sentence(found, start=start, today=today),
        metadata=metadata,
    )


def _sentence(found: RowsOutside, *, start: date, today: date) -> str:
    parts = []
    if found.rows_before:
        parts.append(f"{found.rows_before:,} rows lie before the first partition {start}, from {found.first_day} on")
    if found.rows_after:
        tomorrow = today + timedelta(days=1)
        parts.append(f"{found.rows_after:,} rows are dated {tomorrow} or later, up to {found.last_day}")
    return "; ".join(parts) if parts else "every row belongs to a partition, or will tomorrow"


def _result(
    asset_key: dg.AssetKey, *, passed: bool, description: str, metadata: Mapping[str, int | str]
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=OUTSIDE_CHECK,
        asset_key=asset_key,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=dict(metadata),
    )
