"""What holds of every call: which bodies are read, what a failure shows, and the calls of probes and Prometheus."""

import logging
import subprocess
import sys
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from export_pipeline.api import create_app
from export_pipeline.errors import ControlUnreachableError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_units, facts
from export_pipeline.exports.watch.heartbeat import LATE_SECONDS, beat
from export_pipeline_tests.api.house import PROJECT, House
from export_pipeline_tests.control_rows import known_for_years
from export_pipeline_tests.small_store import NAME

pytestmark = pytest.mark.slow

EXPORTS = "/api/v1/bulk-exports"
JSON = {"Content-Type": "application/json"}


def _problem(client: TestClient, body: bytes, **headers: str) -> tuple[int, list[str], list[Any]]:
    answer = client.post(EXPORTS, content=body, headers={**JSON, **headers})
    problems = answer.json()["detail"]
    return answer.status_code, [problem["msg"] for problem in problems], [problem["loc"] for problem in problems]


def test_a_body_beyond_a_mebibyte_is_refused_also_where_its_length_is_not_said(house: House) -> None:
    client = house.client()
    said = _problem(client, b'{"filter": "' + b"x" * 1024 * 1024 + b'"}')
    assert said == (422, ["The body is larger than 1 MiB."], [["body"]])
    parts = (b" " * 65_536 for _ in range(17))
    unsaid = client.post(EXPORTS, content=parts, headers=JSON)
    assert (unsaid.status_code, unsaid.json()["detail"][0]["msg"]) == (422, "The body is larger than 1 MiB.")
    assert client.get(EXPORTS).json() == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 33 + b"]" * 33,
        b"[" * 500_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"interval_hours": NaN}',
        b'{"interval_hours": -Infinity}',
        b'{"interval_hours": ' + b"1" * 5_000 + b"}",
        b'{"filter": "\xff\xfe"}',
    ],
    ids=["cut", "deep", "very deep", "deep objects", "NaN", "infinite", "long integer", "no UTF-8"],
)
def test_a_body_that_is_no_json_or_nested_too_deep_is_refused(house: House, body: bytes) -> None:
    status, messages, _places = _problem(house.client(), body)
    assert (status, messages) == (422, ["JSON decode error"])


def test_brackets_within_text_are_not_nesting(house: House) -> None:
    body = b'{"filter": "' + b'[{\\"' * 100 + b'"}'
    _status, _messages, places = _problem(house.client(), body)
    assert places == [["body", "bulk_export_destination_id"], ["body", "start_time"]]


def test_a_body_without_the_type_of_json_is_not_read(house: House) -> None:
    answer = house.client().post(EXPORTS, content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, [problem["loc"] for problem in answer.json()["detail"]]) == (422, [["body"]])


def test_lone_surrogates_are_answered_and_never_repeated(house: House) -> None:
    client = house.client()
    config = b'{"bucket_name": "bucket", "s3_additional_kwargs": {"\\ud800": 1}}'
    for body, place in (
        (b'{"display_name": "name", "config": ' + config + b"}", ["body"]),
        (b'{"display_name": "\\ud800", "config": {}}', ["body", "display_name"]),
    ):
        answer = client.post(f"{EXPORTS}/destinations", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, place)


def test_without_the_control_database_calls_answer_503_and_liveness_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = house.client()

    def away(_self: ControlDatabase) -> Any:
        raise ControlUnreachableError("the control database cannot be used: it is away")

    monkeypatch.setattr(ControlDatabase, "read", away)
    answer = client.get(EXPORTS)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json() == {"detail": "The service cannot answer now; its log says why."}
    assert "it is away" in caplog.text
    assert client.get("/health").json() == {"ok": True}
    assert client.get("/ready").json() == {
        "ok": False,
        "reasons": ["the control database cannot be used"],
        "seconds_since_tick": None,
    }


def test_an_unexpected_error_shows_nothing_of_itself(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = TestClient(
        create_app(house.settings, house.control), headers={"X-API-Key": house.key()}, raise_server_exceptions=False
    )

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setattr("export_pipeline.api.exports.read.list_bulk_exports", broken)
    caplog.set_level(logging.DEBUG)
    answer = client.get(EXPORTS)
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal error; the service's log says more."})
    assert f"GET {EXPORTS}: unexpected RuntimeError" in caplog.text
    assert "a secret" not in caplog.text


def test_readiness_needs_a_tick_of_the_daemon(any_house: House) -> None:
    client = any_house.anonymous()
    never = client.get("/ready")
    assert (never.status_code, never.json()["reasons"]) == (503, ["Dagster's daemon has not ticked lately"])
    beat(any_house.control)
    beat(any_house.control)
    lately = client.get("/ready")
    assert (lately.status_code, lately.json()["ok"]) == (200, True)
    with any_house.control.begin() as connection:
        value = connection.now() - (LATE_SECONDS + 1) * 1_000_000
        connection.execute(sa.update(facts).where(facts.c.name == "daemon_tick").values(value=str(value)))
    late = client.get("/ready")
    assert (late.status_code, late.json()["ok"]) == (503, False)
    assert late.json()["seconds_since_tick"] > LATE_SECONDS


def test_metrics_tell_rows_days_queue_and_steps(any_house: House) -> None:
    client = any_house.client()
    wish = {"bulk_export_destination_id": any_house.destination(client), "session_id": str(PROJECT)}
    window = {"start_time": "2026-03-01T00:00:00Z", "end_time": "2026-03-04T00:00:00Z"}
    export = client.post(EXPORTS, json={**wish, **window}).json()["id"]
    run = uuid.UUID(client.get(f"{EXPORTS}/{export}/runs").json()[0]["id"])
    with any_house.control.begin() as connection:
        times = {"created_at": 1_000_000, "started_at": 3_000_000, "finished_at": 8_500_000}
        connection.execute(sa.update(bulk_units).where(bulk_units.c.id == str(run)).values(status="Completed", **times))
    beat(any_house.control)
    known_for_years(any_house.control)
    answer = any_house.client("metrics:read").get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for line in (
        'export_pipeline_bulk_exports{status="Created"} 1.0',
        'export_pipeline_bulk_runs{status="Completed"} 1.0',
        "export_pipeline_queue_depth 2.0",
        'export_pipeline_step_seconds_count{step="waiting"} 1.0',
        'export_pipeline_step_seconds_sum{step="waiting"} 2.0',
        'export_pipeline_step_seconds_sum{step="exporting"} 5.5',
    ):
        assert line in lines, answer.text
    overdue = next(line for line in lines if line.startswith("export_pipeline_days_overdue{"))
    assert f'project="{NAME}",session_id="{PROJECT}"' in overdue
    assert float(overdue.rpartition(" ")[2]) > 100
    assert any(line.startswith("export_pipeline_seconds_since_tick ") for line in lines)


def test_the_api_starts_without_dagster_and_without_what_reads_traces() -> None:
    code = (
        "import sys, export_pipeline.api as api\n"
        "absent = {'dagster', 'polars', 'typer', 'rich', 'duckdb', 'pandas', 'alembic', 'chdb'}\n"
        "print(sorted(absent & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
