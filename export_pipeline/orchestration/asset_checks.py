"""The asset checks for rows that are not exported: of no partition, of no project, or rejected."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.errors import ExportPipelineError
from export_pipeline.runs.window import Window

if TYPE_CHECKING:
    from export_pipeline.exports.control.records import ProjectRecord
    from export_pipeline.orchestration.resources import Connections
    from export_pipeline.sources.protocol import OutsideRows, ProjectKey, RunSource

OUTSIDE_CHECK = "rows_outside_the_partitions"
UNASSIGNED_CHECK = "rows_of_no_project"
REJECTED_CHECK = "rows_rejected"
_DESCRIPTIONS = {
    OUTSIDE_CHECK: (
        "Whether the trace store holds runs of the project that no partition covers: before the first partition, "
        "dated later than today, or without a readable start_time. They are not exported."
    ),
    UNASSIGNED_CHECK: (
        "Whether the trace store holds runs without a project, or of a project that it does not list. They are not "
        "exported, unless EXPORT_PIPELINE_UNASSIGNED_PROJECT names a project for them."
    ),
    REJECTED_CHECK: (
        "Whether rows of the project's committed days were rejected, because a value of theirs cannot be exported. "
        "The manifests of the days name them; EXPORT_PIPELINE_MAX_REJECTED_ROWS a day are let pass."
    ),
}
_MOST_DAYS_SHOWN = 31

Finding = tuple[bool, str, Mapping[str, Any]]
"""Whether a check has passed, why in a sentence, and its metadata."""


def check_specs(asset_key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks as part of a project's asset: computed in the asset's own step, so they cost no step of their own."""
    return [dg.AssetCheckSpec(name, asset=asset_key, description=text) for name, text in _DESCRIPTIONS.items()]


def check_results(
    connections: "Connections", project: "ProjectRecord", *, start: date, asset_key: dg.AssetKey
) -> Iterator[dg.AssetCheckResult]:
    """The results: a warning where there are such rows, or where they cannot be counted; never a failed step."""
    counts: dict[str, Callable[[], Finding]] = {
        OUTSIDE_CHECK: lambda: _outside(connections.source, project.key, start=start),
        UNASSIGNED_CHECK: lambda: _unassigned(connections),
        REJECTED_CHECK: lambda: _rejected(connections, project),
    }
    for name, count in counts.items():
        try:
            passed, description, metadata = count()
        except ExportPipelineError as error:
            passed, description, metadata = False, f"the rows could not be counted: {error}", {}
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key=asset_key,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=description,
            metadata=metadata,
        )


def _outside(source: "RunSource", project: "ProjectKey", *, start: date) -> Finding:
    """Today's rows are fine: their partition exists from tomorrow on."""
    today = datetime.now(UTC).date()
    covered = Window.of_days(min(start, today), today)
    rows = source.outside(project, covered)
    metadata = {
        "rows_before_the_first_partition": rows.before,
        "rows_after_today": rows.after,
        "rows_without_a_readable_time": rows.unreadable,
    }
    return not rows.total, _sentence(rows, start=start, after=covered.end.date()), metadata


def _sentence(rows: "OutsideRows", *, start: date, after: date) -> str:
    parts = []
    if rows.before:
        parts.append(f"{rows.before:,} rows lie before the first partition {start}")
    if rows.after:
        parts.append(f"{rows.after:,} rows are dated {after} or later")
    if rows.unreadable:
        parts.append(f"{rows.unreadable:,} rows have no readable start_time")
    return f"{'; '.join(parts)}; they are not exported" if parts else "every row has a partition, or will tomorrow"


def _unassigned(connections: "Connections") -> Finding:
    """Looks at the whole trace store, by a count that may be six hours old."""
    from export_pipeline.exports.projects.unassigned import unassigned_rows

    exported_as = connections.settings.unassigned_project
    rows = unassigned_rows(connections.control, connections.source, connections.settings)
    description = rows.sentence(exported_as=exported_as) or "every row belongs to a project"
    metadata = {
        "rows_of_no_project": rows.rows,
        "rows_without_a_project_id": rows.without_id,
        "rows_of_another_workspace": rows.foreign,
    }
    return not rows.missing(exported_as=exported_as), description, metadata


def _rejected(connections: "Connections", project: "ProjectRecord") -> Finding:
    """Looks at all committed days of the project; so many rows a day as the settings let pass are fine."""
    from export_pipeline.exports.control.records import read_rejected
    from export_pipeline.exports.projects.standing import current_table
    from export_pipeline.exports.watch.rejected import over_limit
    from export_pipeline.runs.reasons import describe_rejected, total_rejected

    table = current_table(connections.control, project, connections.settings)
    with connections.control.read() as transaction:
        by_day = {} if table is None else read_rejected(transaction, table.export_id)
    reasons = total_rejected(by_day.values())
    description = f"{len(by_day):,} days: {describe_rejected(reasons)}" if reasons else "no row was rejected"
    metadata = {
        "rows_rejected": sum(reasons.values()),
        "rows_rejected_by_reason": dict(reasons),
        "newest_days": {str(day): dict(by_day[day]) for day in sorted(by_day)[-_MOST_DAYS_SHOWN:]},
    }
    return not over_limit(by_day, connections.settings), description, metadata
