"""Refused calls of known keys stand in the workspace's audit log, and cannot fill it."""

import uuid
from typing import Any

import pytest

from export_pipeline.exports.access.audit import AuditRecord, read_audit
from export_pipeline.exports.access.keys import create_key, revoke_key
from export_pipeline.exports.access.refusals import Refusals
from export_pipeline_tests.api.house import OTHER, TENANT, House

pytestmark = pytest.mark.slow

EXPORTS = "/api/v1/bulk-exports"


def _refused(house: House, tenant_id: uuid.UUID = TENANT) -> list[AuditRecord]:
    """The oldest first."""
    lines = read_audit(house.control, tenant_id=tenant_id)
    return [line for line in lines if line.action.startswith("refused.")][::-1]


def _told(line: AuditRecord) -> tuple[str, str, Any]:
    return line.action, line.subject, line.detail["count"]


def test_a_key_without_the_scope_or_the_workspace_is_told_of_once_a_minute(any_house: House) -> None:
    client = any_house.client("bulk-exports:read")
    assert [client.post(f"{EXPORTS}?x=secret", json={}).status_code for _ in range(20)] == [403] * 20
    assert client.get(EXPORTS, headers={"X-Tenant-Id": str(OTHER)}).status_code == 404
    scope, workspace = _refused(any_house)
    assert _told(scope) == ("refused.scope", f"POST {EXPORTS}", 1)
    assert scope.detail["text"] == "The API key lacks the scope bulk-exports:manage."
    assert _told(workspace) == ("refused.workspace", f"GET {EXPORTS}", 1)
    assert scope.actor == workspace.actor
    assert scope.actor.startswith("key:")
    assert _refused(any_house, OTHER) == []


def test_a_revoked_key_is_named_and_an_unknown_one_is_in_no_workspace_s_log(any_house: House) -> None:
    key, text = create_key(any_house.control, name="gone", tenant_id=TENANT, actor="test")
    revoke_key(any_house.control, key.id, actor="test")
    before = len(read_audit(any_house.control, tenant_id=TENANT))
    for headers in ({"X-API-Key": "epk_wrong"}, {}):
        assert any_house.anonymous(headers=headers).get(EXPORTS).status_code == 401
    assert len(read_audit(any_house.control, tenant_id=TENANT)) == before
    answer = any_house.anonymous(headers={"X-API-Key": text}).get(EXPORTS)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Give a valid API key in the header X-API-Key."})
    [line] = _refused(any_house)
    assert (line.actor, *_told(line)) == (f"key:{key.id}", "refused.key", f"GET {EXPORTS}", 1)


def test_refused_destinations_and_reached_limits_are_told(house: House) -> None:
    client = house.client(max_destinations=1, allow_private_endpoints=False)
    inside = house.new_destination(endpoint_url="https://169.254.169.254")
    assert client.post(f"{EXPORTS}/destinations", json=inside).status_code == 400
    house.destination(house.client())
    assert client.post(f"{EXPORTS}/destinations", json=inside).status_code == 429
    assert [_told(line) for line in _refused(house)] == [
        ("refused.destination", f"POST {EXPORTS}/destinations", 1),
        ("refused.limit", f"POST {EXPORTS}/destinations", 1),
    ]
    secret = inside["credentials"]["secret_access_key"]
    assert all(secret not in str(line.detail) for line in _refused(house))


def test_after_a_minute_one_line_counts_the_calls_in_between(any_house: House) -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    for seconds in (0, 1, 2, 59, 61, 62, 200):
        now = float(seconds)
        refusals.note(
            any_house.control, tenant_id=TENANT, actor="key:a", reason="scope", subject=str(seconds), text="x" * 9_000
        )
    refusals.note(any_house.control, tenant_id=TENANT, actor="key:b", reason="scope", subject="b", text="")
    told = [_told(line) for line in _refused(any_house)]
    assert told == [("refused.scope", name, count) for name, count in (("0", 1), ("61", 4), ("200", 2), ("b", 1))]
    assert len(_refused(any_house)[0].detail["text"]) == 500
