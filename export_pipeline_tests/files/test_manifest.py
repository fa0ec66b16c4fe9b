"""The manifest: what is sealed is what is read, and nothing else is believed."""

import hashlib
import json
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from export_pipeline.files.manifest import (
    Manifest,
    ManifestError,
    ManifestFile,
    ManifestWindow,
    RejectedRun,
    Rejections,
    SourceFingerprint,
    canonical_json,
    manifest_json_schema,
    schema_fingerprint,
)
from export_pipeline.runs.schema import DEFAULT_FIELDS, arrow_schema, select_fields

PUBLISHED = Path(__file__).parents[2] / "docs" / "manifest.schema.json"
START, END = datetime(2026, 1, 9, tzinfo=UTC), datetime(2026, 1, 10, tzinfo=UTC)


def manifest(**changes: Any) -> Manifest:
    content: dict[str, Any] = {
        "kind": "day",
        "commit_id": uuid.UUID(int=1),
        "epoch": 7,
        "export_id": uuid.UUID(int=2),
        "export_kind": "standing",
        "tenant_id": uuid.UUID(int=3),
        "session_id": uuid.UUID(int=4),
        "day": date(2026, 1, 9),
        "window": ManifestWindow(start=START, end=END),
        "snapshot_at": END,
        "source": SourceFingerprint(rows=3, max_modified_at=END),
        "rows_source": 3,
        "rows": 2,
        "rejected": Rejections(
            count=1, by_reason={"no id": 1}, rows=(RejectedRun(id=None, start_time="2026-01-09", reason="no id"),)
        ),
        "replaced": {"name: lone surrogate": 1},
        "file": ManifestFile(
            bucket="b",
            key="k/part-00000.parquet",
            bytes=10,
            rows=2,
            sha256="0" * 64,
            content_hash="xxh3-1:00",
            row_groups=1,
            min_start_time=START,
            max_start_time=START,
            first_id="a",
            last_id="b",
        ),
        "schema_fingerprint": "1" * 64,
        "fields": DEFAULT_FIELDS,
        "format_version": "v1",
        "compression": "zstandard",
        "started_at": END,
        "committed_at": END,
        "tool_version": "0.1.0",
    }
    return Manifest.model_validate(content | changes)


def empty_days(*days: date) -> Manifest:
    return manifest(
        kind="empty_days",
        day=None,
        days=days,
        file=None,
        rows=0,
        rows_source=0,
        rejected=Rejections(),
        source=SourceFingerprint(rows=0),
    )


@pytest.mark.parametrize("sealed", [manifest(), empty_days(date(2026, 1, 1), date(2026, 1, 3))], ids=["day", "days"])
def test_a_sealed_manifest_is_read_as_it_was(sealed: Manifest) -> None:
    assert Manifest.load(sealed.seal()) == sealed
    assert Manifest.model_validate(sealed.model_dump(mode="json")) == sealed


def test_the_seal_is_the_sha256_of_the_rest_in_canonical_form() -> None:
    data = manifest().seal()
    content = json.loads(data)
    sealed = content.pop("sha256")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(canonical).hexdigest() == sealed
    assert data == canonical_json({**content, "sha256": sealed})
    assert content["window"] == {"end": "2026-01-10T00:00:00.000000+00:00", "start": "2026-01-09T00:00:00.000000+00:00"}
    assert content["day"] == "2026-01-09"


@pytest.mark.parametrize(
    ("name", "value"), [("rows", 3), ("day", "2026-01-10"), ("epoch", 8), ("added", 1), ("sha256", "0" * 64)]
)
def test_a_changed_manifest_is_refused(name: str, value: object) -> None:
    content = json.loads(manifest().seal())
    content[name] = value
    with pytest.raises(ManifestError, match="changed after it was written"):
        Manifest.load(json.dumps(content).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"1", b"\xff\xfe", b'{"sha256": 1}', b"[" * 100_000])
def test_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"not a manifest|changed"):
        Manifest.load(data)


def resealed(**changes: object) -> bytes:
    content = json.loads(manifest().seal()) | changes
    del content["sha256"]
    return canonical_json({**content, "sha256": hashlib.sha256(canonical_json(content)).hexdigest()})


def test_a_later_version_is_refused_and_a_later_key_is_not() -> None:
    with pytest.raises(ManifestError, match="version 2"):
        Manifest.load(resealed(version=2))
    assert Manifest.load(resealed(later="key")) == manifest()


def test_a_sealed_manifest_that_does_not_add_up_is_refused_with_the_place() -> None:
    with pytest.raises(ManifestError, match=r"rows_source is not rows \+ rejected"):
        Manifest.load(resealed(rows_source=4))
    with pytest.raises(ManifestError, match=r"window\.start"):
        Manifest.load(resealed(window={"start": "2026-01-09T00:00:00", "end": "2026-01-10T00:00:00Z"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 3},
        {"file": None},
        {"day": None},
        {"days": (date(2026, 1, 9),)},
        {"kind": "empty_days"},
        {"rejected": Rejections()},
        {"rows": 0, "rows_source": 1},
    ],
)
def test_what_contradicts_itself_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        manifest(**changes)


def test_empty_days_must_be_sorted_and_single() -> None:
    for days in ((), (date(2026, 1, 2), date(2026, 1, 1)), (date(2026, 1, 1), date(2026, 1, 1))):
        with pytest.raises(ValidationError, match="empty days"):
            empty_days(*days)


def test_rejected_rows_must_add_up_and_are_listed_up_to_a_thousand() -> None:
    listed = tuple(RejectedRun(id=str(number), start_time=None, reason="bad") for number in range(1000))
    assert Rejections(count=1500, by_reason={"bad": 1500}, rows=listed).count == 1500
    for count, reasons in ((1500, {"bad": 1499}), (999, {"bad": 999}), (1001, {"bad": 1001})):
        if count == 1001:
            assert Rejections(count=count, by_reason=reasons, rows=listed).count == count
            continue
        with pytest.raises(ValidationError, match="add up"):
            Rejections(count=count, by_reason=reasons, rows=listed)


def test_text_that_utf8_cannot_hold_does_not_break_the_manifest() -> None:
    rejected = Rejections(
        count=1, by_reason={"bad \ud800": 1}, rows=(RejectedRun(id="\udfff", start_time="\ud800", reason="bad \ud800"),)
    )
    sealed = manifest(rejected=rejected)
    assert Manifest.load(sealed.seal()).rejected.rows[0].id == "?"


def test_completing_a_commit_fills_in_what_the_store_answered() -> None:
    done = manifest().completed(etag="e", version_id="v", verified="read back")
    assert done.file is not None
    assert (done.file.etag, done.file.version_id, done.verified) == ("e", "v", "read back")
    assert done.completed(etag=None, version_id=None, verified="by the store's answer") == manifest()
    assert empty_days(date(2026, 1, 1)).completed(etag=None, version_id=None, verified="read back").file is None


def test_the_published_schema_is_the_one_of_the_code() -> None:
    assert json.loads(PUBLISHED.read_text()) == manifest_json_schema()


@pytest.mark.parametrize("sealed", [manifest(), empty_days(date(2026, 1, 1))], ids=["day", "days"])
def test_stored_manifests_fit_the_published_schema(sealed: Manifest) -> None:
    schema = json.loads(PUBLISHED.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(sealed.seal()), schema, jsonschema.Draft202012Validator)
    broken = json.loads(sealed.seal())
    del broken["sha256"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema, jsonschema.Draft202012Validator)


def test_the_schema_fingerprint_follows_the_columns() -> None:
    found = {
        schema_fingerprint(arrow_schema(fields, version))
        for fields in (select_fields(), select_fields(["id", "name"]))
        for version in ("v1", "v2_beta")
    }
    assert len(found) == 3  # id and name are the same in both versions
    assert all(len(item) == 64 for item in found)
