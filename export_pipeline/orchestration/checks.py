"""The asset checks for rows that are not exported: those that no partition covers, and those of no project."""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import dagster as dg

from export_pipeline.errors import ExportPipelineError
from export_pipeline.runs.window import Window

if TYPE_CHECKING:
    from export_pipeline.orchestration.parts import Parts
    from export_pipeline.sources.protocol import OutsideRows, RunSource

OUTSIDE_CHECK = "rows_outside_the_partitions"
UNASSIGNED_CHECK = "rows_of_no_project"


def outside_check_spec(asset_key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check as part of a project's asset: computed in the asset's own step, so it costs no step of its own."""
    return dg.AssetCheckSpec(
        OUTSIDE_CHECK,
        asset=asset_key,
        description=(
            "Whether the trace store holds runs of the project that no partition covers: before the first partition, "
            "dated later than today, or without a readable start_time. They are not exported."
        ),
    )


def unassigned_check_spec(asset_key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check as part of a project's asset; it looks at the whole trace store."""
    return dg.AssetCheckSpec(
        UNASSIGNED_CHECK,
        asset=asset_key,
        description=(
            "Whether the trace store holds runs without a project, or of a project that it does not list. They are not "
            "exported, unless EXPORT_PIPELINE_UNASSIGNED_PROJECT names a project for them."
        ),
    )


def count_unassigned(parts: "Parts", *, asset_key: dg.AssetKey) -> dg.AssetCheckResult:
    """The check's result, from a count that may be six hours old: a warning where such rows are not exported."""
    from export_pipeline.exports.projects.unassigned import unassigned_rows

    exported_as = parts.settings.unassigned_project
    try:
        found = unassigned_rows(parts.control, parts.source, parts.settings)
    except ExportPipelineError as error:
        passed, description, metadata = False, f"the rows could not be counted: {error}", {}
    else:
        passed = not found.rows or exported_as is not None
        description = found.sentence(exported_as=exported_as) if found.rows else "every row belongs to a project"
        metadata = {"rows_of_no_project": found.rows, "rows_without_a_project_id": found.without_id}
    return dg.AssetCheckResult(
        check_name=UNASSIGNED_CHECK,
        asset_key=asset_key,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


def count_outside(source: "RunSource", *, project: str, start: date, asset_key: dg.AssetKey) -> dg.AssetCheckResult:
    """The check's result: a warning where there are such rows, or where they cannot be counted; never a failed step.

    Today's rows are fine: their partition exists from tomorrow on.
    """
    today = datetime.now(UTC).date()
    covered = Window.of_days(min(start, today), today)
    try:
        found = source.outside(project, covered)
    except ExportPipelineError as error:
        passed, description, metadata = False, f"the rows could not be counted: {error}", {}
    else:
        passed = not found.total
        description = _sentence(found, start=start, after=covered.end.date())
        metadata = {
            "rows_before_the_first_partition": found.before,
            "rows_after_today": found.after,
            "rows_without_a_readable_time": found.unreadable,
        }
    return dg.AssetCheckResult(
        check_name=OUTSIDE_CHECK,
        asset_key=asset_key,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


def _sentence(found: "OutsideRows", *, start: date, after: date) -> str:
    parts = []
    if found.before:
        parts.append(f"{found.before:,} rows lie before the first partition {start}")
    if found.after:
        parts.append(f"{found.after:,} rows are dated {after} or later")
    if found.unreadable:
        parts.append(f"{found.unreadable:,} rows have no readable start_time")
    return f"{'; '.join(parts)}; they are not exported" if parts else "every row has a partition, or will tomorrow"
