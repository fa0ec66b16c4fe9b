"""`export-pipeline projects`: which projects there are, how far each is, and where its days lie in the bucket."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from export_pipeline.cli import output, stores

if TYPE_CHECKING:
    from export_pipeline.exports.control.database import ControlDatabase
    from export_pipeline.exports.control.records import ProjectRecord
    from export_pipeline.exports.projects.registry import SyncReport
    from export_pipeline.exports.watch.overdue import ProjectProgress
    from export_pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """List the projects, or read them anew from the trace store."""


@app.command("list")
def list_(
    every: Annotated[
        bool, typer.Option("--all", help="Also projects without an asset: experiments, excluded and removed ones.")
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """List the projects, and how far each is.

    Those that have an asset in Dagster, with their days and where they lie in the bucket. Reads the control
    database only. Says which projects begin a new table with the next day, because a setting of the bucket, prefix,
    format or compression has changed.

    Example: export-pipeline projects list
    """
    from export_pipeline.exports.projects.standing import changed_tables

    settings = stores.load()
    with stores.open_control(settings) as control:
        rows = _rows(control, settings, every=every)
        changed = {table.project.name: table.changes for table in changed_tables(control, settings)}
    if as_json:
        output.print_json({"projects": rows, "begin_a_new_table": changed})
        return
    if not rows:
        output.say("There are no projects; `export-pipeline projects sync` reads them from the trace store.")
        return
    columns = ["name", "workspace", "asset", ">days", ">rows", ">bytes", "newest day", ">overdue", "standing export at"]
    names = ("name", "tenant_id", "asset", "days", "rows", "bytes", "newest_day", "overdue", "location")
    output.table(columns, [[row[name] for name in names] for row in rows])
    for name, changes in changed.items():
        output.say(f"{name} begins a new table with the next day: {'; '.join(changes)}", style="yellow")


def _rows(control: "ControlDatabase", settings: "Settings", *, every: bool) -> list[dict[str, Any]]:
    from export_pipeline.exports.projects.registry import list_projects
    from export_pipeline.exports.watch.overdue import progress

    projects = progress(control, settings)
    rows = [_identity(item.project) | _far(item) for item in projects]
    if every:
        with_asset = {item.project.asset_name for item in projects}
        others = list_projects(control, only_assets=False, settings=settings)
        rows += [_identity(other) | _NO_ASSET for other in others if other.asset_name not in with_asset]
    return rows


def _identity(project: "ProjectRecord") -> dict[str, Any]:
    return {
        "name": project.name,
        "project": project.project,
        "session_id": project.session_id,
        "tenant_id": project.tenant_id,
        "is_experiment": project.is_experiment,
        "removed": project.removed_at is not None,
    }


def _far(item: "ProjectProgress") -> dict[str, Any]:
    return {
        "asset": f"runs/{item.project.asset_name}",
        "export_id": item.table and item.table.export_id,
        "days": item.days,
        "rows": item.rows,
        "bytes": item.bytes,
        "newest_day": item.newest_completed,
        "overdue": len(item.overdue),
        "failed": {day.isoformat(): error for day, error in item.errors.items()},
        "location": item.table and stores.location(item.table),
    }


_NO_ASSET = dict.fromkeys(
    ("asset", "export_id", "days", "rows", "bytes", "newest_day", "overdue", "failed", "location")
)


@app.command()
def sync(as_json: output.AsJson = False) -> None:
    """Read the list of projects from the trace store.

    It goes into the control database; Dagster's assets come from there. Makes or migrates the control database
    where that is needed. A trace store that cannot be read changes nothing. Names every project that has rows
    outside of the partitions, and counts the rows that belong to no project. Brings `projects.json`, the list by
    which readers find a project in the bucket, up to date.

    Example: export-pipeline projects sync
    """
    from export_pipeline.exports.projects.catalog import write_catalogs
    from export_pipeline.exports.projects.registry import sync_projects

    settings = stores.load()
    with stores.open_source(settings) as source, stores.open_control(settings, check=False) as control:
        report = sync_projects(control, source, settings)
        problems = write_catalogs(control, stores.open_store)
    report = replace(report, warnings=(*report.warnings, *problems))
    if as_json:
        output.print_json(asdict(report))
    else:
        _show(report, exported_as=settings.unassigned_project)


@app.command()
def assign(
    project: Annotated[str, typer.Argument(help="The project's asset, or its name or id where only one has it.")],
    as_json: output.AsJson = False,
) -> None:
    """Give a project the rows that name no workspace.

    For an id that several workspaces have a project of. The first one known keeps such rows until this command hands
    them over; the change goes into the audit log of both workspaces and is told of by a notice. Days that change with
    it are exported again by the sensor for late data.

    Example: export-pipeline projects assign checkout_bot_fd049430
    """
    from export_pipeline.exports.projects.owners import assign as hand_over
    from export_pipeline.exports.projects.registry import find_project

    settings = stores.load()
    with stores.open_control(settings) as control:
        mine = find_project(control, project)
        former = hand_over(control, mine)
    if as_json:
        output.print_json({"project": _identity(mine), "former": [_identity(each) for each in former]})
        return
    before = ", ".join(str(each.tenant_id) for each in former)
    output.say(
        f"Rows of project id {mine.project!r} that name no workspace belong to {mine.tenant_id} now"
        + (f"; they were those of {before}." if before else ".")
    )


def _show(report: "SyncReport", *, exported_as: str | None) -> None:
    start = f"partitions start on {report.partitions_start}" if report.partitions_start else "none has a row yet"
    output.say(f"{report.total} projects, {len(report.added)} of them new; {start}.")
    for old, new in report.renamed:
        output.say(f"Renamed: {old} is now {new}")
    for name in report.removed:
        output.say(f"No longer in the trace store: {name}")
    for rows in report.outside:
        output.say(f"Rows outside of the partitions: {rows}", style="yellow")
    if report.unassigned is not None and (sentence := report.unassigned.sentence(exported_as=exported_as)):
        output.say(sentence, style="yellow")
    for warning in report.warnings:
        output.say(f"Warning: {warning}", style="yellow")
