"""How bulk exports and their runs are printed."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from export_pipeline.cli import output
from export_pipeline.runs.reasons import describe_rejected
from export_pipeline.runs.times import instant

if TYPE_CHECKING:
    from export_pipeline.exports.bulk.create import DryRun
    from export_pipeline.exports.bulk.read import Progress
    from export_pipeline.exports.bulk.records import BulkExport, BulkUnit

_INSTANTS = ("start_at", "end_at", "created_at", "updated_at", "planned_at", "started_at", "finished_at", "not_before")


def values(export: "BulkExport") -> dict[str, Any]:
    """An export as JSON holds it."""
    return _with_times(asdict(export))


def unit_values(unit: "BulkUnit") -> dict[str, Any]:
    """A run as JSON holds it."""
    return _with_times(asdict(unit))


def export(record: "BulkExport", progress: "Progress | None", *, as_json: bool) -> None:
    """Prints one export and how far it is."""
    shown = values(record)
    far = None if progress is None else asdict(progress) | {"estimated_finish": _time(progress.estimated_finish)}
    if as_json:
        output.print_json({**shown, "progress": far})
        return
    rows = [(name, value) for name, value in shown.items() if value not in (None, False, ())]
    if progress is not None:
        done = f"{progress.percent} %, {progress.days_done} of {progress.days_total} days"
        rows += [("done", done), ("rows", _of_planned(progress)), ("bytes", progress.bytes)]
        if progress.rejected:
            rows.append(("not exported", describe_rejected(progress.rejected)))
        if record.finished_at is None and progress.estimated_finish is not None:
            rows.append(("done at about", _time(progress.estimated_finish)))
    output.table(["", ""], rows)


def _of_planned(progress: "Progress") -> str:
    written = f"{progress.rows_written:,}"
    return written if progress.rows_planned is None else f"{written} of {progress.rows_planned:,} that were counted"


def exports_table(records: Sequence["BulkExport"]) -> None:
    """Prints exports, a line each."""
    columns = ["id", "status", "from", "to or every", "project", "created", "error or warning"]
    output.table(columns, [_line(each) for each in records])


def units_table(units: Sequence["BulkUnit"]) -> None:
    """Prints runs, a line each, with the last error of each and the rows that it has set aside."""
    columns = ["day", "project id", "status", ">retries", ">rows", ">bytes", "file", "last error", "rejected"]
    output.table(
        columns,
        [
            (
                unit.day,
                unit.session_id,
                unit.status,
                unit.attempt,
                unit.rows,
                unit.bytes,
                unit.key,
                _last(unit),
                unit.rejected and describe_rejected(unit.rejected),
            )
            for unit in units
        ],
    )


def dry_run(outcome: "DryRun", *, as_json: bool) -> None:
    """Prints what an export would be."""
    if as_json:
        window = {"start": outcome.window.start, "end": outcome.window.end}
        output.print_json({**asdict(outcome), "window": window})
        return
    size = "an unknown number of" if outcome.estimated_bytes is None else f"about {outcome.estimated_bytes:,}"
    output.say(
        f"Would export {outcome.rows:,} rows, {size} bytes, in {outcome.days:,} days of {outcome.projects:,} projects, "
        f"window {outcome.window}."
    )


def _line(export: "BulkExport") -> list[object]:
    end = f"{export.interval_hours} h" if export.interval_hours is not None else _time(export.end_at)
    of = "all experiments" if export.all_experiments else export.session_id
    return [
        export.id,
        export.status,
        _time(export.start_at),
        end,
        of,
        _time(export.created_at),
        export.error or export.warning,
    ]


def _last(unit: "BulkUnit") -> str | None:
    numbers = [int(name.removeprefix("retry_")) for name in unit.errors]
    return unit.errors[f"retry_{max(numbers)}"] if numbers else None


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _time(value) if name in _INSTANTS else value for name, value in row.items()}


def _time(value: int | None) -> datetime | None:
    return None if value is None else instant(value)
