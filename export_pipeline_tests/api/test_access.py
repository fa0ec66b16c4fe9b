"""Who gets which answer: without a key, with the wrong scope, with another workspace's ids."""

import json
import uuid
from typing import Any

import pytest
from fastapi.testclient import TestClient

from export_pipeline.api import create_app
from export_pipeline.exports.access.keys import create_key, revoke_key
from export_pipeline_tests.api.house import OTHER, PROJECT, TENANT, House

pytestmark = pytest.mark.slow

API = "/api/v1"
EXPORTS = f"{API}/bulk-exports"
READ, MANAGE, METRICS = "bulk-exports:read", "bulk-exports:manage", "metrics:read"

NEW_CREDENTIALS = {"credentials": {"access_key_id": "a", "secret_access_key": "b"}}

CALLS: list[tuple[str, str, Any, str]] = [
    ("GET", EXPORTS, None, READ),
    ("POST", EXPORTS, {"bulk_export_destination_id": "{destination}", "start_time": "2026-03-01"}, MANAGE),
    ("GET", f"{EXPORTS}/destinations", None, READ),
    ("POST", f"{EXPORTS}/destinations", {"display_name": "x", "config": {}}, MANAGE),
    ("GET", f"{EXPORTS}/destinations/{{destination}}", None, READ),
    ("PATCH", f"{EXPORTS}/destinations/{{destination}}", NEW_CREDENTIALS, MANAGE),
    ("DELETE", f"{EXPORTS}/destinations/{{destination}}", None, MANAGE),
    ("GET", f"{EXPORTS}/destinations/{{destination}}/check", None, MANAGE),
    ("GET", f"{EXPORTS}/runs?source_bulk_export_id={{export}}", None, READ),
    ("GET", f"{EXPORTS}/{{export}}", None, READ),
    ("PATCH", f"{EXPORTS}/{{export}}", {"status": "Cancelled"}, MANAGE),
    ("POST", f"{EXPORTS}/{{export}}/retry", None, MANAGE),
    ("GET", f"{EXPORTS}/{{export}}/changes", None, READ),
    ("GET", f"{EXPORTS}/{{export}}/runs", None, READ),
    ("GET", f"{EXPORTS}/{{export}}/runs/{{run}}", None, READ),
    ("GET", f"{EXPORTS}/{{export}}/runs/{{run}}/manifest", None, READ),
    ("POST", f"{API}/runs/query/validate", {"filter": 'eq(name, "x")'}, READ),
    ("GET", f"{API}/audit-log", None, MANAGE),
    ("GET", "/metrics", None, METRICS),
]
"""Every call that asks for a key, and the scope that it asks for."""

WITH_IDS = [call for call in CALLS if "{" in call[1]]


def test_the_list_of_calls_is_whole(house: House) -> None:
    described = {
        (method.upper(), path)
        for path, methods in create_app(house.settings, house.control).openapi()["paths"].items()
        for method in methods
        if path not in {"/health", "/ready"}
    }
    names = {"export": "bulk_export_id", "destination": "destination_id", "run": "run_id"}
    assert {
        (method, path.partition("?")[0].format(**{key: f"{{{name}}}" for key, name in names.items()}))
        for method, path, _, _ in CALLS
    } == described


def _ask(client: TestClient, call: tuple[str, str, Any, str], **ids: str) -> Any:
    method, path, body, _ = call
    unknown = {name: str(uuid.uuid4()) for name in ("export", "destination", "run")} | ids
    text = None if body is None else json.dumps(body).replace("{destination}", unknown["destination"])
    headers = {"Content-Type": "application/json"} if text else {}
    return client.request(method, path.format(**unknown), content=text, headers=headers)


def test_without_a_valid_key_a_call_answers_401_whatever_else_is_wrong(house: House) -> None:
    key, text = create_key(house.control, name="gone", tenant_id=TENANT, actor="test")
    revoke_key(house.control, key.id, actor="test")
    for headers in ({}, {"X-API-Key": "epk_wrong"}, {"X-API-Key": text}, {"Authorization": "Basic x"}):
        client = house.anonymous(headers=headers)
        for call in CALLS:
            answer = _ask(client, call)
            assert answer.status_code == 401, (headers, call)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.json() == {"detail": "Give a valid API key in the header X-API-Key."}
    json_type = {"Content-Type": "application/json"}
    assert house.anonymous().post(EXPORTS, content=b"{", headers=json_type).status_code == 401
    assert house.anonymous().get(f"{EXPORTS}/no-uuid").status_code == 401


def test_with_another_scope_a_call_answers_403(house: House) -> None:
    for scope in (READ, MANAGE, METRICS):
        right, wrong = house.client(scope), house.client(*({READ, MANAGE, METRICS} - {scope}))
        for call in CALLS:
            if call[3] == scope:
                answer = _ask(wrong, call)
                assert (answer.status_code, answer.json()) == (403, {"detail": f"The API key lacks the scope {scope}."})
                assert _ask(right, call).status_code in {200, 404, 422}


def test_a_workspace_that_is_not_the_keys_answers_404(house: House) -> None:
    client = house.client(READ, MANAGE, METRICS)
    for named in (str(OTHER), "no-uuid", ""):
        client.headers["X-Tenant-Id"] = named
        for call in CALLS:
            answer = _ask(client, call)
            assert (answer.status_code, answer.json()) == (404, {"detail": "Not found"}), call


def test_the_keys_own_workspace_may_be_named_in_any_form_and_the_key_as_a_bearer_token(house: House) -> None:
    key = house.key()
    for named in (str(TENANT), str(TENANT).upper(), TENANT.hex):
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
            answer = house.anonymous(headers={**headers, "X-Tenant-Id": named}).get(EXPORTS)
            assert (answer.status_code, answer.json()) == (200, [])


def test_ids_of_another_workspace_answer_as_unknown_ones_do_to_the_byte(any_house: House) -> None:
    mine, theirs = any_house.client(), any_house.client(tenant_id=OTHER)
    destination = any_house.destination(mine)
    asked = {"bulk_export_destination_id": destination, "session_id": str(PROJECT), "start_time": "2026-03-01T00:00:00"}
    export = mine.post(EXPORTS, json={**asked, "end_time": "2026-03-02T00:00:00"}).json()["id"]
    run = mine.get(f"{EXPORTS}/{export}/runs").json()[0]["id"]
    ids = {"destination": destination, "export": export, "run": run}
    for call in WITH_IDS:
        foreign, unknown = _ask(theirs, call, **ids), _ask(theirs, call)
        assert foreign.status_code == 404, call
        assert foreign.headers.pop("X-Request-Id") != unknown.headers.pop("X-Request-Id")
        assert (foreign.content, dict(foreign.headers)) == (unknown.content, dict(unknown.headers))
    for field, value in (("bulk_export_destination_id", destination), ("session_id", str(PROJECT))):
        wish = {"bulk_export_destination_id": any_house.destination(theirs), "session_id": str(uuid.uuid4()), **asked}
        body = {**wish, "end_time": "2026-03-02T00:00:00"}
        foreign = theirs.post(EXPORTS, json={**body, field: value})
        unknown = theirs.post(EXPORTS, json={**body, field: str(uuid.uuid4())})
        assert (foreign.status_code, foreign.content) == (404, unknown.content)
    assert theirs.get(EXPORTS).json() == []
    assert mine.get(f"{EXPORTS}/{export}").json()["status"] == "Created"


def test_single_user_mode_answers_this_machine_only_and_no_pages_of_other_sites(house: House) -> None:
    client = house.anonymous(api_single_user=True)
    assert client.get(EXPORTS).json() == []
    assert client.get(EXPORTS, headers={"Origin": "http://localhost:3000"}).status_code == 200
    refused = [
        client.get(EXPORTS, headers={"Origin": "https://evil.example"}),
        client.get(EXPORTS, headers={"Origin": "null"}),
        client.get(EXPORTS, headers={"Host": "evil.example"}),
    ]
    elsewhere = create_app(house.settings.model_copy(update={"api_single_user": True}), house.control)
    refused.append(TestClient(elsewhere, base_url="http://127.0.0.1", client=("10.1.2.3", 4000)).get(EXPORTS))
    refused.append(TestClient(elsewhere, base_url="http://10.1.2.3", client=("127.0.0.1", 4000)).get(EXPORTS))
    assert [answer.status_code for answer in refused] == [403] * 5
    assert client.get(EXPORTS, headers={"X-Tenant-Id": str(OTHER)}).status_code == 404


def test_what_the_operator_has_not_allowed_a_workspace_is_refused_with_the_setting_and_stores_nothing(
    house: House,
) -> None:
    client = house.client()
    role = "arn:aws:iam::123456789012:role/x"
    own = house.new_destination() | {"credentials": None}
    with_role = house.new_destination(aws_role_arn=role) | {"credentials": None}
    public = house.new_destination(s3_additional_kwargs={"ACL": "public-read"})
    for body, setting in (
        (own, f"OWN_CREDENTIALS_WORKSPACES={TENANT}"),
        (with_role, f"WORKSPACE_ROLES={TENANT}={role}"),
        (public, f"UPLOAD_ARGUMENTS={TENANT}=ACL"),
    ):
        answer = client.post(f"{EXPORTS}/destinations", json=body)
        assert (answer.status_code, setting in answer.json()["detail"]) == (400, True), answer.text
    assert client.get(f"{EXPORTS}/destinations").json() == []
    url = f"{EXPORTS}/destinations/{house.destination(client)}"
    before = client.get(url).json()
    changed = client.patch(url, json={"aws_role_arn": role})
    assert (changed.status_code, f"WORKSPACE_ROLES={TENANT}={role}" in changed.json()["detail"]) == (400, True)
    assert client.get(url).json() == before


@pytest.mark.parametrize(
    "name",
    ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "CF-Connecting-IP"],
)
def test_single_user_mode_refuses_what_came_through_a_proxy(house: House, name: str) -> None:
    client = house.anonymous(api_single_user=True)
    answer = client.get(EXPORTS, headers={name: "127.0.0.1"})
    assert (answer.status_code, "`export-pipeline keys create`" in answer.json()["detail"]) == (403, True)
    assert client.get("/health", headers={name: "127.0.0.1"}).status_code == 200
    assert house.client().get(EXPORTS, headers={name: "127.0.0.1"}).json() == []
