"""How quickly the HTTP API answers 50 clients that poll once a second, at rest and while days are being exported."""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.program import quick_environment
from benchmarks.servers import BUCKET, SCRIPTS, Servers
from benchmarks.store import DAY, Day
from benchmarks.through_dagster import Bench
from export_pipeline.home import free_ports
from export_pipeline.object_store.secrets import new_key
from export_pipeline_tests.servers import wait_for

CLIENTS = 50
REST_SECONDS = 20
WARM_SECONDS = 3
"""The first polls, in which threads begin and statements are compiled, are left out."""
AIM_MS = 200
TENANT = str(uuid.UUID(int=1))
_API = "/api/v1/bulk-exports"


def answers_under_load(servers: Servers, *, rows: int) -> None:
    """Prints p50 and p99 of the polls."""
    days = [Day("polled", rows=1_000, characters=500), Day("exported", rows=rows, characters=1_500)]
    with tempfile.TemporaryDirectory(dir=servers.folder) as name:
        bench = Bench(Path(name), servers)
        environment = bench.prepare("sqlite", days) | {"EXPORT_PIPELINE_SECRET_KEYS": new_key()}
        environment["EXPORT_PIPELINE_TENANT_ID"] = TENANT  # the one of the trace store
        with _served(Path(name), environment) as api:
            paths = [f"{_API}/{api.new_export(days[0], servers)}{rest}" for rest in ("", "/runs")]
            print(f"\nThe HTTP API and {CLIENTS} clients that poll once a second; control database: SQLite\n")
            print("| | polls | p50 ms | p99 ms | slowest ms |\n|---|--:|--:|--:|--:|")
            with _polling(api, paths) as rest:
                time.sleep(REST_SECONDS)
            _tell("at rest", rest)
            with _polling(api, paths) as busy:
                cost = bench.materialize(days[1], environment)
            p99 = _tell(f"while a day of {rows:,} runs is exported ({cost.wall:.0f} s)", busy)
    print(f"\np99 under load at most {AIM_MS} ms: {'met' if p99 <= AIM_MS else '**missed**'}\n", flush=True)


@dataclass(frozen=True)
class Api:
    """A served API, and the headers of a key."""

    port: int
    headers: Mapping[str, str]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a body."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=json.dumps(body).encode(), headers=dict(self.headers)
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def new_export(self, day: Day, servers: Servers) -> str:
        """The id of an export of the day's month."""
        config = {"bucket_name": BUCKET, "prefix": "polled", "endpoint_url": servers.weed.endpoint_url}
        keys = {"access_key_id": servers.user.access_key_id, "secret_access_key": servers.user.secret_access_key}
        destination = self.post(
            f"{_API}/destinations", {"display_name": "bench", "config": config, "credentials": keys}
        )
        start = DAY.replace(day=1)
        window = {"start_time": start.isoformat(), "end_time": (start + timedelta(days=31)).isoformat()}
        wish = {"bulk_export_destination_id": destination["id"], "session_id": str(day.session_id), **window}
        return str(self.post(_API, wish)["id"])


@contextmanager
def _served(folder: Path, environment: Mapping[str, str]) -> Iterator[Api]:
    program, variables = str(SCRIPTS / "export-pipeline"), {**quick_environment(), **environment}
    made = subprocess.run(
        [program, "keys", "create", "bench", "--json"], env=variables, cwd=folder, check=True, capture_output=True
    )
    headers = {"X-API-Key": json.loads(made.stdout)["key"], "Content-Type": "application/json"}
    api = Api(free_ports(1), headers)
    command = [program, "api", "--port", str(api.port)]
    with subprocess.Popen(command, env=variables, cwd=folder, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: _answers(api), what="an answer of the API")
            yield api
        finally:
            server.terminate()


def _answers(api: Api) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{api.port}/health", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass
class _Polls:
    milliseconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@contextmanager
def _polling(api: Api, paths: list[str]) -> Iterator[_Polls]:
    """Clients that poll while the block runs; each has a connection of its own and begins at another moment."""
    polls, ended = _Polls(), threading.Event()
    clients = [
        threading.Thread(target=_poll, args=(api, paths[number % len(paths)], number / CLIENTS, polls, ended))
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    try:
        time.sleep(WARM_SECONDS)
        polls.milliseconds.clear()
        yield polls
    finally:
        ended.set()
        for client in clients:
            client.join()


def _poll(api: Api, path: str, delay: float, polls: _Polls, ended: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)
    pause = delay
    while not ended.wait(pause):
        start = time.perf_counter()
        connection.request("GET", path, headers=dict(api.headers))
        answer = connection.getresponse()
        answer.read()
        took = time.perf_counter() - start
        polls.milliseconds.append(took * 1000)
        if answer.status != 200:
            polls.failed.append(f"{answer.status} {path}")
        pause = max(0.0, 1.0 - took)
    connection.close()


def _tell(what: str, polls: _Polls) -> float:
    if polls.failed:
        sys.exit(f"{len(polls.failed)} polls failed, the first of them: {polls.failed[0]}")
    parts = statistics.quantiles(polls.milliseconds, n=100)
    slowest = max(polls.milliseconds)
    print(f"| {what} | {len(polls.milliseconds):,} | {parts[49]:.1f} | {parts[98]:.1f} | {slowest:.1f} |", flush=True)
    return parts[98]
