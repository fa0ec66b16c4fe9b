"""What is around every answer: security headers, an id, and a line in the access log."""

import json
import logging
import uuid
from typing import Any

import pytest
from fastapi.testclient import TestClient

from export_pipeline.api import create_app
from export_pipeline.api.answers import ACCESS_LOG, HEADERS
from export_pipeline_tests.api.house import TENANT, House

pytestmark = pytest.mark.slow

EXPORTS = "/api/v1/bulk-exports"


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == ACCESS_LOG]


def test_every_answer_has_the_security_headers_and_an_id_of_its_own(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr("export_pipeline.api.records.read_audit", broken)
    app = create_app(house.settings, house.control)
    client = TestClient(app, headers={"X-API-Key": house.key()}, raise_server_exceptions=False)
    anonymous, slow = house.anonymous(), house.client(api_rate=0.000_002)
    answers = [
        client.get(EXPORTS),
        client.get("/health"),
        client.get("/openapi.json"),
        anonymous.get(EXPORTS),
        client.get("/metrics"),
        client.get("/nothing"),
        client.put(EXPORTS),
        client.post(EXPORTS, content=b" " * 2_000_000, headers={"Content-Type": "application/json"}),
        client.get("/api/v1/audit-log"),
        slow.get("/docs"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 401, 403, 404, 405, 422, 500, 429]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == {
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
        }
    assert len({uuid.UUID(answer.headers["X-Request-Id"]) for answer in answers}) == len(answers)


def test_a_request_has_one_line_with_who_asked_and_never_a_key_or_a_query(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, ACCESS_LOG)
    client = house.client("bulk-exports:read")
    key = client.headers["X-API-Key"]
    answer = client.get(f"{EXPORTS}?limit=5&note=secret-of-the-query")
    client.post(EXPORTS, json={})
    house.anonymous(headers={"X-API-Key": "epk_wrong"}).get(EXPORTS)
    allowed, lacking, wrong = _lines(caplog)
    assert uuid.UUID(allowed["actor"].removeprefix("key:"))
    assert {name: allowed[name] for name in ("client", "method", "path", "status", "bytes", "workspace")} == {
        "client": "127.0.0.1",
        "method": "GET",
        "path": EXPORTS,
        "status": 200,
        "bytes": len(answer.content),
        "workspace": str(TENANT),
    }
    assert allowed["request_id"] == answer.headers["X-Request-Id"]
    assert allowed["ms"] > 0
    assert (lacking["method"], lacking["status"], lacking["actor"]) == ("POST", 403, allowed["actor"])
    assert (wrong["status"], wrong["actor"], wrong["workspace"]) == (401, None, None)
    for secret in (key, "secret-of-the-query", "epk_wrong"):
        assert secret not in caplog.text


def test_a_path_forges_no_line(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ACCESS_LOG)
    house.anonymous().get('/x%0A{"status":200}%1B[2J%C2%85%E2%80%A8' + "y" * 1000)
    [record] = [record.getMessage() for record in caplog.records if record.name == ACCESS_LOG]
    assert record.isascii()
    assert record.isprintable()
    path = json.loads(record)["path"]
    assert path.startswith('/x\n{"status":200}\x1b[2J\x85\u2028yyy')
    assert len(path) == 500


def test_an_answer_that_fails_unexpectedly_has_its_line(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, ACCESS_LOG)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr("export_pipeline.api.records.read_audit", broken)
    with pytest.raises(RuntimeError):
        house.client().get("/api/v1/audit-log")
    assert [(line["path"], line["status"]) for line in _lines(caplog)] == [("/api/v1/audit-log", 500)]
