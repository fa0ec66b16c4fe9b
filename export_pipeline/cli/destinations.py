"""`export-pipeline destinations`: the buckets that bulk exports go to, and their credentials."""

import json
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from export_pipeline.cli import credentials, output, stores
from export_pipeline.runs.times import instant

if TYPE_CHECKING:
    from export_pipeline.exports.destinations.stored import DestinationRecord

app = typer.Typer(no_args_is_help=True)

ACTOR = "cli"

Id = Annotated[uuid.UUID, typer.Argument(metavar="ID", help="Id of the destination.", show_default=False)]
Workspace = Annotated[
    uuid.UUID | None,
    typer.Option("--workspace", help="Workspace; by default TENANT_ID, else the only one.", show_default=False),
]
RoleArn = Annotated[
    str | None,
    typer.Option("--role-arn", help="AWS role to assume with the process's own credentials.", show_default=False),
]


@app.callback()
def _group() -> None:
    """Store buckets for bulk exports, check them, and renew their credentials."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people call it.", show_default=False)],
    bucket: Annotated[str, typer.Option("--bucket", help="Name of the bucket.", show_default=False)],
    prefix: Annotated[str, typer.Option("--prefix", help="Folder in the bucket.", show_default=False)] = "",
    region: Annotated[str | None, typer.Option("--region", help="Region, for AWS.", show_default=False)] = None,
    endpoint_url: Annotated[
        str | None, typer.Option("--endpoint-url", help="Address of a store that is not AWS.", show_default=False)
    ] = None,
    role_arn: RoleArn = None,
    keys: credentials.Keys = None,
    bucket_in_host: Annotated[
        bool, typer.Option("--bucket-in-host", help="The endpoint's host stands for the bucket already.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="One of config_kwargs_s3, as addressing_style=virtual."),
    ] = None,
    argument: Annotated[
        list[str] | None,
        typer.Option("--argument", metavar="NAME=VALUE", help="One of s3_additional_kwargs, as StorageClass=GLACIER."),
    ] = None,
    workspace: Workspace = None,
    as_json: output.AsJson = False,
) -> None:
    """Check a bucket by writing to it, and store it with its credentials, encrypted.

    Nothing is stored where the check fails; the error says what is wrong and what to do.

    Example: export-pipeline destinations create "Lake" --bucket lake --region eu-central-1
    """
    from export_pipeline.exports.destinations.stored import NewDestination, create_destination
    from export_pipeline.object_store.form import parse_config

    config = parse_config(
        {
            "bucket_name": bucket,
            "prefix": prefix,
            "region": region,
            "endpoint_url": endpoint_url,
            "aws_role_arn": role_arn,
            "include_bucket_in_prefix": not bucket_in_host,
            "config_kwargs_s3": _pairs(option or ()),
            "s3_additional_kwargs": _pairs(argument or ()),
        }
    )
    settings = stores.load()
    given = _credentials(keys, role_arn)
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        new = NewDestination(name, config, given)
        made = create_destination(control, new, tenant_id=tenant_id, settings=settings, actor=ACTOR)
    _show(made, as_json=as_json)


@app.command("list")
def list_(workspace: Workspace = None, as_json: output.AsJson = False) -> None:
    """List the stored destinations, the newest first.

    Example: export-pipeline destinations list
    """
    from export_pipeline.exports.destinations.stored import list_destinations

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        records = list_destinations(control, tenant_id=tenant_id)
    if as_json:
        output.print_json([_values(record) for record in records])
        return
    if not records:
        output.say("There are no destinations; `export-pipeline destinations create` makes one.")
        return
    columns = ["id", "name", "bucket", "prefix", "at", "credentials", "checked"]
    output.table(columns, [_line(record) for record in records])


@app.command()
def show(destination_id: Id, workspace: Workspace = None, as_json: output.AsJson = False) -> None:
    """Show one destination; its credentials are never shown.

    Example: export-pipeline destinations show 6f1c…
    """
    from export_pipeline.exports.destinations.stored import get_destination

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        record = get_destination(control, destination_id, tenant_id=tenant_id)
    _show(record, as_json=as_json)


@app.command()
def rotate(
    destination_id: Id,
    role_arn: RoleArn = None,
    keys: credentials.Keys = None,
    workspace: Workspace = None,
    as_json: output.AsJson = False,
) -> None:
    """Put new credentials, or a role, in the place of the former ones.

    They are checked first; where that fails the former ones stay. Nothing needs to be restarted.

    Example: export-pipeline destinations rotate 6f1c… --keys environment
    """
    from export_pipeline.exports.destinations.stored import rotate_credentials

    settings = stores.load()
    given = _credentials(keys, role_arn)
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        changed = rotate_credentials(
            control,
            destination_id,
            tenant_id=tenant_id,
            credentials=given,
            aws_role_arn=role_arn,
            settings=settings,
            actor=ACTOR,
        )
    _show(changed, as_json=as_json)


@app.command()
def delete(destination_id: Id, workspace: Workspace = None, as_json: output.AsJson = False) -> None:
    """Forget a destination and its credentials, unless an export still uses it.

    What was exported stays in the bucket.

    Example: export-pipeline destinations delete 6f1c…
    """
    from export_pipeline.exports.destinations.stored import delete_destination

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        delete_destination(control, destination_id, tenant_id=tenant_id, actor=ACTOR, settings=settings)
    if as_json:
        output.print_json({"deleted": destination_id})
    else:
        output.say(f"Deleted destination {destination_id}.")


@app.command()
def check(destination_id: Id, workspace: Workspace = None, as_json: output.AsJson = False) -> None:
    """Check a stored destination anew; exit status 1 where exports cannot be written there.

    Example: export-pipeline destinations check 6f1c…
    """
    from export_pipeline.exports.destinations.stored import check_stored

    settings = stores.load()
    with (
        stores.open_control(settings) as control,
        stores.in_workspace(control, settings, workspace) as tenant_id,
    ):
        checked = check_stored(control, destination_id, tenant_id=tenant_id, settings=settings, actor=ACTOR)
    if as_json:
        error = checked.error and {"error_class": checked.error.error_class, "message": str(checked.error)}
        values = {
            "ok": checked.ok,
            "error": error,
            "capabilities": vars(checked.capabilities),
            "warnings": checked.warnings,
        }
        output.print_json(values)
    else:
        output.say(str(checked.error) if checked.error else f"It works: {checked.capabilities}.")
        for warning in checked.warnings:
            output.say(warning, style="yellow")
    if not checked.ok:
        raise typer.Exit(1)


def _credentials(keys: credentials.From | None, role_arn: str | None) -> Any:
    if role_arn is not None and keys is None:
        return None
    return credentials.take(keys)


def _pairs(given: Iterable[str]) -> dict[str, Any]:
    """NAME=VALUE as names and values; a value that reads as JSON's true, false or an object is one."""
    from export_pipeline.errors import InputError

    pairs: dict[str, Any] = {}
    for pair in given:
        name, separator, text = pair.partition("=")
        if not separator:
            raise InputError(f"{pair!r} is not of the form NAME=VALUE.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        pairs[name] = value if isinstance(value, bool | dict) else text
    return pairs


def _values(record: "DestinationRecord") -> dict[str, Any]:
    from export_pipeline.object_store.form import config_values

    return {
        "id": record.id,
        "tenant_id": record.tenant_id,
        "display_name": record.display_name,
        "config": config_values(record.config),
        "credentials_keys": record.credentials_keys,
        "capabilities": vars(record.capabilities),
        "warnings": record.capabilities.losses,
        "checked_at": instant(record.checked_at),
        "created_at": instant(record.created_at),
        "updated_at": instant(record.updated_at),
    }


def _line(record: "DestinationRecord") -> list[object]:
    config = record.config
    at = config.endpoint_url or f"AWS {config.region or ''}".strip()
    return [record.id, record.display_name, config.bucket, config.prefix, at, _who(record), instant(record.checked_at)]


def _show(record: "DestinationRecord", *, as_json: bool) -> None:
    values = _values(record)
    if as_json:
        output.print_json(values)
        return
    config = {name: value for name, value in values["config"].items() if value not in (None, "")}
    rows = [
        ("id", record.id),
        ("name", record.display_name),
        ("workspace", record.tenant_id),
        *config.items(),
        ("credentials", _who(record)),
        ("can", str(record.capabilities)),
        *((name, values[name]) for name in ("checked_at", "created_at", "updated_at")),
    ]
    output.table(["", ""], rows)
    for warning in record.capabilities.losses:
        output.say(warning, style="yellow")


def _who(record: "DestinationRecord") -> str:
    if record.credentials_keys:
        return ", ".join(record.credentials_keys)
    return "a role" if record.config.aws_role_arn else "the process's own"
