"""The list of a bucket's tables: what is a catalog and what is none, and its published schema."""

import json
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from export_pipeline.files.catalog import (
    MAX_CATALOG_BYTES,
    Catalog,
    CatalogError,
    CatalogTable,
    NewerCatalogError,
    catalog_json_schema,
    read_catalog,
)

PUBLISHED = Path(__file__).parents[2] / "docs" / "projects.schema.json"


def table(number: int, **changes: Any) -> CatalogTable:
    content: dict[str, Any] = {
        "name": "chatbot",
        "project_id": "7",
        "session_id": uuid.UUID(int=4),
        "tenant_id": uuid.UUID(int=3),
        "export_id": uuid.UUID(int=number),
        "current": True,
        "location": "s3://traces/a/runs/",
        "format_version": "v1",
        "compression": "gzip",
        "fields": ("id", "name"),
        "newest_day": date(2026, 1, 9),
    }
    return CatalogTable(**{**content, **changes})


def stored(**changes: Any) -> bytes:
    content = json.loads(Catalog.of([table(1)]).dump())
    content["tables"][0].update(changes)
    return json.dumps(content).encode()


def test_a_catalog_is_read_as_it_was_written_in_one_order() -> None:
    tables = [table(2), table(1, current=False), table(3, name="agent", newest_day=None)]
    written = Catalog.of(tables).dump()
    assert Catalog.of(reversed(tables)).dump() == written
    assert [found.export_id.int for found in read_catalog(written).tables] == [3, 2, 1]
    assert json.loads(written)["tables"][1] == {
        "name": "chatbot",
        "project_id": "7",
        "session_id": "00000000-0000-0000-0000-000000000004",
        "tenant_id": "00000000-0000-0000-0000-000000000003",
        "export_id": "00000000-0000-0000-0000-000000000002",
        "current": True,
        "location": "s3://traces/a/runs/",
        "format_version": "v1",
        "compression": "gzip",
        "fields": ["id", "name"],
        "newest_day": "2026-01-09",
    }


def test_a_name_of_any_characters_is_written_and_read() -> None:
    name = "\u202e é 🦜\n\0" + "x" * 2000
    (found,) = read_catalog(Catalog.of([table(1, name=name)]).dump()).tables
    assert found.name == name[:1000]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'{"version":1',
        b"[" * 100_000,
        b'{"version":"1","tables":[]}',
        b'{"version":0,"tables":[]}',
        b'{"version":1,"tables":{}}',
        b'{"version":1,"tables":[1]}',
        stored(export_id="../../etc"),
        stored(current="yes"),
        stored(location="https://elsewhere/"),
        stored(format_version="v9"),
        stored(fields=["x"] * 1001),
        stored(newest_day="9999-12-31"),
        json.dumps({"version": 1, "tables": [json.loads(table(1).model_dump_json())] * 2}).encode(),
        b" " * (MAX_CATALOG_BYTES + 1),
    ],
    ids=lambda body: ascii(body[:40]),
)
def test_what_is_no_catalog_is_refused(body: bytes) -> None:
    with pytest.raises(CatalogError) as caught:
        read_catalog(body)
    assert not isinstance(caught.value, NewerCatalogError)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("version", ["2", "1" + "0" * 400])
def test_a_newer_version_is_told_from_damage(version: str) -> None:
    with pytest.raises(NewerCatalogError, match="newer version than 1"):
        read_catalog(b'{"version":%s,"lists":[]}' % version.encode())


def test_the_published_schema_is_that_of_the_catalog() -> None:
    schema = json.loads(PUBLISHED.read_text())
    assert schema == catalog_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(Catalog.of([table(1, newest_day=None)]).dump())
    jsonschema.validate(content, schema, jsonschema.Draft202012Validator)
    del content["tables"][0]["name"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema, jsonschema.Draft202012Validator)
