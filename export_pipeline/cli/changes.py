"""`export-pipeline changes`: what was committed since, for loads that follow an export."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from export_pipeline.cli import output, stores

if TYPE_CHECKING:
    from export_pipeline.exports.proof.changes import Change


def changes(
    export: Annotated[
        str | None, typer.Argument(help="A project (name, asset or id) or the id of an export; or --all.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All projects, under one cursor.")] = False,
    since: Annotated[str | None, typer.Option(help="The cursor of the last answer; without it from the first.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most commits to list.")] = 1000,
    current: Annotated[bool, typer.Option("--current", help="One commit a day: leave superseded ones out.")] = False,
    bucket_only: Annotated[
        bool, typer.Option("--bucket-only", help="Use the bucket's manifests alone: every day's commit, no cursor.")
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """List what was committed since a cursor.

    In the order of the commits, with the cursor for the next time.

    Load each day that is listed anew (a day without a file: remove it; a superseded commit: pass it over), then keep
    the cursor: nothing is missed, and what was loaded before a crash is listed again. A file that is read has the
    commit's id in its footer, under `export_pipeline.commit_id`: where it is another one, the day was exported again
    meanwhile and comes once more.

    Example: export-pipeline changes checkout_bot --since 41-9f2c01aa --current --json
    """
    if (export is None) != every:
        raise typer.BadParameter("give a project or an export, or --all")
    if bucket_only:
        if since is not None:
            raise typer.BadParameter(
                "a bucket has no order of commits: compare commit ids instead", param_hint="--since"
            )
        listed, cursor = _in_bucket(export), None
    else:
        listed, cursor = _since(export, since, limit, current=current)
    if as_json:
        output.print_json({"changes": [asdict(change) for change in listed], "cursor": cursor})
        return
    output.table(
        [">sequence", "project", "day", ">rows", ">bytes", "committed at (UTC)", "file"],
        [
            (
                change.sequence,
                change.project or change.session_id,
                change.day,
                change.rows,
                change.bytes,
                change.committed_at,
                "superseded" if change.superseded else change.uri,
            )
            for change in listed
        ],
    )
    if not bucket_only:
        output.say(f"Cursor: {cursor}" if cursor else "Nothing has been committed yet.")


def _since(export: str | None, since: str | None, limit: int, *, current: bool) -> "tuple[list[Change], str | None]":
    from export_pipeline.exports.proof.changes import all_changes_since, bulk_changes_since, changes_since

    with stores.open_control(stores.load()) as control:
        if export is None:
            return all_changes_since(control, since, limit, current=current)
        table = stores.find_tables(control, export)[0]
        if table.bulk_id is None:
            return changes_since(control, table.export_id, since, limit, current=current)
        return bulk_changes_since(
            control, table.bulk_id, tenant_id=table.tenant_id, cursor=since, limit=limit, current=current
        )


def _in_bucket(export: str | None) -> "list[Change]":
    from export_pipeline.errors import InputError
    from export_pipeline.exports.proof.changes import days_in_bucket
    from export_pipeline.files.signing import PublicKeys
    from export_pipeline.runs.ids import parse_uuid

    wanted = None if export is None else parse_uuid(export)
    if export is not None and wanted is None:
        raise InputError(f"{export!r} is not an id: with --bucket-only a project is named by its id or its export's")
    settings = stores.load(bucket_only=True)
    with stores.open_store(bucket_only=True) as store:
        return days_in_bucket(store, settings.prefix, keys=PublicKeys.from_settings(settings), wanted=wanted)
