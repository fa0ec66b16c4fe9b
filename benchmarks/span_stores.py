"""One day out of Phoenix's and MLflow's SQLite files, beside the dataframe that their own clients make of it."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from benchmarks.program import Measured, run_program
from benchmarks.servers import SCRIPTS, Servers
from export_pipeline.home import free_ports
from export_pipeline_tests.servers import listens, wait_for
from export_pipeline_tests.sources.presets.known_stores import PYTHON, program
from export_pipeline_tests.sources.presets.phoenix_process import PROJECT

DAY = date(2026, 3, 14)
PEERS = Path(__file__).parent / "peers"
TEXT = "Where is my parcel? " * 50
STARTING_SECONDS = 600


class SpanStore:
    """A file that a store has filled with a day; `name` is the program that its users would read it with."""

    def __init__(self, servers: Servers, folder: Path, *, name: str, project: str) -> None:
        self._servers, self._folder, self.name, self._project = servers, folder, name, project
        self.url = f"sqlite:///{folder}/traces.db"

    def settings(self, prefix: str) -> dict[str, str]:
        """Of the product."""
        control, below = self._folder / "control.db", f"{self._folder.name}/{prefix}"
        return self._servers.settings(source_url=self.url, control=control, prefix=below)

    def export(self, number: int) -> Measured:
        """The product."""
        if not number:
            command = [str(SCRIPTS / "export-pipeline"), "projects", "sync"]
            subprocess.run(command, env=self.settings(""), cwd=self._folder, check=True, stdout=subprocess.DEVNULL)
        prefix = f"{self._folder.name}/{number}"
        options = {"projects": [self._project], "first_day": DAY.isoformat(), "days": 1}
        product = [sys.executable, str(Path(__file__).with_name("product.py"))]
        return run_program(
            product, options, servers=self._servers, prefix=prefix, environment=self.settings(str(number))
        )

    def peer(self, script: str, **options: Any) -> Measured:
        """A program of the stores' environment."""
        command = [str(PYTHON), str(PEERS / script)]
        return run_program(command, {"url": self.url, "text": TEXT, **options}, servers=self._servers, prefix="none")


def mlflow_days(servers: Servers, folder: Path, *, rows: int, rounds: int) -> Iterator[tuple[str, list[Measured]]]:
    """Each program with its runs."""
    store = SpanStore(servers, folder, name="mlflow.search_traces", project="chat")
    midnight = int(datetime.combine(DAY, time(), UTC).timestamp())
    written = store.peer("mlflow_spans.py", write=True, rows=rows, midnight=midnight).told
    yield "export-pipeline", [store.export(number) for number in range(rounds)]
    asked = {"write": False, "experiment": written["experiment"]}
    yield store.name, [store.peer("mlflow_spans.py", **asked) for _ in range(rounds)]


def phoenix_days(servers: Servers, folder: Path, *, rows: int, rounds: int) -> Iterator[tuple[str, list[Measured]]]:
    """Each program with its runs; Phoenix runs while its client is measured."""
    store = SpanStore(servers, folder, name="Phoenix client", project=PROJECT)
    with _phoenix(store, folder) as address:
        store.peer("phoenix_spans.py", write=True, address=address, rows=rows)
        wait_for(lambda: _stored(store) >= rows, what="Phoenix storing the spans", seconds=STARTING_SECONDS)
        yield "export-pipeline", [store.export(number) for number in range(rounds)]
        asked = {"write": False, "address": address, "rows": rows}
        yield store.name, [store.peer("phoenix_spans.py", **asked) for _ in range(rounds)]


def _stored(store: SpanStore) -> int:
    connection = sqlite3.connect(store.url.removeprefix("sqlite:///"), timeout=60)
    try:
        return int(connection.execute("SELECT count(*) FROM spans").fetchone()[0])
    finally:
        connection.close()


@contextmanager
def _phoenix(store: SpanStore, folder: Path) -> Iterator[str]:
    port, grpc = free_ports(2), free_ports(1)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_SQL_DATABASE_URL": store.url,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with program("phoenix", "serve", folder=folder, environment=environment):
        wait_for(lambda: listens(port), what="Phoenix starting", seconds=STARTING_SECONDS)
        yield f"http://127.0.0.1:{port}"
