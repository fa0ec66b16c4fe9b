"""`export-pipeline changes`: what was committed since, for loads that follow an export."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from export_pipeline.cli import output, parts


def changes(
    export: Annotated[str, typer.Argument(help="A project (name, asset or id) or the id of an export.")],
    since: Annotated[str | None, typer.Option(help="The cursor of the last answer; without it from the first.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most commits to list.")] = 1000,
    as_json: output.AsJson = False,
) -> None:
    """List what was committed since a cursor.

    In the order of the commits, with the cursor for the next time.

    Load each day that is listed anew (a day without a file: remove it), then keep the cursor: nothing is missed, and
    what was loaded before a crash is listed again.

    Example: export-pipeline changes checkout_bot --since 41-9f2c01aa --json
    """
    from export_pipeline.exports.proof.changes import bulk_changes_since, changes_since

    with parts.open_control(parts.load()) as control:
        found = parts.find_tables(control, export)[0]
        if found.bulk_id is not None:
            listed, cursor = bulk_changes_since(
                control, found.bulk_id, tenant_id=found.tenant_id, cursor=since, limit=limit
            )
        else:
            listed, cursor = changes_since(control, found.export_id, since, limit)
    if as_json:
        output.print_json({"changes": [asdict(change) for change in listed], "cursor": cursor})
        return
    output.table(
        [">sequence", "day", ">rows", ">bytes", "committed at (UTC)", "file"],
        [
            (c.sequence, c.day, c.rows, c.bytes, datetime.fromtimestamp(c.committed_at // 1_000_000, UTC), c.uri)
            for c in listed
        ],
    )
    output.say(f"Cursor: {cursor}" if cursor else "Nothing has been committed yet.")
