"""`export-pipeline exports`: bulk exports, asked for, watched, cancelled and tried again."""

import time
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from export_pipeline.cli import exports_output, output, stores
from export_pipeline.cli.destinations import ACTOR, Workspace

if TYPE_CHECKING:
    from export_pipeline.exports.bulk.read import Progress
    from export_pipeline.exports.bulk.records import BulkExport
    from export_pipeline.exports.bulk.request import BulkExportRequest
    from export_pipeline.exports.control.database import ControlDatabase
    from export_pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True)

POLL_SECONDS = 1.0
_INTERRUPTED = 130

Id = Annotated[uuid.UUID, typer.Argument(metavar="ID", help="Id of the export.", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end; Ctrl-C leaves it running.")]


@app.callback()
def _group() -> None:
    """Export any project and window to a stored destination, once or every few hours."""


@app.command()
def create(
    destination: Annotated[
        uuid.UUID, typer.Option("--destination", metavar="ID", help="A stored destination.", show_default=False)
    ],
    start: Annotated[
        str, typer.Option("--from", metavar="TIME", help="First instant, as 2026-11-01 or 2026-11-01T06:00Z.")
    ],
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="End; not included itself.")] = None,
    every: Annotated[
        int | None, typer.Option("--every", metavar="HOURS", help="Makes a schedule: an export every so many hours.")
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="Name, asset or id of the project.")] = None,
    all_experiments: Annotated[
        bool, typer.Option("--all-experiments", help="Every experiment of the workspace instead of one project.")
    ] = False,
    filter_: Annotated[str | None, typer.Option("--filter", metavar="TEXT", help="Only runs that match it.")] = None,
    fields: Annotated[str | None, typer.Option("--fields", help="Columns, separated by commas.")] = None,
    format_version: Annotated[str, typer.Option("--format-version", help="v1 or v2_beta.")] = "v1",
    compression: Annotated[str, typer.Option("--compression", help="none, gzip, snappy or zstandard.")] = "zstandard",
    follow_late: Annotated[
        bool, typer.Option("--follow-late", help="Of a schedule: days whose rows change later are exported again.")
    ] = False,
    wait: Wait = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check it, and count its days, rows and bytes.")
    ] = False,
    workspace: Workspace = None,
    as_json: output.AsJson = False,
) -> None:
    """Ask for an export; the Dagster daemon carries it out.

    With --wait it ends with 1 unless the export is Completed.

    Example: export-pipeline exports create --destination 6f1c… --project chat --from 2026-11-01 --to 2026-11-10
    """
    from export_pipeline.errors import InputError
    from export_pipeline.exports.bulk.create import create_bulk_export
    from export_pipeline.exports.bulk.request import BulkExportRequest

    settings = stores.load()
    if wait and every is not None:
        raise InputError("--wait is for an export that ends; a schedule does not")
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        request = BulkExportRequest(
            destination_id=destination,
            start=_instant("--from", start),
            end=None if end is None else _instant("--to", end),
            session_id=_session(control, project),
            all_experiments=all_experiments,
            filter=filter_,
            format_version=format_version,  # type: ignore[arg-type] # the request's rules look at it
            compression=compression,  # type: ignore[arg-type]
            export_fields=None if fields is None else [name.strip() for name in fields.split(",") if name.strip()],
            interval_hours=every,
            reexport_late=follow_late,
        )
        if dry_run:
            _dry_run(control, request, tenant_id, settings, as_json=as_json)
            return
        made = create_bulk_export(control, request, tenant_id=tenant_id, settings=settings, actor=ACTOR)
        _show_or_follow(control, made, wait=wait, as_json=as_json)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 50,
    workspace: Workspace = None,
    as_json: output.AsJson = False,
) -> None:
    """List the exports, schedules and what they have spawned, the newest first.

    Example: export-pipeline exports list
    """
    from export_pipeline.exports.bulk.read import list_bulk_exports

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        records = list_bulk_exports(control, tenant_id=tenant_id, limit=limit)
    if as_json:
        output.print_json([exports_output.values(export) for export in records])
    elif records:
        exports_output.exports_table(records)
    else:
        output.say("There are no exports; `export-pipeline exports create` asks for one.")


@app.command()
def show(export_id: Id, wait: Wait = False, workspace: Workspace = None, as_json: output.AsJson = False) -> None:
    """Show one export and how far it is; with --wait, follow it.

    Example: export-pipeline exports show 6f1c… --wait
    """
    from export_pipeline.exports.bulk.read import get_bulk_export

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        record = get_bulk_export(control, export_id, tenant_id=tenant_id)
        _show_or_follow(control, record, wait=wait, as_json=as_json)


@app.command()
def runs(
    export_id: Id,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that did not end well.")] = False,
    workspace: Workspace = None,
    as_json: output.AsJson = False,
) -> None:
    """List an export's runs: a project's day each; of a schedule, those of its exports.

    Example: export-pipeline exports runs 6f1c… --failed
    """
    from export_pipeline.exports.bulk.read import get_bulk_export, list_child_units, list_units

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        export = get_bulk_export(control, export_id, tenant_id=tenant_id)
        of = list_units if export.interval_hours is None else list_child_units
        units = of(control, export_id, tenant_id=tenant_id)
    if failed:
        units = [unit for unit in units if unit.status in {"Failed", "TimedOut"}]
    if as_json:
        output.print_json([exports_output.unit_values(unit) for unit in units])
    else:
        exports_output.units_table(units)


@app.command()
def cancel(export_id: Id, workspace: Workspace = None, as_json: output.AsJson = False) -> None:
    """Cancel an export or a schedule, for good.

    Days that are committed stay; a schedule's exports that were spawned go on.

    Example: export-pipeline exports cancel 6f1c…
    """
    from export_pipeline.exports.bulk.cancel import cancel_bulk_export
    from export_pipeline.exports.bulk.dagster_runs import end_dagster_runs

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        changed = cancel_bulk_export(control, export_id, tenant_id=tenant_id, actor=ACTOR)
        end_dagster_runs(settings.dagster_url, export_id)
        _show_or_follow(control, changed, wait=False, as_json=as_json)


@app.command()
def retry(export_id: Id, wait: Wait = False, workspace: Workspace = None, as_json: output.AsJson = False) -> None:
    """Put the failed days of an export back to work; finished ones stay as they are.

    Example: export-pipeline exports retry 6f1c… --wait
    """
    from export_pipeline.exports.bulk.retry import retry_failed

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        changed = retry_failed(control, export_id, tenant_id=tenant_id, settings=settings, actor=ACTOR)
        _show_or_follow(control, changed, wait=wait, as_json=as_json)


def _instant(name: str, text: str) -> datetime:
    from export_pipeline.errors import InputError

    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{name} {text!r} is not a time such as 2026-11-01 or 2026-11-01T06:00Z") from None


def _session(control: "ControlDatabase", project: str | None) -> uuid.UUID | None:
    from export_pipeline.exports.projects.registry import find_project

    return None if project is None else find_project(control, project).session_id


def _dry_run(
    control: "ControlDatabase",
    request: "BulkExportRequest",
    tenant_id: uuid.UUID,
    settings: "Settings",
    *,
    as_json: bool,
) -> None:
    from export_pipeline.exports.bulk.create import dry_run

    with stores.open_source(settings) as source:
        outcome = dry_run(control, source, request, tenant_id=tenant_id, settings=settings)
    exports_output.dry_run(outcome, as_json=as_json)


def _show_or_follow(control: "ControlDatabase", export: "BulkExport", *, wait: bool, as_json: bool) -> None:
    """Shows an export; with `wait` at its end, ending with 1 unless that is Completed."""
    if not wait or export.interval_hours is not None:
        exports_output.export(export, _progress(control, export), as_json=as_json)
        return
    try:
        if not as_json:
            output.say(f"Export {export.id}")
        with output.progress(f"export {export.id}") as on_progress:
            while export.finished_at is None:
                progress = _progress(control, export)
                if progress is not None:
                    on_progress(progress.days_done, progress.days_total)
                time.sleep(POLL_SECONDS)
                export = _again(control, export)
    except KeyboardInterrupt:
        output.warn(
            f"Export {export.id} goes on. `export-pipeline exports show {export.id} --wait` follows it, "
            f"`export-pipeline exports cancel {export.id}` cancels it."
        )
        raise typer.Exit(_INTERRUPTED) from None
    exports_output.export(export, _progress(control, export), as_json=as_json)
    if export.status != "Completed":
        raise typer.Exit(1)


def _again(control: "ControlDatabase", export: "BulkExport") -> "BulkExport":
    from export_pipeline.exports.bulk.read import get_bulk_export

    return get_bulk_export(control, export.id, tenant_id=export.tenant_id)


def _progress(control: "ControlDatabase", export: "BulkExport") -> "Progress | None":
    from export_pipeline.exports.bulk.read import progress_of

    return None if export.interval_hours is not None else progress_of(control, export.id, tenant_id=export.tenant_id)
