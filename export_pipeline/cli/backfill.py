"""`export-pipeline backfill`: queues a backfill on the running Dagster instance, follows it, cancels it."""

import time
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from export_pipeline.cli import output, stores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from export_pipeline.cli.dagster_backfill import BackfillState
    from export_pipeline.exports.projects.backfill import BackfillPlan

POLL_SECONDS = 2.0
_INTERRUPTED = 130

_PATIENCE = 120.0
"""How long a web server that has answered before may be away while a backfill is followed, in seconds."""


def backfill(
    projects: Annotated[list[str] | None, typer.Argument(metavar="PROJECT…", help="Names, assets or ids.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every project that has an asset.")] = False,
    first: Annotated[
        datetime | None,
        typer.Option(
            "--from", formats=["%Y-%m-%d"], metavar="DAY", help="First day (UTC), by default the first partition."
        ),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="DAY", help="Last day, by default yesterday."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end; Ctrl-C leaves it running.")] = False,
    follow: Annotated[str | None, typer.Option(metavar="ID", help="Follow a backfill that is running.")] = None,
    cancel: Annotated[str | None, typer.Option(metavar="ID", help="Cancel a backfill and its runs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be queued.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Export past days again, or for the first time, through Dagster.

    Queues a backfill on the instance whose web server EXPORT_PIPELINE_DAGSTER_URL names; the limits of its queue
    hold, and the days of the schedule go first. Days whose rows have not changed publish nothing. With --wait or
    --follow it ends with 1 where days failed.

    Example: export-pipeline backfill "support bot" --from 2026-11-01 --to 2026-11-09 --wait
    """
    from export_pipeline.cli import dagster_backfill

    url = stores.load().dagster_url
    if cancel is not None or follow is not None:
        _refuse_more(projects, every, first, last, follow if cancel else None)
        if cancel is not None:
            _show(dagster_backfill.cancel(url, cancel), as_json=as_json)
        else:
            with _left_running(str(follow)):
                _follow(url, str(follow), as_json=as_json)
        return
    plan = _plan(projects or [], every=every, first=first, last=last)
    if dry_run:
        _show_plan(plan, None, as_json=as_json)
        return
    backfill_id = dagster_backfill.launch(
        url,
        [project.asset_name for project in plan.projects],
        [day.isoformat() for day in plan.dates],
        title=f"export-pipeline backfill {plan.days}",
    )
    with _left_running(backfill_id):
        if not (wait and as_json):
            _show_plan(plan, backfill_id, as_json=as_json)
        _warn_of_dead_daemon(url)
        if wait:
            _follow(url, backfill_id, as_json=as_json)


def _refuse_more(projects: object, every: bool, first: object, last: object, other: object) -> None:
    if projects or every or first or last or other:
        raise typer.BadParameter("--cancel and --follow take the id of a backfill and nothing else")


def _plan(projects: list[str], *, every: bool, first: datetime | None, last: datetime | None) -> "BackfillPlan":
    from export_pipeline.exports.projects.backfill import plan_backfill

    settings = stores.load()
    with stores.open_control(settings) as control:
        return plan_backfill(
            control,
            settings,
            projects,
            every=every,
            first=first.date() if first else None,
            last=last.date() if last else None,
        )


def _show_plan(plan: "BackfillPlan", backfill_id: str | None, *, as_json: bool) -> None:
    assets = [f"runs/{project.asset_name}" for project in plan.projects]
    if as_json:
        days = {"first_day": plan.days.first, "last_day": plan.days.last, "days": len(plan.days)}
        output.print_json({"backfill_id": backfill_id, "assets": assets, **days})
        return
    what = f"{len(plan.days)} days ({plan.days}) of {len(assets)} projects: {', '.join(assets)}"
    if backfill_id is None:
        output.say(f"Would queue {what}")
    else:
        output.say(f"Queued as backfill {backfill_id}: {what}")
        output.say(_how_to_go_on(backfill_id))


def _how_to_go_on(backfill_id: str) -> str:
    return (
        f"`export-pipeline backfill --follow {backfill_id}` follows it, "
        f"`export-pipeline backfill --cancel {backfill_id}` cancels it."
    )


def _warn_of_dead_daemon(url: str) -> None:
    from export_pipeline.cli.dagster_server import ask_health

    if dead := ask_health(url).dead_daemons:
        output.warn(f"Dagster's daemon is not running ({', '.join(dead)}); the backfill waits until it is started.")


@contextmanager
def _left_running(backfill_id: str) -> "Iterator[None]":
    """Ctrl-C ends this command, not the backfill, and says so."""
    try:
        yield
    except KeyboardInterrupt:
        output.warn(f"Backfill {backfill_id} goes on. {_how_to_go_on(backfill_id)}")
        raise typer.Exit(_INTERRUPTED) from None


def _follow(url: str, backfill_id: str, *, as_json: bool) -> None:
    """Shows the progress until the end, and ends with 1 where that is not a success."""
    with output.progress(f"backfill {backfill_id}") as on_progress:
        for state in _states(url, backfill_id):
            on_progress(state.done, state.total)
    _show(state, as_json=as_json)
    if not state.ok:
        raise typer.Exit(1)


def _states(url: str, backfill_id: str) -> "Iterator[BackfillState]":
    """How far the backfill is, again and again; the last one is its end."""
    from export_pipeline.cli.dagster_backfill import state_of
    from export_pipeline.dagster_server import DagsterUnreachableError

    heard: float | None = None
    while True:
        try:
            state = state_of(url, backfill_id)
            heard = time.monotonic()
            yield state
            if state.ended:
                return
        except DagsterUnreachableError:
            if heard is None or time.monotonic() > heard + _PATIENCE:
                raise
        time.sleep(POLL_SECONDS)


def _show(state: "BackfillState", *, as_json: bool) -> None:
    if as_json:
        output.print_json({**asdict(state), "ok": state.ok})
        return
    columns = ["asset", ">days", ">under way", ">done", ">failed"]
    output.table(columns, [(each.asset, each.days, each.under_way, each.done, each.failed) for each in state.assets])
    output.say(f"Backfill {state.backfill_id}: {state.status}" + (f" ({state.error})" if state.error else ""))
