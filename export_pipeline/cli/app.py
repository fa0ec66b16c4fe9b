"""The command line: its commands, and what a person sees when one of them fails."""

import sys
import traceback
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from export_pipeline.cli import (
    api,
    backfill,
    changes,
    demo,
    destinations,
    exports,
    keys,
    manifests,
    migrate,
    projects,
    recover,
    sample,
    secrets,
    source,
    sql,
    status,
    verify,
)
from export_pipeline.cli.output import warn
from export_pipeline.errors import ExportPipelineError

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help needs a third of the time
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings are environment variables that start with EXPORT_PIPELINE_, or lines of a file .env; "
    "the README lists them.",
)

app.command("demo")(demo.demo)
app.command("dev")(demo.dev)
app.command("sample")(sample.sample)
app.add_typer(source.app, name="source")
app.add_typer(projects.app, name="projects")
app.add_typer(destinations.app, name="destinations")
app.add_typer(exports.app, name="exports")
app.add_typer(secrets.app, name="secrets")
app.add_typer(manifests.app, name="manifests")
app.command("migrate")(migrate.migrate)
app.command("status")(status.status)
app.command("verify")(verify.verify)
app.command("backfill")(backfill.backfill)
app.command("changes")(changes.changes)
app.command("sql")(sql.sql)
app.command("recover")(recover.recover)
app.command("api")(api.api)
app.add_typer(keys.app, name="keys")


class _Flags:
    """What was asked for in front of the command; read when a command has failed."""

    debug = False


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"export-pipeline {version('export-pipeline')}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Publishes the runs of LLM traces as Parquet in your own bucket, a whole day at a time, through Dagster.

    Exit status: 0 done, 1 something is wrong (one sentence on standard error says what), 2 wrong usage,
    130 interrupted.
    """
    _Flags.debug = debug


def main() -> NoReturn:
    """The entry point `export-pipeline`; ends the process."""
    try:
        app(prog_name="export-pipeline")
    except ExportPipelineError as error:
        _fail(str(error))
    except SystemExit as end:
        if end.code == INTERRUPTED:
            warn("Interrupted.")
        raise
    except Exception as error:  # noqa: BLE001 - the last one to catch it; the user gets a sentence, --debug the rest
        _fail(f"Unexpected {type(error).__name__}: {error}. This is a mistake in export-pipeline; --debug shows more.")
    sys.exit(0)


def _fail(sentence: str) -> NoReturn:
    if _Flags.debug:
        traceback.print_exc()
    warn(f"Error: {sentence}")
    sys.exit(1)
