"""`export-pipeline recover`: rebuilds the control database's records from the manifests in the bucket."""

from dataclasses import asdict
from typing import Annotated

import typer

from export_pipeline.cli import output, stores


def recover(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be rebuilt.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Rebuild a lost control database from the bucket.

    Reads the manifests, for a database that was lost or restored from an old copy. Makes or migrates the control
    database first. Changes nothing in the bucket, and nothing that the control database knows better; may be
    repeated. Afterwards `export-pipeline projects sync` gives the projects their names. Ends with 1 where something
    could not be recovered.

    Example: export-pipeline recover --dry-run
    """
    settings = stores.load()
    with (
        stores.open_control(settings, check=False) as control,
        stores.open_store() as store,
        output.progress("reading manifests") as on_day,
    ):
        from export_pipeline.exports.proof.recover.bucket import recover as rebuild

        report = rebuild(control, store=store, settings=settings, actor="cli", dry_run=dry_run, on_day=on_day)
    if as_json:
        output.print_json(asdict(report))
    else:
        did = "Would rebuild" if dry_run else "Rebuilt"
        output.say(
            f"{did} {report.days} days of {len(report.exports)} exports of {len(report.projects)} projects "
            f"({report.rows:,} rows); {report.unchanged} days were right."
        )
        for problem in report.problems:
            output.warn(f"Problem: {problem}")
    if not report.ok:
        raise typer.Exit(1)
