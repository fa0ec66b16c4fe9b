"""Calls made up from the API's own OpenAPI document, right ones and broken ones, and what is answered to them."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from export_pipeline.api import create_app
from export_pipeline.exports.access.keys import SCOPES
from export_pipeline.exports.destinations import stored as destinations
from export_pipeline.exports.watch.heartbeat import beat
from export_pipeline.object_store.s3.check import Capabilities
from export_pipeline_tests.api.house import PROJECT, House

EXPORTS = "/api/v1/bulk-exports"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 8

plainly = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)


@pytest.fixture
def no_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoints that are made up lie anywhere: nobody is connected to."""
    monkeypatch.setattr(destinations, "_capabilities", lambda *_: Capabilities(write=True))


@pytest.mark.slow
@pytest.mark.usefixtures("no_s3")
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_call_breaks_the_service_and_every_answer_fits_the_document(any_house: House, mode: GenerationMode) -> None:
    headers = {"X-API-Key": any_house.key(*SCOPES)}
    app = create_app(any_house.settings.model_copy(update={"max_exports_per_hour": 100_000}), any_house.control)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == 21
    answered = [
        status
        for operation in operations
        for status in _drive(operation, mode, headers=headers, ids=_new_ids(any_house))
    ]
    assert {200, 404, 422} <= set(answered)


def _drive(operation: Any, mode: GenerationMode, *, headers: dict[str, str], ids: dict[str, str]) -> list[int]:
    """Makes up calls of an operation, with ids of things that are there in half of them; the statuses."""
    statuses: list[int] = []

    @plainly
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def calls(case: Any, known: bool) -> None:
        if known:
            _use(case, ids)
        response = case.call(headers=headers)
        statuses.append(response.status_code)
        case.validate_response(response, checks=CHECKS, headers=headers)

    try:
        calls()
    except hypothesis.errors.Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "a call without any input cannot be wrong; every other can be made up"
    return statuses


def _new_ids(house: House) -> dict[str, str]:
    """Ids of things that are there; and the daemon has just ticked."""
    beat(house.control)
    client = house.client()
    destination = house.destination(client)
    asked = {"bulk_export_destination_id": destination, "session_id": str(PROJECT)}
    window = {"start_time": "2026-03-01T00:00:00Z", "end_time": "2026-03-02T00:00:00Z"}
    export = client.post(EXPORTS, json={**asked, **window}).json()["id"]
    run = client.get(f"{EXPORTS}/{export}/runs").json()[0]["id"]
    return {**asked, "destination_id": destination, "bulk_export_id": export, "run_id": run}


def _use(case: Any, ids: dict[str, str]) -> None:
    """Puts ids of things that are there into a made-up call, wherever it has one."""
    ids = {**ids, "source_bulk_export_id": ids["bulk_export_id"]}
    for part in _context(case):
        part.update({name: ids[name] for name in part.keys() & ids.keys()})


def _context(case: Any) -> Iterator[dict[str, Any]]:
    for part in (case.path_parameters, case.query, case.body):
        if isinstance(part, dict):
            yield part
