"""`export-pipeline sample`: writes a trace store to try things with."""

from typing import Annotated

import typer


def sample(
    url: Annotated[
        str | None,
        typer.Argument(help="SQLAlchemy URL of the store to write, SQLite or PostgreSQL; without it the embedded one."),
    ] = None,
    projects: Annotated[int, typer.Option(min=1, help="Projects.")] = 3,
    days: Annotated[int, typer.Option(min=1, help="Days of each project; the last one is yesterday.")] = 14,
    runs_per_day: Annotated[int, typer.Option(min=1, help="Runs of a project on an average day.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 0,
) -> None:
    """Write a trace store with sample traces.

    It looks like a real one: traces as trees, payloads of all sizes, errors, feedback, days without rows.

    Example: export-pipeline sample sqlite:///traces.db --projects 5 --days 30
    """
