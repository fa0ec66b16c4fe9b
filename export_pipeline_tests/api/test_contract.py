"""The generated OpenAPI document says what the contract says; what differs stands here."""

from typing import Any

import pytest

from export_pipeline.api import create_app
from export_pipeline.settings import load_settings
from export_pipeline_tests.api.contract import BASE, CALLS, DESTINATION, ENUMS, LIMIT, OFFSET, SCHEMAS, SECURITY

NEWER_CALLS: dict[tuple[str, str], dict[str, Any]] = {
    ("delete", f"{BASE}/destinations/{{destination_id}}"): {
        "id": "delete_bulk_export_destination_api_v1_bulk_exports_destinations__destination_id__delete",
        "parameters": [DESTINATION],
        "answer": "BulkExportDestination",
    },
}
"""In use today, and newer than the public document."""

NEWER_FIELDS: dict[str, dict[str, Any]] = {
    "BulkExportDestinationCreate": {"aws_role_arn": "str?"},
    "BulkExportDestinationUpdate": {"aws_role_arn": "str?", "credentials": "BulkExportDestinationS3Credentials?"},
}
NEWER_REQUIRED: dict[str, set[str]] = {"BulkExportDestinationUpdate": set()}
"""A role may stand in the place of credentials."""

OUR_FIELDS: dict[str, dict[str, Any]] = {
    "BulkExportRunProgress": {"rows_rejected": "int?", "rejected": "object?"},
    "BulkExport": {
        "progress": "BulkExportProgress?",
        "error": "str?",
        "warning": "str?",
        "reexport_late": ("bool", {"default": False}),
    },
    "BulkExportCreate": {"reexport_late": ("bool", {"default": False})},
}
OUR_PARAMETERS: dict[tuple[str, str], list[Any]] = {("get", f"{BASE}/destinations"): [LIMIT, OFFSET]}
OUR_CALLS = {
    ("post", f"{BASE}/{{bulk_export_id}}/retry"),
    ("get", f"{BASE}/{{bulk_export_id}}/changes"),
    ("get", f"{BASE}/{{bulk_export_id}}/runs/{{run_id}}/manifest"),
    ("get", f"{BASE}/destinations/{{destination_id}}/check"),
    ("post", "/api/v1/runs/query/validate"),
    ("get", "/api/v1/audit-log"),
    ("get", "/health"),
    ("get", "/ready"),
    ("get", "/metrics"),
}
"""Beyond the original."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    settings = load_settings(
        source_url="sqlite:///traces.db", control_url="sqlite:///control.db", bucket="traces", region="eu-central-1"
    )
    return create_app(settings).openapi()


def test_every_call_of_the_contract_is_there_and_no_other_than_listed(document: dict[str, Any]) -> None:
    calls = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert calls == CALLS.keys() | NEWER_CALLS.keys() | OUR_CALLS


@pytest.mark.parametrize("call", [*CALLS, *NEWER_CALLS], ids=" ".join)
def test_a_call_has_the_parameters_body_and_answer_of_the_contract(
    document: dict[str, Any], call: tuple[str, str]
) -> None:
    method, path = call
    wanted, found = {**CALLS, **NEWER_CALLS}[call], document["paths"][path][method]
    assert found["operationId"] == wanted["id"]
    assert found["tags"] == ["bulk-exports"]
    assert found["security"] == [{name: []} for name in SECURITY]
    parameters = [
        (item["name"], item["in"], item["required"], *_short(item["schema"])) for item in found.get("parameters", ())
    ]
    assert parameters == wanted.get("parameters", []) + OUR_PARAMETERS.get(call, [])
    body = found.get("requestBody")
    assert (body and body["required"]) == (True if "body" in wanted else None)
    assert (body and _type_of(body)) == wanted.get("body")
    assert _type_of(found["responses"]["200"]) == wanted["answer"]
    if "body" in wanted or wanted.get("parameters"):
        assert _type_of(found["responses"]["422"]) == "HTTPValidationError"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_has_the_fields_bounds_and_defaults_of_the_contract(document: dict[str, Any], name: str) -> None:
    fields, required = SCHEMAS[name]
    found = document["components"]["schemas"][name]
    wanted = {field: item if isinstance(item, tuple) else (item, {}) for field, item in fields.items()}
    for field, item in {**NEWER_FIELDS.get(name, {}), **OUR_FIELDS.get(name, {})}.items():
        wanted[field] = item if isinstance(item, tuple) else (item, {})
    assert {field: _short(schema) for field, schema in found["properties"].items()} == wanted
    assert set(found.get("required", ())) == NEWER_REQUIRED.get(name, required)
    assert found["type"] == "object"


@pytest.mark.parametrize("name", ENUMS)
def test_an_enum_has_the_values_of_the_contract(document: dict[str, Any], name: str) -> None:
    found = document["components"]["schemas"][name]
    values = found.get("enum", [found["const"]] if "const" in found else None)
    assert (found["type"], sorted(values)) == ("string", sorted(ENUMS[name]))


def test_the_ways_to_authenticate_are_those_of_the_contract(document: dict[str, Any]) -> None:
    found = document["components"]["securitySchemes"]
    assert {name: _without(scheme, "description") for name, scheme in found.items()} == SECURITY


def _type_of(described: dict[str, Any]) -> str:
    return _short(described["content"]["application/json"]["schema"])[0]


_BARE = {
    ("string", "uuid"): "uuid",
    ("string", "date-time"): "time",
    ("string", None): "str",
    ("integer", None): "int",
    ("boolean", None): "bool",
    ("object", None): "object",
}


def _short(schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A schema in the notation of `contract`: its type, and the rest of it."""
    schema = _without(schema, "title", "description", "deprecated")
    if "anyOf" in schema:
        members = [_short(member) for member in schema.pop("anyOf")]
        named = [name for name, _ in members if name != "null"]
        rest = {key: value for _, more in members for key, value in more.items()} | schema
        return "|".join(named) + "?" * (len(named) < len(members)), rest
    if "$ref" in schema:
        return schema.pop("$ref").rpartition("/")[2], schema
    kind = schema.pop("type")
    if kind == "array":
        return f"[{_short(schema.pop('items'))[0]}]", schema
    if kind == "null":
        return "null", schema
    schema.pop("additionalProperties", None) if kind == "object" else None
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    return _BARE[kind, schema.pop("format", None)], schema


def _without(schema: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in names}
