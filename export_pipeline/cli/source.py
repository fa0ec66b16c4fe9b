"""`export-pipeline source`: looks at the trace store."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from export_pipeline.cli import output, stores

if TYPE_CHECKING:
    from export_pipeline.sources.protocol import SourceReport

app = typer.Typer(help="Look at the trace store.", no_args_is_help=True)

SAMPLE_CHARACTERS = 60


@app.callback()
def _group() -> None:
    """Look at the trace store."""


@app.command()
def check(as_json: output.AsJson = False) -> None:
    """Say whether the trace store can be exported.

    Lists what is mapped, derived and missing, and everything that is wrong, at once. Reads only. Ends with 1 where
    something is wrong.

    Example: export-pipeline source check
    """
    with stores.open_source(stores.load()) as source:
        report = source.check()
    if as_json:
        output.print_json(asdict(report))
    else:
        _show(report)
    if report.problems:
        raise typer.Exit(1)


@app.command()
def mapping(
    kind: Annotated[str, typer.Option(help="The store, as in SOURCE_KIND.")],
    database: Annotated[
        str | None, typer.Option(help="Its database, where it has several: sqlite, postgresql.")
    ] = None,
) -> None:
    """Print the mapping of a known store, to be changed and named in EXPORT_PIPELINE_MAPPING.

    Example: export-pipeline source mapping --kind phoenix --database postgresql
    """
    from export_pipeline.sources.presets.choose import text_of

    typer.echo(text_of(kind, database), nl=False)


def _show(report: "SourceReport") -> None:
    output.say(f"Trace store {report.url}: {report.projects} projects")
    sample = report.sample or {}
    output.table(
        ["column", "comes from", "how", "a sample row has"],
        [(column.field, column.origin, column.detail, _short(sample.get(column.field))) for column in report.columns],
    )
    output.say(f"Index for project and start_time: {report.index or 'none'}")
    if report.usage is not None:
        output.say(f"Requests: {report.usage}")
    for name, value in report.extra.items():
        output.say(f"{name}: {value}")
    for warning in report.warnings:
        output.say(f"Warning: {warning}", style="yellow")
    for problem in report.problems:
        output.warn(f"Problem: {problem}")


def _short(value: str | None) -> str | None:
    if value is None or len(value) <= SAMPLE_CHARACTERS:
        return value
    return value[: SAMPLE_CHARACTERS - 1] + "…"
