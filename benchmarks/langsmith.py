"""A day of very many runs out of LangSmith's API, beside what its limit alone takes."""

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.langsmith_server import DAY, PROJECT
from benchmarks.program import run_program
from benchmarks.servers import SCRIPTS, Servers
from benchmarks.sources import LIMIT_MB
from export_pipeline.sources.langsmith.api import RATES

LIMIT_RATIO = 1.3
"""Of the wall time to what the requests take at the rate that is allowed."""
CHARACTERS = (300, 5_000)
"""Of each payload: small runs, and large ones, of which the day has a fifth."""
HERE = Path(__file__).parent
HEAD = "| runs | characters | requests | the limit alone, s | wall s | CPU s | peak RSS MB | |"
RULE = "|--:|--:|--:|--:|--:|--:|--:|---|"


def langsmith(servers: Servers, *, rows: int) -> None:
    """Prints both days."""
    print(f"\nOne day out of LangSmith's API at {RATES['v2']:g} requests a second\n\n{HEAD}\n{RULE}", flush=True)
    for characters in CHARACTERS:
        runs = rows if characters == CHARACTERS[0] else rows // 5
        with tempfile.TemporaryDirectory(dir=servers.folder) as folder, _server(runs, characters) as port:
            _print_day(servers, Path(folder), port=port, runs=runs, characters=characters)


def _print_day(servers: Servers, folder: Path, *, port: int, runs: int, characters: int) -> None:
    settings = servers.settings(
        source_url=f"langsmith+http://127.0.0.1:{port}", control=folder / "control.db", prefix=folder.name
    )
    settings["EXPORT_PIPELINE_SOURCE_API_KEY"] = "bench"
    command = [str(SCRIPTS / "export-pipeline"), "projects", "sync"]
    subprocess.run(command, env=settings, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    options = {"projects": [PROJECT["name"]], "first_day": DAY.isoformat(), "days": 1}
    product, before = [sys.executable, str(HERE / "product.py")], _asked(port)
    run = run_program(product, options, servers=servers, prefix=folder.name, environment=settings)
    assert run.told["rows"] == runs
    requests = _asked(port) - before
    limit = requests / RATES["v2"]
    verdicts = [
        f"{run.wall / limit:.2f} x the limit: {_verdict(run.wall <= LIMIT_RATIO * limit)}",
        f"at most {LIMIT_MB} MB: {_verdict(run.peak_mb <= LIMIT_MB)}",
    ]
    print(
        f"| {runs:,} | {characters:,} | {requests:,} | {limit:.1f} | {run.wall:.1f} | {run.client:.1f} | "
        f"{run.peak_mb:.0f} | {'; '.join(verdicts)} |",
        flush=True,
    )


def _asked(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked", timeout=30) as answer:
        return int(json.load(answer))


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


@contextmanager
def _server(runs: int, characters: int) -> Iterator[int]:
    """The port of a LangSmith with such a day."""
    command = [sys.executable, str(HERE / "langsmith_server.py"), str(runs), str(characters)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()
