"""What a person sees: help, version, one sentence for a failure, exit statuses."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from export_pipeline.cli import output
from export_pipeline.cli.app import app
from export_pipeline_tests.cli.command import run, run_process

Words = tuple[str, ...]


def leaves(command: Any, path: Words = ()) -> Iterator[tuple[Words, Any]]:
    """Every command below a group, with the words that call it."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from leaves(inner, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))
WITHOUT_JSON = {("demo",), ("dev",), ("sample",), ("migrate",), ("api",), ("source", "mapping")}
"""The last of them prints YAML, to be changed and used."""
MISSPELT = {"BUCKT": "my-traces"}


def test_help_lists_every_command(tmp_path: Path) -> None:
    done = run("--help", folder=tmp_path)
    assert done.status == 0
    assert {name for name, *_ in COMMANDS} <= set(done.out.split())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(command: Words, tmp_path: Path) -> None:
    done = run(*command, "--help", folder=tmp_path)
    assert done.status == 0
    assert f"Example: export-pipeline {' '.join(command)}" in " ".join(done.out.split())


def test_every_command_that_prints_results_prints_them_as_json_too() -> None:
    with_json = {path for path, command in COMMANDS.items() if any("--json" in found.opts for found in command.params)}
    assert COMMANDS.keys() - with_json == WITHOUT_JSON


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = run("--version", folder=tmp_path)
    assert (done.status, done.out.split()[0]) == (0, "export-pipeline")


@pytest.mark.parametrize("arguments", [("verfy",), ("changes",), ("changes", "x", "--limit", "many"), ("sample", "-x")])
def test_wrong_usage_ends_with_two_and_says_how_it_is_meant(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*arguments, folder=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert "Usage: export-pipeline" in done.err
    assert "Error: " in done.err


def test_a_failure_is_one_sentence_on_standard_error(tmp_path: Path) -> None:
    done = run_process("status", folder=tmp_path, settings=MISSPELT)
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "Error: EXPORT_PIPELINE_BUCKT is not a setting of export-pipeline; did you mean EXPORT_PIPELINE_BUCKET?\n"
    )


def test_debug_shows_the_traceback_of_a_failure(tmp_path: Path) -> None:
    done = run("--debug", "status", folder=tmp_path, settings=MISSPELT)
    assert done.status == 1
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("Error: EXPORT_PIPELINE_BUCKT")


def test_ctrl_c_ends_with_130_and_one_line(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from export_pipeline.cli import app, stores\n"
        "stores.load = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.argv = ['export-pipeline', 'migrate']\n"
        "app.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_a_reader_that_goes_away_ends_the_command_without_a_traceback(tmp_path: Path) -> None:
    code = "from export_pipeline.cli.app import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--help"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert b"Traceback" not in err


def test_control_signs_of_a_name_do_not_reach_the_terminal() -> None:
    assert output.cell("a\x1b[31mb\x07").plain == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}"
    assert output.cell("[bold]x[/]").plain == "[bold]x[/]"


def test_there_is_no_progress_bar_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with output.progress("days") as on_day:
        on_day(2, 3)
    assert capfd.readouterr() == ("", "")
