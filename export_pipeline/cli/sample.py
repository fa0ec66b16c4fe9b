"""`export-pipeline sample`: writes a trace store to try things with."""

from typing import Annotated

import typer

from export_pipeline.cli import output, stores


def sample(
    url: Annotated[
        str | None,
        typer.Argument(help="SQLAlchemy URL of the store to write, SQLite or PostgreSQL; without it the embedded one."),
    ] = None,
    projects: Annotated[int, typer.Option(min=1, help="Projects.")] = 3,
    experiments: Annotated[int, typer.Option(min=0, help="Projects that are experiments over a dataset.")] = 1,
    days: Annotated[int, typer.Option(min=1, help="Days of each project; the last one is yesterday.")] = 14,
    runs_per_day: Annotated[int, typer.Option(min=1, help="Runs of a project on an average day.")] = 300,
    row_bytes: Annotated[int | None, typer.Option(min=1, help="About so many bytes of payload in every run.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 7,
    append: Annotated[bool, typer.Option("--append", help="Add to a store that holds runs already.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Delete what the store holds first.")] = False,
) -> None:
    """Write a trace store with sample traces.

    It looks like a real one: traces as trees, payloads of all sizes, errors, feedback, days without rows.

    Example: export-pipeline sample sqlite:///traces.db --projects 5 --days 30
    """
    from export_pipeline.errors import InputError
    from export_pipeline_sample.write import write_sample

    if append and replace:
        raise InputError("--append and --replace exclude each other")
    if url is None:
        url = _embedded_url()
    with output.progress("writing runs") as on_progress:
        report = write_sample(
            url,
            seed=seed,
            projects=projects,
            experiments=experiments,
            days=days,
            runs_per_day=runs_per_day,
            row_bytes=row_bytes,
            existing="append" if append else "replace" if replace else "refuse",
            on_progress=on_progress,
        )
    output.say(
        f"{report.runs:,} runs and {report.feedbacks:,} feedback records of {len(report.projects)} projects, "
        f"{report.first_day} to {report.last_day}, {report.characters / 1e6:,.1f} MB of payload."
    )


def _embedded_url() -> str:
    from export_pipeline.errors import SettingsError

    settings = stores.load()
    if settings.source_url is None:
        raise SettingsError("EXPORT_PIPELINE_SOURCE_URL is not set")
    return settings.source_url.get_secret_value()
