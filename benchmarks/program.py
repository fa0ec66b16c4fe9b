"""Runs a measured program (`peers/measured.py`) beside the servers, and adds what they took."""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import Servers

SETTLE = 0.3
"""Seconds after which the server has counted what its ended back ends used."""


@dataclass(frozen=True)
class Measured:
    """One run of a program: seconds, seconds of CPU by process, MB; `told` is what the program itself said."""

    wall: float
    client: float
    postgres: float
    s3: float
    peak_mb: float
    requests: int
    stored: int
    told: Mapping[str, Any]

    @property
    def cpu(self) -> float:
        """CPU of all processes."""
        return self.client + self.postgres + self.s3


def run_program(
    command: Sequence[str],
    options: Mapping[str, Any],
    *,
    servers: Servers,
    prefix: str,
    environment: Mapping[str, str] | None = None,
) -> Measured:
    """Runs a program once; raises `RuntimeError` with its last words where it fails."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as words:
        given = json.dumps({**options, "prefix": prefix, "folder": folder})
        process = subprocess.Popen(
            [*command, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            env={**quick_environment(), **(environment or {})},
            cwd=folder,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            process.wait()
            raise _failed(command, words)
        before = servers.usage()
        process.stdin.write("go\n")
        process.stdin.close()
        answer = process.stdout.read()
        if process.wait() != 0:
            raise _failed(command, words)
        time.sleep(SETTLE)
        used = servers.usage() - before
    told = json.loads(answer.splitlines()[-1])
    return Measured(
        wall=told["wall"],
        client=told["cpu"],
        postgres=used.postgres,
        s3=used.s3,
        peak_mb=told["peak_mb"],
        requests=used.requests,
        stored=servers.stored_bytes(prefix),
        told=told,
    )


def quick_environment() -> dict[str, str]:
    """This process's environment, in which modules are compiled once and not in every process."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _failed(command: Sequence[str], words: Any) -> RuntimeError:
    words.seek(0)
    return RuntimeError(f"{' '.join(map(str, command))} failed:\n{words.read()[-3000:]}")


def median(runs: Sequence[Measured], name: str) -> float:
    """The median of an attribute."""
    return float(statistics.median(getattr(run, name) for run in runs))


def environment_python(name: str, *, folder: Path) -> Path:
    """The interpreter of a virtual environment with the packages of `environments/<name>.txt`, made where missing."""
    from benchmarks.servers import SCRIPTS

    wanted = Path(__file__).with_name("environments") / f"{name}.txt"
    target, uv = folder / name, str(SCRIPTS / "uv")
    python, stamp = target / "bin" / "python", target / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", str(SCRIPTS / "python"), str(target)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(wanted)], check=True)
        stamp.write_text(wanted.read_text())
    return python
