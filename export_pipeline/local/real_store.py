"""A real Phoenix or MLflow for the demo: its server is started, its own SDK sends it traces, and it is ended.

Both need other versions of packages than this one does, so they may lie in an environment of their own, whose Python is
named. Their database is the trace store of `HOME`, which `dev` reads by its tables as any known store.
"""

import os
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from export_pipeline.errors import EmbeddedError
from export_pipeline.home import free_ports
from export_pipeline.local import send_traces
from export_pipeline.local.processes import Child
from export_pipeline.local.screen import Screen, shown
from export_pipeline.settings import Settings

Name = Literal["phoenix", "mlflow"]
_PATIENCE = 300.0
"""Seconds until the server answers: its first start writes its tables."""
_POLL_SECONDS = 0.25
_SPANS = len(send_traces.PROJECTS) * send_traces.DAYS * send_traces.TRACES_A_DAY * send_traces.SPANS_A_TRACE


@dataclass(frozen=True)
class _Store:
    """`ready` is a path that answers once the server works, `command` follows the Python.

    {url} of the database, and {port} and {other}, which are free, are put into it and into the environment.
    """

    title: str
    module: str
    package: str
    ready: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


_STORES: dict[Name, _Store] = {
    "phoenix": _Store(
        "Phoenix",
        "phoenix",
        "arize-phoenix",
        "healthz",
        ("-m", "phoenix.server.main", "serve"),
        {
            "PHOENIX_SQL_DATABASE_URL": "{url}",
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": "{port}",
            "PHOENIX_GRPC_PORT": "{other}",
            "PHOENIX_TELEMETRY_ENABLED": "false",
        },
    ),
    "mlflow": _Store(
        "MLflow",
        "mlflow",
        "mlflow",
        "version",
        (
            *("-m", "mlflow", "server", "--backend-store-uri", "{url}", "--host", "127.0.0.1", "--port", "{port}"),
            *("--workers", "1"),
        ),
        {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
    ),
}


def write_real_traces(name: Name, resolved: Settings, python: str, screen: Screen) -> None:
    """Has the store write its own database where there is none; one with spans is left as it is.

    Raises `EmbeddedError` where it is not installed for `python`, does not start, or does not store what it was sent.
    """
    store, path = _STORES[name], resolved.home / "traces.db"
    if spans_of(path):
        screen.say(f"{store.title}: {shown(path)} is there already and is used as it is.")
        return
    _refuse_missing(store, name, python)
    folder = resolved.home / name
    folder.mkdir(parents=True, exist_ok=True)
    port = free_ports(2)
    places = {"url": f"sqlite:///{path.absolute()}", "port": port, "other": free_ports(1)}
    environment = {
        **{key: each for key, each in os.environ.items() if not key.startswith(("PHOENIX_", "MLFLOW_", "OTEL_"))},
        "PHOENIX_WORKING_DIR": str(folder.absolute()),
        **{key: each.format(**places) for key, each in store.environment.items()},
    }
    began, first = time.monotonic(), datetime.now(UTC).date() - timedelta(days=send_traces.DAYS)
    screen.say(f"{store.title}: starting its server, and sending it traces by its own SDK …")
    command = [python, *(each.format(**places) for each in store.command)]
    with Child(command, environment=environment, log=folder / "server.log") as server:
        _wait(lambda: _answers(port, store.ready), server, f"{store.title} does not start")
        sending = [python, send_traces.__file__, name, f"http://127.0.0.1:{port}", first.isoformat()]
        with Child(sending, environment=environment, log=folder / "sending.log") as sender:
            while (status := sender.wait(_POLL_SECONDS)) is None:
                continue
            if status != 0:
                raise EmbeddedError(f"sending traces to {store.title} failed:\n{sender.last_words()}")
        _wait(lambda: spans_of(path) >= _SPANS, server, f"{store.title} has not stored all {_SPANS} spans")
    screen.say(
        f"{store.title}: {_SPANS:,} spans of {len(send_traces.PROJECTS)} projects since {first} in {shown(path)}, "
        f"in {time.monotonic() - began:.0f} s."
    )


def spans_of(path: Path) -> int:
    """How many spans a database of Phoenix or MLflow in SQLite holds; 0 where it is none."""
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM spans").fetchone()[0])
    except sqlite3.Error:
        return 0


def _refuse_missing(store: _Store, name: Name, python: str) -> None:
    try:
        looking = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({store.module!r}) is None)"
        command = [python, "-c", looking]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise EmbeddedError(f"{python} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise EmbeddedError(
            f"{store.title} is not installed for {python}: make it an environment of its own, `python -m venv {name}` "
            f"and `{name}/bin/pip install {store.package}`, and name it by --python {name}/bin/python"
        )


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5):
            return True
    except OSError:
        return False


def _wait(is_done: Callable[[], bool], server: Child, failure: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not is_done():
        if server.status is not None or time.monotonic() > deadline:
            raise EmbeddedError(f"{failure}:\n{server.last_words()}")
        time.sleep(_POLL_SECONDS)
