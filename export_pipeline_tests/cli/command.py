"""Runs the command line, in this process or as its own."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from export_pipeline.cli.app import main


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


def run(*arguments: str, folder: Path, settings: Mapping[str, str] | None = None) -> Ended:
    """Runs `export-pipeline` in this process, in the folder, with the settings given without their prefix."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["export-pipeline", *arguments])
        for name, value in (settings or {}).items():
            patch.setenv(f"EXPORT_PIPELINE_{name}", value)
        with pytest.raises(SystemExit) as ended:
            main()
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def run_process(*arguments: str, folder: Path, settings: Mapping[str, str] | None = None) -> Ended:
    """Runs `export-pipeline` as its own process, as a person does."""
    done = subprocess.run(
        [sys.executable, "-c", "from export_pipeline.cli.app import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, **{f"EXPORT_PIPELINE_{name}": value for name, value in (settings or {}).items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)
