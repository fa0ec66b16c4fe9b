"""Days of standing tables with more rejected rows than the settings let pass, and the notice of them."""

from collections.abc import Mapping
from datetime import date

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.watch.notices import add_notice
from export_pipeline.exports.watch.overdue import ProjectProgress, progress
from export_pipeline.runs.reasons import describe_rejected, total_rejected
from export_pipeline.settings import Settings

_MOST_DAYS_NAMED = 31


def over_limit(rejected: Mapping[date, Mapping[str, int]], settings: Settings) -> dict[date, Mapping[str, int]]:
    """Of rejected rows by day and reason those days that have too many."""
    return {day: reasons for day, reasons in rejected.items() if sum(reasons.values()) > settings.max_rejected_rows}


def note_rejected(control: ControlDatabase, settings: Settings) -> list[str]:
    """Puts a notice into the outbox for each project with such days; the names of the projects' assets.

    A project is told of again when another such day is committed, however often this is called.
    """
    over = [(item, days) for item in progress(control, settings) if (days := over_limit(item.rejected, settings))]
    at = control.now()

    def write(transaction: Transaction) -> None:
        for item, days in over:
            _note(transaction, item, days, at=at)

    if over:
        control.run(write)
    return [item.project.asset_name for item, _ in over]


def _note(transaction: Transaction, item: ProjectProgress, days: Mapping[date, Mapping[str, int]], *, at: int) -> None:
    reasons, newest = total_rejected(days.values()), sorted(days)[-_MOST_DAYS_NAMED:]
    epochs = ",".join(f"{day}/{item.epochs[day]}" for day in newest)
    name, span = item.project.asset_name, f"{len(days):,} {'day' if len(days) == 1 else 'days'}"
    add_notice(
        transaction,
        "rows.rejected",
        subject=f"{name}:{epochs}",
        text=f"{span} of runs/{name}, the newest {newest[-1]}: {describe_rejected(reasons)}",
        detail={
            "asset": f"runs/{name}",
            "project_id": str(item.project.session_id),
            "rows_rejected": sum(reasons.values()),
            "reasons": dict(reasons),
            "days": {str(day): dict(days[day]) for day in newest},
        },
        at=at,
    )
