"""`export-pipeline keys`: who may use the HTTP API."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import typer

from export_pipeline.cli import output, stores
from export_pipeline.runs.times import instant

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make, list and revoke keys of the HTTP API."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    workspace: Annotated[
        UUID | None,
        typer.Option(help="The workspace that it speaks for; by default TENANT_ID, else the only one."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="bulk-exports:read, bulk-exports:manage (both by default) or metrics:read; repeatable."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="Expires after so many days.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Make a key and print it.

    It is shown this once: only its hash is stored.

    Example: export-pipeline keys create dashboard --scope bulk-exports:read --days 90
    """
    from export_pipeline.exports.access.keys import DEFAULT_SCOPES, create_key

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        key, text = create_key(
            control,
            name=name,
            tenant_id=tenant_id,
            scopes=scope or DEFAULT_SCOPES,
            expires_at=None if days is None else datetime.now(UTC) + timedelta(days=days),
            actor="cli",
        )
    if as_json:
        output.print_json({"key": text, **_row(asdict(key))})
        return
    output.say(f"{text}\n")
    output.say(f"Key {key.id} of workspace {key.tenant_id}: {', '.join(key.scopes)}. It is not shown again.")


@app.command("list")
def list_(
    workspace: Annotated[UUID | None, typer.Option(help="Only the keys of this workspace.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """List the keys, without the keys themselves.

    Example: export-pipeline keys list
    """
    from export_pipeline.exports.access.keys import list_keys

    with stores.open_control(stores.load()) as control:
        records = list_keys(control, tenant_id=workspace)
        now = control.now()
    rows = [{**_row(asdict(key)), "valid": key.valid(now)} for key in records]
    if as_json:
        output.print_json({"keys": rows})
        return
    columns = ["id", "name", "hint", "workspace", "scopes", "valid", "expires at", "last used at"]
    names = ("id", "name", "hint", "tenant_id", "scopes", "valid", "expires_at", "last_used_at")
    output.table(
        columns,
        [[", ".join(row[name]) if name == "scopes" else row[name] for name in names] for row in rows],
    )


@app.command()
def revoke(key_id: Annotated[UUID, typer.Argument(help="The key's id.")], as_json: output.AsJson = False) -> None:
    """End a key at once and for good.

    Example: export-pipeline keys revoke 0b51…
    """
    from export_pipeline.exports.access.keys import revoke_key

    with stores.open_control(stores.load()) as control:
        key = revoke_key(control, key_id, actor="cli")
    if as_json:
        output.print_json(_row(asdict(key)))
    else:
        output.say(f"Key {key.id} ({key.name}) is revoked.")


def _row(values: dict[str, Any]) -> dict[str, Any]:
    """The record with its instants as times."""
    return {name: _time(value) if name.endswith("_at") else value for name, value in values.items()}


def _time(value: int | None) -> datetime | None:
    return None if value is None else instant(value)
