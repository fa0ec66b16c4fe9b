"""Runs a command as its own process and says what it took."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.program import quick_environment


@dataclass(frozen=True)
class Cost:
    """What a process and the children it waited for took; `peak_mb` is the greatest RSS of one of them, in MB."""

    wall: float
    cpu: float
    peak_mb: float


class CommandFailedError(Exception):
    """The measured command did not succeed; its output says why."""


def measure(command: Sequence[str], *, environment: Mapping[str, str], folder: Path) -> Cost:
    """Runs the command in the folder with the variables added to the environment; it must end with 0."""
    log = folder / "last-command.log"
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env={**quick_environment(), **environment}, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise CommandFailedError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-4000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(wall=wall, cpu=used.ru_utime + used.ru_stime, peak_mb=used.ru_maxrss * unit / 1e6)
