"""The application on a real port, a command line of curl, and the part of Dagster's daemon."""

import argparse
import re
import shlex
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
import uvicorn
from fastapi import FastAPI

from export_pipeline.home import free_ports
from export_pipeline.orchestration.build import build_definitions
from export_pipeline.orchestration.jobs import BULK_EXPORT
from export_pipeline.orchestration.resources import Connections
from export_pipeline.orchestration.sensors.bulk_exports import tick
from export_pipeline.settings import Settings
from export_pipeline_tests.servers import wait_for


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serves the application on loopback, as `export-pipeline api` does; yields its address."""
    port = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), what="the start of the API")
        assert server.started
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    text: str


def curl(command: str) -> Answer:
    """Does what a curl command says, of those options that the documentation uses."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--request", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--data")
    program, *words = shlex.split(command.replace("\\\n", " "))
    assert program == "curl"
    asked = parser.parse_args(words)
    headers = dict(header.split(": ", 1) for header in asked.header)
    data = None if asked.data is None else asked.data.encode()
    request = urllib.request.Request(asked.url, data=data, headers=headers, method=asked.request)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode())


def curl_commands(text: str, filled_in: Mapping[str, str]) -> list[str]:
    """The curl commands of a text, with other values in the place of the examples'; each example must be there."""
    for example, value in filled_in.items():
        assert example in text, example
        text = text.replace(example, value)
    return re.findall(r"^curl .*?(?=\n\n|\n```|\Z)", text, re.DOTALL | re.MULTILINE)


def work_off(settings: Settings, instance: dg.DagsterInstance, *, rounds: int = 10) -> int:
    """What the daemon does: ticks of the sensor, and runs of the job, until nothing is asked for; how many runs."""
    connections, runs = Connections(settings=settings), 0
    job = build_definitions(settings, projects=[], start=None).get_job_def(BULK_EXPORT)
    for _ in range(rounds):
        requests: list[Any] = list(tick(connections, instance).run_requests or ())
        if not requests:
            return runs
        for request in requests:
            job.execute_in_process(
                instance=instance, run_config=request.run_config, tags=request.tags, raise_on_error=False
            )
        runs += len(requests)
    raise AssertionError(f"runs are still asked for after {rounds} rounds")
