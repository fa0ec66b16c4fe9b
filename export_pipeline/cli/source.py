"""`export-pipeline source`: looks at the trace store."""

import math
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from export_pipeline.cli import output, stores

if TYPE_CHECKING:
    from export_pipeline.exports.projects.estimate import Estimate
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


@app.command()
def estimate(
    project: Annotated[str | None, typer.Argument(help="Name or id of a project; by default all.")] = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="DAY", help="First day (UTC), by default START_DATE."),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="DAY", help="Last day, by default yesterday."),
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Say what a back-fill would bring, and how long the limits of an API make it take.

    Counts days and rows of each project that becomes an asset; the bytes are those of some rows of its newest day, as
    text before it is compressed. Reads only, and needs no control database.

    Example: export-pipeline source estimate checkout_bot --from 2026-06-01
    """
    from export_pipeline.exports.projects.estimate import estimates, wanted_projects
    from export_pipeline.exports.projects.sync import earliest_start
    from export_pipeline.runs.window import Window

    settings, today = stores.load(), datetime.now(UTC).date()
    begin = settings.start_date or earliest_start(today) if first is None else first.date()
    end = today - timedelta(days=1) if last is None else last.date()
    if begin > end:
        raise typer.BadParameter(f"the first day, {begin}, lies behind the last one, {end}")
    with stores.open_source(settings) as source, output.progress("projects") as show:
        projects = wanted_projects(source, settings, project)
        found = []
        for each in estimates(source, projects, Window.of_days(begin, end)):
            found.append(each)
            show(len(found), len(projects))
        pace = source.pace
    if as_json:
        output.print_json({"from": begin, "to": end, "projects": [asdict(each) for each in found]})
    else:
        _show_estimates(found, None if pace is None else pace.rate)


def _show_estimates(found: "list[Estimate]", rate: float | None) -> None:
    whole = [(each.project, each.first, each.last, each.days, each.rows, _mib(each.bytes)) for each in found]
    limits = [() if rate is None else (each.requests, _time(each.seconds)) for each in found]
    output.table(
        [
            *("project", "first day", "last day", ">days", ">rows", ">MiB of text"),
            *(() if rate is None else (">requests", ">at least")),
        ],
        [(*row, *more) for row, more in zip(whole, limits, strict=True)],
    )
    days, rows = sum(each.days for each in found), sum(each.rows for each in found)
    output.say(f"{days:,} days with {rows:,} rows; {_mib(sum(each.bytes or 0 for each in found)):,} MiB of text")
    if rate is not None:
        seconds = sum(each.seconds or 0 for each in found)
        output.say(
            f"At {rate:g} requests a second this takes at least {_time(seconds)}, whatever the number of workers; "
            "longer where answers are slow or others use the same key"
        )


def _mib(size: int | None) -> int | None:
    from export_pipeline.settings import MIB

    return None if size is None else -(-size // MIB)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else str(timedelta(seconds=math.ceil(seconds)))


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
