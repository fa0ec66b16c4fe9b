"""The calls on exports and destinations, as the contract has them."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from export_pipeline.exports.control.tables import bulk_exports, bulk_units
from export_pipeline_tests.api.house import OTHER, PROJECT, TENANT, House
from export_pipeline_tests.web_server import web_server

pytestmark = pytest.mark.slow

EXPORTS = "/api/v1/bulk-exports"
DESTINATIONS = f"{EXPORTS}/destinations"


def _wish(destination: str, **changes: Any) -> dict[str, Any]:
    wish = {
        "bulk_export_destination_id": destination,
        "session_id": str(PROJECT),
        "start_time": "2026-03-01T00:00:00Z",
        "end_time": "2026-03-02T23:59:59Z",
        **changes,
    }
    return {name: value for name, value in wish.items() if value is not None}


def test_a_destination_is_made_shown_rotated_checked_and_deleted(any_house: House) -> None:
    client = any_house.client()
    made = client.post(DESTINATIONS, json=any_house.new_destination())
    assert made.status_code == 200, made.text
    found = made.json()
    assert found["display_name"] == "My S3 Destination"
    assert found["destination_type"] == "s3"
    assert found["tenant_id"] == str(TENANT)
    assert found["credentials_keys"] == ["access_key_id", "secret_access_key"]
    assert found["config"] == {
        "endpoint_url": any_house.server.endpoint_url,
        "prefix": "traces",
        "bucket_name": any_house.bucket,
        "region": any_house.server.region,
        "s3_additional_kwargs": None,
        "config_kwargs_s3": None,
        "include_bucket_in_prefix": True,
        "aws_role_arn": None,
    }
    assert found["created_at"].endswith("+00:00")
    here = f"{DESTINATIONS}/{found['id']}"
    assert client.get(here).json() == found
    assert client.get(DESTINATIONS).json() == [found]
    key, secret = any_house.server.identity("admin")
    rotated = client.patch(here, json={"credentials": {"access_key_id": key, "secret_access_key": secret}})
    assert rotated.json()["updated_at"] > found["updated_at"]
    checked = client.get(f"{here}/check").json()
    assert (checked["ok"], checked["error"], checked["warnings"]) == (True, None, [])
    assert checked["capabilities"] == dict.fromkeys(
        ("write", "read", "list", "delete", "abort", "conditional_writes"), True
    )
    assert client.delete(here).json() == rotated.json()
    assert (client.get(here).status_code, client.get(DESTINATIONS).json()) == (404, [])
    log = client.get("/api/v1/audit-log").json()
    assert [line["action"] for line in log] == [
        "destination.delete",
        "destination.check",
        "destination.rotate",
        "destination.create",
        "key.create",
    ]
    assert [line["actor"].partition(":")[0] for line in log] == ["key", "key", "key", "key", "test"]


@pytest.mark.parametrize(
    ("changes", "credentials", "error_class"),
    [
        ({}, {"secret_access_key": "wrong"}, "Access denied"),
        ({"bucket_name": "no-such-bucket"}, {}, "Bucket is not valid"),
        ({}, {"access_key_id": "unknown"}, "Key ID you provided does not exist"),
        ({"endpoint_url": "http://127.0.0.1:1"}, {}, "Invalid endpoint"),
    ],
)
def test_a_destination_that_cannot_be_written_to_is_refused_in_the_contracts_words(
    house: House, changes: dict[str, Any], credentials: dict[str, str], error_class: str
) -> None:
    client = house.client()
    wish = house.new_destination(**changes)
    wish["credentials"].update(credentials)
    refused = client.post(DESTINATIONS, json=wish)
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith(f"Failed to validate S3 destination: {error_class}")
    assert client.get(DESTINATIONS).json() == []


def test_an_export_is_made_shown_and_cancelled(any_house: House) -> None:
    client = any_house.client()
    destination = any_house.destination(client)
    made = client.post(EXPORTS, json={**_wish(destination), "unknown": {"field": 1}})
    assert made.status_code == 200, made.text
    found = made.json()
    assert {name: value for name, value in found.items() if not name.endswith("_at") and name != "id"} == {
        "bulk_export_destination_id": destination,
        "session_id": str(PROJECT),
        "all_experiments": False,
        "start_time": "2026-03-01T00:00:00+00:00",
        "end_time": "2026-03-02T23:59:59+00:00",
        "filter": None,
        "format": "Parquet",
        "format_version": "v1",
        "compression": "zstandard",
        "interval_hours": None,
        "export_fields": None,
        "reexport_late": False,
        "tenant_id": str(TENANT),
        "status": "Created",
        "source_bulk_export_id": None,
        "error": None,
        "warning": None,
        "progress": None,
    }
    assert found["finished_at"] is None
    here = f"{EXPORTS}/{found['id']}"
    assert client.get(EXPORTS).json() == [found]
    shown = client.get(here).json()
    assert (shown["progress"]["days_total"], shown["progress"]["percent"]) == (2, 0.0)
    runs = client.get(f"{here}/runs").json()
    assert [(run["start_time"], run["end_time"], run["status"]) for run in runs] == [
        ("2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00", "Created"),
        ("2026-03-02T00:00:00+00:00", "2026-03-02T23:59:59+00:00", "Created"),
    ]
    assert client.get(f"{here}/runs/{runs[0]['id']}").json() == runs[0]
    assert runs[0]["metadata"] == {
        "prefix": "traces",
        "start_time": runs[0]["start_time"],
        "end_time": runs[0]["end_time"],
        "execution_backend": None,
        "result": None,
    }
    assert client.get(f"{here}/runs?limit=1&offset=1").json() == runs[1:]
    assert client.get(f"{here}/runs?offset=9223372036854775808").json() == []
    assert client.get(f"{here}/runs/{runs[0]['id']}/manifest").status_code == 404
    assert client.get(f"{here}/changes").json() == {"changes": [], "cursor": None}
    in_use = client.delete(f"{DESTINATIONS}/{destination}")
    assert (in_use.status_code, "in use" in in_use.json()["detail"]) == (409, True)
    with web_server({"data": {"runsOrError": {"results": []}}}) as dagster:
        caller = any_house.client(dagster_url=dagster.url)
        cancelled = caller.patch(here, json={"status": "CANCELLED"}).json()
        assert found["id"] in str(dagster.asked[0]["variables"]), "its runs are ended at once"
    assert cancelled["status"] == "Cancelled"
    assert cancelled["finished_at"].endswith("+00:00")
    assert client.patch(here, json={}).json() == cancelled
    assert client.post(f"{here}/retry").status_code == 409
    assert client.delete(f"{DESTINATIONS}/{destination}").status_code == 200


def test_times_without_a_zone_are_utc_and_others_are_turned_into_it(house: House) -> None:
    client = house.client()
    wish = _wish(house.destination(client), start_time="2026-03-01T00:00:00", end_time="2026-03-01T05:00:00+02:00")
    found = client.post(EXPORTS, json=wish).json()
    assert (found["start_time"], found["end_time"]) == ("2026-03-01T00:00:00+00:00", "2026-03-01T03:00:00+00:00")


def test_a_schedule_has_no_end_and_lists_the_runs_that_it_spawned(house: House) -> None:
    client = house.client()
    wish = _wish(house.destination(client), end_time=None, interval_hours=24)
    found = client.post(EXPORTS, json=wish).json()
    assert (found["status"], found["end_time"], found["interval_hours"]) == ("IntervalScheduled", None, 24)
    assert client.get(f"{EXPORTS}/runs?source_bulk_export_id={found['id']}").json() == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"session_id": None}, ["body"]),
        ({"all_experiments": True}, ["body"]),
        ({"end_time": None}, ["body"]),
        ({"end_time": "2026-02-01T00:00:00Z"}, ["body"]),
        ({"end_time": None, "interval_hours": 169}, ["body"]),
        ({"end_time": None, "interval_hours": 0}, ["body"]),
        ({"interval_hours": 24}, ["body"]),
        ({"filter": "nonsense("}, ["body"]),
        ({"export_fields": ["no_column"]}, ["body"]),
        ({"compression": "lz4"}, ["body", "compression"]),
        ({"format_version": "v3"}, ["body", "format_version"]),
        ({"start_time": "yesterday"}, ["body", "start_time"]),
        ({"start_time": "0001-01-01T00:00:00+14:00"}, ["body", "start_time"]),
        ({"start_time": "9999-12-31T00:00:00Z", "end_time": "9999-12-31T23:59:59-12:00"}, ["body", "end_time"]),
        ({"bulk_export_destination_id": "no-uuid"}, ["body", "bulk_export_destination_id"]),
    ],
)
def test_a_wrong_wish_is_answered_in_fastapis_form_without_its_values(
    house: House, changes: dict[str, Any], place: list[str]
) -> None:
    client = house.client()
    refused = client.post(EXPORTS, json=_wish(house.destination(client), **changes))
    assert refused.status_code == 422, refused.text
    problems = refused.json()["detail"]
    assert [problem["loc"] for problem in problems] == [place]
    assert [sorted(problem) for problem in problems] == [["loc", "msg", "type"]]
    assert client.get(EXPORTS).json() == []


def test_days_beyond_the_limit_of_a_workspace_answer_429_and_those_of_another_one_do_not_count(house: House) -> None:
    client = house.client(max_open_days=7)
    wish = _wish(house.destination(client), start_time="2026-01-01T00:00:00Z", end_time="2026-01-06T00:00:00Z")
    first = client.post(EXPORTS, json=wish)
    assert first.status_code == 200, first.text
    refused = client.post(EXPORTS, json=wish)
    assert refused.json() == {
        "detail": "This workspace has 5 days in exports that have not ended, and this one has 5; "
        "EXPORT_PIPELINE_MAX_OPEN_DAYS allows 7: wait until exports have ended, or cancel one."
    }
    assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (429, True)
    too_long = client.post(EXPORTS, json={**wish, "end_time": "2026-01-09T00:00:00Z"})
    assert too_long.status_code == 422
    assert "has 8 days, counted for each project, more than the 7" in too_long.json()["detail"][0]["msg"]
    assert len(client.get(EXPORTS).json()) == 1
    other = house.client(tenant_id=OTHER, max_open_days=7)
    theirs = {**wish, "bulk_export_destination_id": house.destination(other), "session_id": None}
    assert other.post(EXPORTS, json={**theirs, "all_experiments": True}).status_code == 200
    assert client.patch(f"{EXPORTS}/{first.json()['id']}", json={"status": "Cancelled"}).status_code == 200
    assert client.post(EXPORTS, json=wish).status_code == 200


def test_limits_answer_429_and_say_when_to_ask_again(house: House) -> None:
    client = house.client(max_exports_per_hour=1, max_schedules=0)
    destination = house.destination(client)
    assert client.post(EXPORTS, json=_wish(destination)).status_code == 200
    often = client.post(EXPORTS, json=_wish(destination))
    assert often.status_code == 429
    assert 3_500 <= int(often.headers["Retry-After"]) <= 3_600
    assert "MAX_EXPORTS_PER_HOUR" in often.json()["detail"]
    scheduled = client.post(EXPORTS, json=_wish(destination, end_time=None, interval_hours=1))
    assert (scheduled.status_code, "MAX_SCHEDULES" in scheduled.json()["detail"]) == (429, True)
    assert int(scheduled.headers["Retry-After"]) > 0


def test_a_failed_export_is_retried(any_house: House) -> None:
    client = any_house.client()
    export = client.post(EXPORTS, json=_wish(any_house.destination(client))).json()["id"]
    with any_house.control.begin() as connection:
        connection.execute(sa.update(bulk_exports).values(status="Failed", finished_at=1, error="it broke"))
        connection.execute(sa.update(bulk_units).values(status="Failed", finished_at=1, errors={"retry_0": "it broke"}))
    failed = client.get(f"{EXPORTS}/{export}").json()
    assert (failed["status"], failed["error"]) == ("Failed", "it broke")
    assert [run["errors"] for run in client.get(f"{EXPORTS}/{export}/runs").json()] == [{"retry_0": "it broke"}] * 2
    again = client.post(f"{EXPORTS}/{export}/retry").json()
    assert (again["status"], again["finished_at"], again["error"]) == ("Created", None, None)
    runs = client.get(f"{EXPORTS}/{export}/runs").json()
    assert [(run["status"], run["retry_number"]) for run in runs] == [("Created", 1)] * 2


def test_filters_are_judged_before_they_are_used(house: House) -> None:
    client: TestClient = house.client("bulk-exports:read")
    good = client.post("/api/v1/runs/query/validate", json={"filter": "and(eq(run_type, 'llm'), gt(latency, '5s'))"})
    assert good.json() == {
        "valid": True,
        "canonical": 'and(eq(run_type, "llm"), gt(latency, 5))',
        "error": None,
        "position": None,
    }
    bad = client.post("/api/v1/runs/query/validate", json={"filter": "eq(colour, 1)"}).json()
    assert (bad["valid"], bad["canonical"], bad["position"]) == (False, None, 4)
    assert "colour" in bad["error"]


def test_an_id_that_is_no_uuid_is_answered_422_and_an_unknown_path_404(house: House) -> None:
    client = house.client()
    assert client.get(f"{EXPORTS}/no-uuid").json()["detail"][0]["loc"] == ["path", "bulk_export_id"]
    assert client.get(f"{EXPORTS}/{uuid.uuid4()}/nothing").json() == {"detail": "Not Found"}
    assert client.put(EXPORTS).status_code == 405


def test_destinations_are_paged_where_that_is_asked_for_and_limited(house: House) -> None:
    client = house.client(max_destinations=3)
    newest_first = [house.destination(client) for _ in range(3)][::-1]

    def listed(query: str) -> list[str]:
        return [each["id"] for each in client.get(f"{EXPORTS}/destinations{query}").json()]

    assert listed("") == newest_first
    assert [listed("?limit=2"), listed("?limit=2&offset=2"), listed("?offset=3")] == [
        newest_first[:2],
        newest_first[2:],
        [],
    ]
    assert client.get(f"{EXPORTS}/destinations?limit=0").status_code == 422
    refused = client.post(f"{EXPORTS}/destinations", json=house.new_destination())
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3600")
    assert refused.json()["detail"].startswith("This workspace has 3 destinations, as many as ")
    large = house.new_destination(s3_additional_kwargs={"Metadata": {"a": "x" * 20_000}})
    assert house.client().post(f"{EXPORTS}/destinations", json=large).status_code == 422
