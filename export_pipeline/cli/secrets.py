"""`export-pipeline secrets`: the keys that encrypt stored credentials."""

import typer

from export_pipeline.cli import output, stores

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make keys for stored credentials, and encrypt those with the newest one."""


@app.command()
def new(as_json: output.AsJson = False) -> None:
    """Print a new key for EXPORT_PIPELINE_SECRET_KEYS.

    To change keys: put it in front of the others, separated by a comma, restart what runs, and then
    `export-pipeline secrets rotate`; after that the others can go.

    Example: export-pipeline secrets new
    """
    from export_pipeline.object_store.secrets import new_key

    if as_json:
        output.print_json({"key": new_key()})
    else:
        print(new_key())


@app.command()
def rotate(as_json: output.AsJson = False) -> None:
    """Encrypt the credentials of all destinations with the newest key.

    All or nothing; the credentials themselves stay the same.

    Example: export-pipeline secrets rotate
    """
    from export_pipeline.exports.destinations.secret_rotation import rotate_secrets

    settings = stores.load()
    with stores.open_control(settings) as control:
        count = rotate_secrets(control, settings=settings, actor="cli")
    if as_json:
        output.print_json({"encrypted": count})
    else:
        output.say(f"Encrypted the credentials of {count} destination{'' if count == 1 else 's'} with the newest key.")
