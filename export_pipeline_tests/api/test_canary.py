"""Secrets that go into the API come out nowhere: not in answers, logs, tracebacks, or the control database's bytes."""

import base64
import logging
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from fastapi.testclient import TestClient

from export_pipeline.object_store.secrets import Vault
from export_pipeline_tests.api.house import PROJECT, House
from export_pipeline_tests.api.serving import work_off

pytestmark = pytest.mark.slow

EXPORTS = "/api/v1/bulk-exports"
DESTINATIONS = f"{EXPORTS}/destinations"
CANARY = "CANARYsecretKEY0123456789abcdefXYZ"
TOKEN = "CANARYsessionTOKEN0123456789abcXYZ"


def test_credentials_are_found_nowhere_but_encrypted(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    heard: list[str] = []
    client = _listening(house.client(), heard)
    genuine = house.new_destination()
    made = client.post(DESTINATIONS, json=genuine).json()
    here = f"{DESTINATIONS}/{made['id']}"
    for credentials in (genuine["credentials"], {"access_key_id": CANARY, "secret_access_key": CANARY}):
        client.patch(here, json={"credentials": credentials})
        client.patch(here, json={"credentials": credentials, "aws_role_arn": "arn:aws:iam::123456789012:role/x"})
    for path in ("", "/check"):
        client.get(here + path)
    for body in _broken(genuine):
        assert client.post(DESTINATIONS, json=body).status_code in {400, 422}, body
    tracebacks = _unexpected(house, monkeypatch, genuine)
    house.control.close()
    stored = b"".join(path.read_bytes() for path in sorted(house.folder.glob("control.db*")))
    places = {"answers": "\n".join(heard), "logs": caplog.text, "tracebacks": tracebacks, "database": str(stored)}
    _search(places, [CANARY, TOKEN, *_secrets(house, genuine)])
    assert made["id"] in places["database"]
    assert len(heard) > 15


@pytest.mark.slow
def test_credentials_do_not_reach_dagster_where_exports_go_well_and_where_they_fail(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    client = house.client()
    genuine = house.new_destination()
    wish = {"bulk_export_destination_id": client.post(DESTINATIONS, json=genuine).json()["id"]}
    wish |= {"session_id": str(PROJECT), "start_time": "2026-03-01", "end_time": "2026-03-03"}
    instance_folder = tmp_path / "dagster"
    instance_folder.mkdir()
    with dg.instance_for_test(temp_dir=str(instance_folder)) as instance:
        well = client.post(EXPORTS, json=wish).json()["id"]
        work_off(house.settings, instance)
        for key in house.server.keys(house.bucket):
            house.server.client().delete_object(Bucket=house.bucket, Key=key)
        house.server.client().delete_bucket(Bucket=house.bucket)
        badly = client.post(EXPORTS, json=wish).json()["id"]
        work_off(house.settings, instance)
        assert [client.get(f"{EXPORTS}/{export}").json()["status"] for export in (well, badly)] == [
            "Completed",
            "Failed",
        ]
        runs = client.get(f"{EXPORTS}/{badly}/runs").text
    stored = b"".join(path.read_bytes() for path in sorted(instance_folder.rglob("*")) if path.is_file())
    printed = "".join(capfd.readouterr())
    places = {"answers": runs, "logs": caplog.text, "printed": printed, "Dagster": stored.decode(errors="replace")}
    assert badly in places["Dagster"]
    _search(places, _secrets(house, genuine))


def _secrets(house: House, genuine: dict[str, Any]) -> list[str]:
    keys = house.settings.secret_keys
    assert keys is not None
    return [genuine["credentials"]["secret_access_key"], keys.get_secret_value()]


def _search(places: Mapping[str, str], secrets: list[str]) -> None:
    for place, text in places.items():
        for secret in secrets:
            for form in (secret, base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]):
                assert form not in text, place


def _listening(client: TestClient, heard: list[str]) -> TestClient:
    def hear(answer: Any) -> None:
        answer.read()
        heard.append(f"{dict(answer.headers)} {answer.text}")

    client.event_hooks = {"response": [hear]}
    return client


def _broken(genuine: dict[str, Any]) -> list[dict[str, Any]]:
    """Bodies with canaries that are refused, each for another reason."""
    canaries = {"access_key_id": CANARY, "secret_access_key": CANARY, "session_token": TOKEN}
    config = genuine["config"]
    return [
        {**genuine, "credentials": canaries},
        {**genuine, "credentials": {**genuine["credentials"], "secret_access_key": CANARY}},
        {**genuine, "credentials": {**genuine["credentials"], "session_token": TOKEN}, "display_name": "ü"},
        {**genuine, "credentials": {**canaries, "secret_access_key": CANARY * 100}},
        {**genuine, "credentials": {**canaries, "secret_access_key": f"{CANARY} \n"}},
        {**genuine, "credentials": {"access_key_id": CANARY, "secret_access_key": [CANARY]}},
        {**genuine, "credentials": CANARY},
        {**genuine, "credentials": canaries, "config": {**config, "bucket_name": "no-such-bucket"}},
        {**genuine, "credentials": canaries, "config": {**config, "endpoint_url": "http://127.0.0.1:1"}},
        {**genuine, "credentials": canaries, "config": {**config, "endpoint_url": f"https://u:{CANARY}@127.0.0.1"}},
        {**genuine, "credentials": canaries, "config": {**config, "region": 5}},
        {**genuine, "credentials": canaries, "aws_role_arn": "arn:aws:iam::123456789012:role/x"},
    ]


def _unexpected(house: House, monkeypatch: pytest.MonkeyPatch, genuine: dict[str, Any]) -> str:
    """What is printed where a mistake of ours strikes while the credentials are in hand."""

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    told = ""
    with monkeypatch.context() as patch:
        patch.setattr(Vault, "seal", broken)
        try:
            house.client().post(DESTINATIONS, json={**genuine, "credentials": {**genuine["credentials"]}})
        except RuntimeError as error:
            told = "".join(traceback.format_exception(error))
    assert "broken" in told
    return told
