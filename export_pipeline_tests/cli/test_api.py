"""`export-pipeline api` and `keys`, as a person uses them."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.home import free_ports
from export_pipeline_tests.cli.command import run
from export_pipeline_tests.servers import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Settings with a control database of their own, and nothing behind the other addresses."""
    found = {
        "SOURCE_URL": f"sqlite:///{tmp_path / 'traces.db'}",
        "CONTROL_URL": f"sqlite:///{tmp_path / 'control.db'}",
        "BUCKET": "traces",
        "REGION": "eu-central-1",
    }
    assert run("migrate", folder=tmp_path, settings=found).status == 0
    return found


def test_keys_are_made_listed_and_revoked(tmp_path: Path, settings: dict[str, str]) -> None:
    def ask(*arguments: str) -> Any:
        ended = run("keys", *arguments, "--json", folder=tmp_path, settings=settings)
        assert (ended.status, ended.err) == (0, "")
        return json.loads(ended.out)

    made = ask("create", "dashboard", "--scope", "bulk-exports:read", "--days", "90")
    assert made["key"].startswith("epk_")
    assert (made["name"], made["scopes"]) == ("dashboard", ["bulk-exports:read"])
    assert made["expires_at"] > made["created_at"]
    [listed] = ask("list")["keys"]
    assert (listed["id"], listed["hint"], listed["valid"]) == (made["id"], made["key"][-4:], True)
    assert made["key"] not in json.dumps(listed)
    shown = run("keys", "list", folder=tmp_path, settings=settings)
    assert "dashboard" in shown.out
    assert ask("revoke", made["id"])["revoked_at"] is not None
    assert [key["valid"] for key in ask("list")["keys"]] == [False]
    told = run("keys", "create", "other", folder=tmp_path, settings=settings).out
    assert "bulk-exports:manage, bulk-exports:read" in told
    assert "It is not shown again." in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("keys", "create", "x", "--scope", "admin"), "Error: unknown scope admin; there are bulk-exports:read"),
        (("keys", "revoke", "5f0c1c5e-6a5b-4c1d-9f3e-0b7e6d2a4c11"), "Error: there is no API key 5f0c1c5e"),
        (("api", "--single-user", "--host", "0.0.0.0"), "Error: the API asks for no keys in single-user mode, so"),
    ],
)
def test_wrong_wishes_are_refused_in_a_sentence(
    tmp_path: Path, settings: dict[str, str], arguments: tuple[str, ...], sentence: str
) -> None:
    ended = run(*arguments, folder=tmp_path, settings=settings)
    assert ended.status == 1
    assert ended.err.startswith(sentence)


def test_the_api_does_not_start_without_the_tables_of_the_control_database(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    empty = {**settings, "CONTROL_URL": f"sqlite:///{tmp_path / 'none.db'}"}
    ended = run("api", folder=tmp_path, settings=empty)
    assert ended.status == 1
    assert "`export-pipeline migrate` makes it" in ended.err


def test_the_api_serves_whoever_has_a_key_and_ends_when_it_is_told_to(tmp_path: Path, settings: dict[str, str]) -> None:
    made = json.loads(run("keys", "create", "x", "--json", folder=tmp_path, settings=settings).out)
    port = free_ports(1)
    code = "from export_pipeline.cli.app import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "api", "--port", str(port)],
        env={**os.environ, **{f"EXPORT_PIPELINE_{name}": value for name, value in settings.items()}},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            wait_for(lambda: _status(port, "/health") == 200 or server.poll() is not None, what="an answer of the API")
            assert _status(port, "/api/v1/bulk-exports") == 401
            assert _status(port, "/api/v1/bulk-exports", **{"X-API-Key": made["key"]}) == 200
        finally:
            server.send_signal(signal.SIGINT)
            out, _ = server.communicate(timeout=60)
    assert f"HTTP API: http://127.0.0.1:{port}/docs" in out
    assert "Traceback" not in out
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    asked = [(line["status"], line["actor"]) for line in lines if line["path"] == "/api/v1/bulk-exports"]
    assert asked == [(401, None), (200, f"key:{made['id']}")]
    assert "GET /api" not in out


def _status(port: int, path: str, **headers: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
