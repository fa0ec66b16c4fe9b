"""`export-pipeline manifests`: keys that sign them, and what an operator does about those in the bucket."""

from dataclasses import asdict
from typing import Annotated

import typer

from export_pipeline.cli import output, stores

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make keys that sign manifests, write manifests anew, and take foreign ones away."""


@app.command("new-key")
def new_key(as_json: output.AsJson = False) -> None:
    """Print a new key pair.

    The private key is EXPORT_PIPELINE_SIGNING_KEY of what exports; keep it out of the bucket. The public key goes to
    whoever verifies. To change keys: put the old public key into EXPORT_PIPELINE_SIGNING_PUBLIC_KEYS, then replace the
    private key; what the old one has signed stays valid.

    Example: export-pipeline manifests new-key
    """
    from export_pipeline.files.signing import PUBLIC_KEYS, SIGNING_KEY, new_key_pair

    pair = new_key_pair()
    if as_json:
        output.print_json({"private": pair.private, "public": pair.public, "key_id": pair.key_id})
        return
    print(f"{SIGNING_KEY}={pair.private}\n{PUBLIC_KEYS}={pair.public}")


@app.command()
def restore(
    exports: Annotated[
        list[str] | None,
        typer.Argument(help="Projects (name, asset or id) or ids of exports; without any all standing ones."),
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Write manifests anew from the control database.

    Those of the last commits that are missing, were changed, or with SIGNING_KEY are not signed with it: after signing
    was turned on, after a change of keys, and after somebody else has written to the bucket. Files are not touched.

    Example: export-pipeline manifests restore checkout_bot
    """
    from export_pipeline.exports.projects.standing import list_tables
    from export_pipeline.exports.proof.manifest_repair import restore as write_anew
    from export_pipeline.files.signing import Signer

    settings = stores.load()
    signer = Signer.from_settings(settings)
    with stores.open_control(settings) as control, stores.open_store() as store:
        named = [table for name in exports or () for table in stores.find_tables(control, name)]
        chosen = named or [export for export in list_tables(control) if export.superseded_at is None]
        restored = []
        for export in chosen:
            with stores.open_store_of(export, store, control, settings) as its:
                restored.append(write_anew(control, its, export, signer=signer, actor="cli"))
    if as_json:
        output.print_json({"manifests": [asdict(each) for each in restored]})
        return
    written = [key for each in restored for key in each.written]
    for key in written:
        output.say(f"Written anew: {key}")
    output.say(f"{len(written)} of {sum(each.seen for each in restored)} manifests were written anew.")


@app.command()
def retire(
    name: Annotated[str, typer.Argument(help="The key of a manifest, or a folder of them with a slash at its end.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Take manifests away that none of yours has written.

    They are moved to _export_pipeline/retired/. Days that were recovered from one have no commit afterwards: run
    `export-pipeline recover`, or export them again.

    Example: export-pipeline manifests retire traces/_export_pipeline/manifests/export_id=…/epoch=0000000500.json
    """
    from export_pipeline.exports.proof.manifest_repair import find_manifests
    from export_pipeline.exports.proof.manifest_repair import retire as take_away

    settings = stores.load()
    with stores.open_control(settings) as control, stores.open_store() as store:
        prefix = store.config.prefix
        manifests = find_manifests(control, store, prefix=prefix, name=name)
        if not yes:
            for item in manifests:
                last = f", the last commit of {item.days} days" if item.days else ""
                output.warn(f"{item.key}: {item.size:,} bytes{last}")
            typer.confirm(f"Take {len(manifests)} away?", abort=True, err=True)
        take_away(control, store, manifests, prefix=prefix, actor="cli")
    if as_json:
        output.print_json({"retired": [asdict(item) for item in manifests]})
    else:
        output.say(f"Retired {len(manifests)}.")
