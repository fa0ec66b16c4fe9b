"""`export-pipeline demo` and `dev`: the whole product on this machine, with sample traces."""

import sys
from typing import Annotated, Literal

import typer

from export_pipeline.cli import output


def demo(
    source: Annotated[
        Literal["sample", "phoenix", "mlflow"],
        typer.Option("--source", help="Where the traces come from: written by us, or by a real store that is started."),
    ] = "sample",
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="PATH", help="The Python of an environment that has Phoenix or MLflow."),
    ] = None,
) -> None:
    """Export two weeks of sample traces to a bucket on this machine, and look at the result.

    Starts an S3 server on loopback, writes a trace store of three projects, has Dagster publish every day, checks the
    bucket, and queries it with DuckDB. Everything stays in EXPORT_PIPELINE_HOME; nothing is left running.

    With --source a real Phoenix or MLflow is started in place of the sample, and sent a week of traces by its own SDK.

    Example: export-pipeline demo
    """
    from export_pipeline.local.demo import run_demo
    from export_pipeline.settings import load_settings

    store = None if source == "sample" else source
    run_demo(load_settings(), output, store=store, python=python or sys.executable)


def dev() -> None:
    """Open the Dagster UI with its daemon, the HTTP API and the S3 server of the demo, until Ctrl-C.

    Example: export-pipeline dev
    """
    from export_pipeline.local.dev import run_dev
    from export_pipeline.settings import load_settings

    run_dev(load_settings(), output)
