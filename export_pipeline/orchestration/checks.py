"""The asset checks for rows that are not exported: of no partition, of no project, or rejected."""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.errors import ExportPipelineError
from export_pipeline.runs.window import Window

if TYPE_CHECKING:
    from export_pipeline.exports.control.records import ProjectRecord
    from export_pipeline.orchestration.parts import Parts
    from export_pipeline.sources.protocol import OutsideRows, RunSource

OUTSIDE_CHECK = "rows_outside_the_partitions"
UNASSIGNED_CHECK = "rows_of_no_project"
REJECTED_CHECK = "rows_rejected"
_MOST_DAYS_SHOWN = 31


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


def rejected_check_spec(asset_key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check as part of a project's asset; it looks at all of its committed days."""
    return dg.AssetCheckSpec(
        REJECTED_CHECK,
        asset=asset_key,
        description=(
            "Whether rows of the project's committed days were rejected, because a value of theirs cannot be exported. "
            "The manifests of the days name them; EXPORT_PIPELINE_MAX_REJECTED_ROWS a day are let pass."
        ),
    )


def count_rejected(parts: "Parts", project: "ProjectRecord", *, asset_key: dg.AssetKey) -> dg.AssetCheckResult:
    """The check's result: a warning where a committed day has more rejected rows than the settings let pass."""
    from export_pipeline.exports.control.records import read_rejected
    from export_pipeline.exports.projects.standing import current_export
    from export_pipeline.exports.watch.rejected import over_limit
    from export_pipeline.runs.reasons import describe_rejected, total_rejected

    metadata: dict[str, Any] = {}
    try:
        export = current_export(parts.control, project, parts.settings)
        with parts.control.read() as connection:
            found = {} if export is None else read_rejected(connection, export.export_id)
    except ExportPipelineError as error:
        passed, description = False, f"the rejected rows could not be counted: {error}"
    else:
        reasons = total_rejected(found.values())
        passed = not over_limit(found, parts.settings)
        description = f"{len(found):,} days: {describe_rejected(reasons)}" if reasons else "no row was rejected"
        metadata = {
            "rows_rejected": sum(reasons.values()),
            "rows_rejected_by_reason": dict(reasons),
            "newest_days": {str(day): dict(found[day]) for day in sorted(found)[-_MOST_DAYS_SHOWN:]},
        }
    return dg.AssetCheckResult(
        check_name=REJECTED_CHECK,
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
