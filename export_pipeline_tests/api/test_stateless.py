"""The API keeps nothing: killed in the middle of anything, or one of several, it loses nothing."""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from export_pipeline.home import free_ports
from export_pipeline.settings import PREFIX
from export_pipeline_tests.api.house import PROJECT, House
from export_pipeline_tests.servers import wait_for

EXPORTS = "/api/v1/bulk-exports"
KILLS = 3


@pytest.mark.slow
def test_what_was_answered_is_there_after_the_api_was_killed_in_the_middle(any_house: House) -> None:
    client = any_house.client()
    wish = {"bulk_export_destination_id": any_house.destination(client), "session_id": str(PROJECT)}
    window = {"start_time": "2026-03-01T00:00:00Z", "end_time": "2026-03-08T00:00:00Z"}
    headers = {"X-API-Key": any_house.key(), "Content-Type": "application/json"}
    answered: list[str] = []
    sent = 0
    chooser = random.Random(7)
    for _ in range(KILLS):
        with _process(any_house) as (server, address):
            before = len(answered)
            timer = threading.Timer(chooser.uniform(0.1, 0.6), server.kill)
            while (made := _post(address, {**wish, **window}, headers)) is not None:
                sent += 1
                answered.append(made)
                if len(answered) == before + 1:
                    timer.start()  # in the middle of the next ones
            sent += 1
            timer.join()
            assert server.wait(60) == -signal.SIGKILL
    exports = {export["id"]: export for export in client.get(EXPORTS).json()}
    assert set(answered) <= exports.keys()
    assert len(answered) >= KILLS
    assert len(exports) <= sent
    for export in exports.values():
        assert export["status"] == "Created"
        runs = client.get(f"{EXPORTS}/{export['id']}/runs").json()
        assert len(runs) == 7, "an export is recorded with all of its runs, or not at all"


@contextmanager
def _process(house: House) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The API as a process of its own."""
    port = free_ports(1)
    plain = house.settings.model_dump(exclude_none=True)
    named = ("source_url", "control_url", "bucket", "region", "endpoint_url", "access_key_id", "secret_access_key")
    values = {name: plain[name] for name in (*named, "secret_keys", "tenant_id", "allow_private_endpoints")}
    variables = {
        PREFIX + name.upper(): value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        for name, value in values.items()
    }
    code = "from export_pipeline.cli.app import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "api", "--port", str(port)],
        env={**os.environ, **variables},
        cwd=house.folder,
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: _lives(address) or server.poll() is not None, what="an answer of the API")
            yield server, address
        finally:
            server.kill()


def _lives(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _post(address: str, body: dict[str, Any], headers: dict[str, str]) -> str | None:
    """The id of a new export, None where the API is gone."""
    request = urllib.request.Request(f"{address}{EXPORTS}", data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.load(answer)["id"])
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException):
        return None
