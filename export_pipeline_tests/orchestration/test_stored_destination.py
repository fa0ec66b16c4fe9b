"""Days published to a stored destination through Dagster; no secret of it is found in anything that was written."""

import base64
import json
import logging
import traceback
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.errors import ExportPipelineError
from export_pipeline.exports.destinations.opened import open_destination
from export_pipeline.exports.destinations.stored import (
    NewDestination,
    check_stored,
    create_destination,
    get_destination,
    list_destinations,
    rotate_credentials,
)
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.secrets import new_key
from export_pipeline.settings import PREFIX
from export_pipeline_tests.cli.command import run
from export_pipeline_tests.faults.proxy import FaultProxy
from export_pipeline_tests.orchestration.house import START, House, failure_text, materialize
from export_pipeline_tests.servers import Rclone

pytestmark = pytest.mark.slow

CANARY = Credentials("canary-key-5c1f77", "canary-secret-93ab02", "canary-token-e7d410")
TENANT = uuid.UUID(int=7)


@pytest.fixture
def proxy(rclone: Rclone) -> Iterator[FaultProxy]:
    with FaultProxy(rclone.endpoint_url) as made:
        yield made


def new(house: House, endpoint_url: str, credentials: Credentials, *, bucket: str | None = None) -> NewDestination:
    return NewDestination("Lake", DestinationConfig(bucket or house.bucket, endpoint_url=endpoint_url), credentials)


def store(house: House, proxy: FaultProxy) -> uuid.UUID:
    """Stores the house's bucket as a destination, and makes the settings name that alone."""
    house.variables[PREFIX + "SECRET_KEYS"] = new_key()
    house.control.migrate()
    genuine = Credentials(*house.server.identity("admin"))
    described = new(house, proxy.endpoint_url, genuine)
    made = create_destination(house.control, described, tenant_id=TENANT, settings=house.settings, actor="cli")
    for name in ("BUCKET", "ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        del house.variables[PREFIX + name]
    house.variables[PREFIX + "DESTINATION_ID"] = str(made.id)
    return made.id


def failures(house: House, row: uuid.UUID, proxy: FaultProxy) -> list[str]:
    """Everything that can go wrong with credentials in hand; what is printed, with the variables of every frame."""
    url, settings, control = proxy.endpoint_url, house.settings, house.control
    genuine = Credentials(*house.server.identity("admin"))
    half = Credentials(genuine.access_key_id, CANARY.secret_access_key)
    asked: dict[str, Any] = {"tenant_id": TENANT, "settings": settings, "actor": "cli"}
    wrong = settings.model_copy(update={"secret_keys": None})
    calls: list[Callable[[], object]] = [
        lambda: create_destination(control, new(house, url, CANARY), **asked),
        lambda: create_destination(control, new(house, url, half), **asked),
        lambda: create_destination(control, new(house, url, genuine, bucket="not-there"), **asked),
        lambda: create_destination(control, new(house, "http://127.0.0.1:1", CANARY), **asked),
        lambda: create_destination(control, new(house, "https://user:word@h", CANARY), **asked),
        lambda: rotate_credentials(control, row, credentials=CANARY, **asked),
        lambda: open_destination(control, row, tenant_id=TENANT, settings=wrong),
    ]
    told = []
    for call in calls:
        with pytest.raises(ExportPipelineError) as caught:
            call()
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        told += [str(caught.value), repr(caught.value), *shown.format()]
    return told


def test_a_rotation_needs_no_restart_and_no_secret_is_found_in_anything_that_was_written(
    house: House,
    stored_instance: dg.DagsterInstance,
    proxy: FaultProxy,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    row = store(house, proxy)
    house.add_project("chat", days=[START, START + timedelta(days=1)])
    house.sync()
    definitions = house.definitions()
    assert materialize(definitions, stored_instance, "chat", first=START).success
    assert len(house.data_files()) == 1

    proxy.answer(403, "InvalidAccessKeyId", "CreateMultipartUpload|PutObject", times=None)
    refused = materialize(definitions, stored_instance, "chat", first=START + timedelta(days=1))
    assert not refused.success
    assert "Key ID you provided does not exist" in failure_text(stored_instance, refused.run_id)
    proxy.clear()

    genuine = Credentials(*house.server.identity("admin"))
    asked: dict[str, Any] = {"tenant_id": TENANT, "settings": house.settings, "actor": "cli"}
    rotate_credentials(house.control, row, credentials=genuine, **asked)
    assert materialize(definitions, stored_instance, "chat", first=START + timedelta(days=1)).success
    assert len(house.data_files()) == 2

    told = failures(house, row, proxy)
    settings = house.settings
    records = list_destinations(house.control, tenant_id=TENANT)
    assert records == [get_destination(house.control, row, tenant_id=TENANT)]
    told += [
        repr(records),
        repr(settings),
        repr(check_stored(house.control, row, tenant_id=TENANT, settings=settings, actor="cli")),
    ]
    told.append(repr(open_destination(house.control, row, tenant_id=TENANT, settings=settings)))
    given = {name.removeprefix(PREFIX): value for name, value in house.variables.items()}
    for arguments in (("list",), ("list", "--json"), ("show", str(row)), ("show", str(row), "--json")):
        shown = run("destinations", *arguments, "--workspace", str(TENANT), folder=house.folder, settings=given)
        assert shown.status == 0
        told += [shown.out, shown.err]
    told += [caplog.text, *capfd.readouterr(), json.dumps([str(entry) for entry in all_events(stored_instance)])]
    secrets = [*vars(CANARY).values(), genuine.secret_access_key, given["SECRET_KEYS"]]
    found_in(house.folder, told, secrets, known=str(row))


def all_events(instance: dg.DagsterInstance) -> list[object]:
    return [entry for run in instance.get_runs() for entry in (run, *instance.all_logs(run.run_id))]


def found_in(folder: Path, told: list[str], secrets: list[str], *, known: str) -> None:
    """Fails where a secret stands in what was told, or in any file; `known` stands in one, so that it looks well."""
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(known.encode() in content for path, content in files.items() if path.name.startswith("control.db"))
    assert len(files) > 5
    for secret in secrets:
        encoded = base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
        for form in (secret, encoded):
            assert [text for text in told if form in text] == []
            assert [path for path, content in files.items() if form.encode() in content] == []
