"""The manifest: the record of one commit, stored in the bucket beside the data, and a public interface.

It is canonical JSON (keys sorted, no spaces, UTF-8) whose `sha256` is the SHA-256 of the same JSON without that key,
and whose `signature`, where it has one, is of the same JSON without both. Of the manifests of a day the intact one with
the greatest epoch is valid. Its JSON Schema is published as `docs/manifest.schema.json`.

Who can write to the bucket can plant one: every number, time and text has a bound, so that none does harm before it is
compared with anything.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from export_pipeline.errors import PermanentError
from export_pipeline.files.paths import LAST_DAY, MAX_EPOCH
from export_pipeline.files.signing import PublicKeys, Signer
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_VERSION = 1
MAX_REJECTED_LISTED = 1000
"""Rejected rows beyond these are counted, by reason too, but not listed."""
MAX_MANIFEST_BYTES = 8 * 1024 * 1024
"""More than a manifest with a thousand rejected rows and the longest filter can have; what is larger is not read."""
MAX_TEXT = 1000
_MAX_FILTER = 1024 * 1024

Verified = Literal["read back", "by the store's answer"]


class ManifestError(PermanentError):
    """A manifest is not what was sealed, or of a version that is not known."""


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a zone")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies beyond the years that there are") from None


def _day(value: date) -> date:
    if value > LAST_DAY:
        raise ValueError(f"a day is {LAST_DAY} at the latest")
    return value


def _writable(value: object) -> object:
    return value.encode("utf-8", "replace").decode()[:MAX_TEXT] if isinstance(value, str) else value


Instant = Annotated[
    datetime,
    AfterValidator(_utc),
    PlainSerializer(lambda value: value.isoformat(timespec="microseconds"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in UTC; RFC 3339 with microseconds in JSON."""
Text = Annotated[str, BeforeValidator(_writable)]
"""Text from a trace store, cut after 1,000 characters; lone surrogates, which UTF-8 cannot hold, become "?"."""
Day = Annotated[date, AfterValidator(_day)]
Count = Annotated[int, Field(ge=0, le=2**53 - 1, strict=True)]
"""As every JSON reader holds it exactly."""
Label = Annotated[str, Field(max_length=1024)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


ExportKind = Literal["standing", "bulk"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_serialization_defaults_required=True)


class ManifestWindow(_Part):
    """The instants `start <= start_time < end` that were exported."""

    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError("a window ends after it starts")
        return self


class SourceFingerprint(_Part):
    """What the trace store said of the rows when they were read; null where it has no such column."""

    rows: Count
    max_modified_at: Instant | None = None
    feedbacks: Count | None = None
    max_feedback_modified_at: Instant | None = None
    digest: int | None = Field(
        default=None, description="Sum of a hash of each row, where rows have no time of change."
    )
    figures: dict[Text, Text] | None = Field(
        default=None,
        description="Sums over the rows, of a store that can be asked for nothing else; without those of 0.",
    )


class RejectedRun(_Part):
    """A row of the source that is not in the file, and why."""

    id: Text | None
    start_time: Text | None
    reason: Text


class Rejections(_Part):
    """All rows that were set aside: how many, how many by reason, and the first thousand by name."""

    count: Count = 0
    by_reason: dict[Text, Count] = Field(default_factory=dict)
    rows: tuple[RejectedRun, ...] = Field(default=(), max_length=MAX_REJECTED_LISTED)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(self.by_reason.values()) != self.count or len(self.rows) != min(self.count, MAX_REJECTED_LISTED):
            raise ValueError("rejected rows do not add up")
        return self


class ManifestFile(_Part):
    """The one data file of the day."""

    bucket: Label
    key: Label
    bytes: Count
    rows: Count
    etag: Label | None = Field(default=None, description="As the store gave it; null where its answer was lost.")
    version_id: Label | None = Field(default=None, description="Null where the bucket keeps no versions.")
    sha256: Sha256 = Field(description="Of the file's bytes, in hexadecimal.")
    content_hash: Label = Field(description="Of the rows: the same for the same rows in any file.")
    row_groups: Count
    min_start_time: Instant | None = None
    max_start_time: Instant | None = None
    first_id: Label | None = None
    last_id: Label | None = None


class ManifestAttachments(_Part):
    """The attachments that the day's runs name, once for each run that has them."""

    count: Count
    bytes: Count


class Signature(_Part):
    """Who vouches for a commit: an Ed25519 signature of the manifest's canonical JSON without `sha256` and this."""

    algorithm: Literal["ed25519"] = "ed25519"
    key_id: str = Field(pattern="^[0-9a-f]{16}$", description="The first 16 digits of the public key's SHA-256.")
    value: str = Field(max_length=100, description="In base64, of `export-pipeline manifest`, a line feed, the JSON.")


class Manifest(_Part):
    """One commit: of a day, or of many days without rows."""

    version: Literal[1] = 1
    kind: Literal["day", "empty_days"]
    commit_id: uuid.UUID
    epoch: Annotated[int, Field(ge=0, le=MAX_EPOCH, strict=True)] = Field(
        description="Grows with every attempt at a day; the greatest of those that are intact is valid."
    )
    export_id: uuid.UUID
    export_kind: ExportKind = Field(
        description="standing: the table that a project's days are gathered in; bulk: an export that was asked for."
    )
    tenant_id: uuid.UUID
    session_id: uuid.UUID
    day: Day | None = Field(default=None, description="The UTC day, where kind is day.")
    days: tuple[Day, ...] | None = Field(
        default=None, max_length=10_000, description="The UTC days, oldest first, for empty_days."
    )
    window: ManifestWindow
    filter: Annotated[str, Field(max_length=_MAX_FILTER)] | None = None
    snapshot_at: Instant = Field(description="Control database time just before the rows were read.")
    source: SourceFingerprint
    rows_source: Count = Field(
        description="Rows that the trace store held for the window: rows + rejected.count + superseded."
    )
    rows: Count = Field(description="Rows in the file.")
    rejected: Rejections = Rejections()
    superseded: Count = Field(
        default=0, description="Rows that were not read, because the store holds a newer version of the same run."
    )
    replaced: dict[Text, Count] = Field(
        default_factory=dict, description="Cells that were changed, counted by column and kind of change."
    )
    attachments: ManifestAttachments | None = Field(
        default=None, description="What was copied of the runs' attachments; null where they are not copied."
    )
    file: ManifestFile | None = Field(default=None, description="Null where there are no rows.")
    schema_fingerprint: Sha256 = Field(description="SHA-256 of the file's columns and types.")
    fields: tuple[Label, ...] = Field(max_length=1000, description="The file's columns, in order.")
    format_version: FormatVersion
    compression: Compression
    verified: Verified = Field(default="by the store's answer", description="How the commit was verified.")
    started_at: Instant = Field(description="When the attempt began, control database time.")
    committed_at: Instant = Field(description="When the commit was decided, control database time.")
    tool_version: Label
    signature: Signature | None = Field(default=None, description="Null where the export signs no manifests.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rows_source != self.rows_read + self.superseded:
            raise ValueError("rows_source is not rows + rejected.count + superseded")
        if (self.file.rows if self.file else 0) != self.rows or (self.file is not None and not self.rows):
            raise ValueError("a file is there exactly where rows are, and holds them all")
        if (self.day is None) != (self.kind == "empty_days") or (self.days is None) != (self.kind == "day"):
            raise ValueError("a manifest stands for one day or for days")
        if self.days is not None and (not self.days or list(self.days) != sorted(set(self.days)) or self.rows_source):
            raise ValueError("empty days are sorted, without repeats and without rows")
        return self

    @property
    def rows_read(self) -> int:
        """The rows of the trace store that were read: those in the file and those that were rejected."""
        return self.rows + self.rejected.count

    def completed(self, *, etag: str | None, version_id: str | None, verified: Verified) -> "Manifest":
        """The same commit once its file is visible in the bucket."""
        file = self.file and self.file.model_copy(update={"etag": etag, "version_id": version_id})
        return self.model_copy(update={"file": file, "verified": verified})

    def signed(self, signer: Signer | None) -> "Manifest":
        """The same commit with a signature, or without one where there is no signer."""
        if signer is None:
            return self.model_copy(update={"signature": None})
        value = signer.sign(signed_part(self.model_dump(mode="json")))
        return self.model_copy(update={"signature": Signature(key_id=signer.key_id, value=value)})

    def seal(self) -> bytes:
        """The manifest as it is stored: canonical JSON with its own sha256."""
        content = self.model_dump(mode="json")
        return canonical_json({**content, "sha256": hashlib.sha256(canonical_json(content)).hexdigest()})

    @classmethod
    def load(cls, data: bytes) -> "Manifest":
        """The manifest of stored bytes; raises as `read_manifest` does."""
        return read_manifest(data).manifest


class StoredManifest(NamedTuple):
    """A manifest as it was stored; `content` is all of its JSON but the seal, with keys that a later version added."""

    manifest: Manifest
    content: Mapping[str, Any]

    def refusal(self, keys: PublicKeys) -> str | None:
        """Why it is not vouched for by one of the keys, None where it is; it must have a signature."""
        signature = self.manifest.signature
        if signature is None:
            raise AssertionError("a manifest without a signature has none that could be refused")
        return keys.refusal(signed_part(self.content), key_id=signature.key_id, value=signature.value)


def read_manifest(data: bytes) -> StoredManifest:
    """The manifest of stored bytes; keys that a later version may add are passed over once the seal is checked.

    Raises `ManifestError` where the bytes are not what was sealed, to the byte, or of another version.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"this is not a manifest: it has more than {MAX_MANIFEST_BYTES:,} bytes")
    try:
        content = json.loads(data)
        sealed = content.pop("sha256")
        seal = hashlib.sha256(canonical_json(content)).hexdigest()
        intact = data == canonical_json({**content, "sha256": seal}) and seal == sealed
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError):
        raise ManifestError("this is not a manifest: a JSON object with its own sha256 was expected") from None
    if not intact:
        raise ManifestError("the manifest was changed after it was written: its sha256 does not match")
    if (version := content.get("version")) != MANIFEST_VERSION:
        raise ManifestError(f"the manifest has version {version!r:.20}; this export-pipeline reads {MANIFEST_VERSION}")
    try:
        return StoredManifest(Manifest.model_validate(content), content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "manifest"
        raise ManifestError(f"the manifest is not valid: {ascii(where)[1:-1]:.100}: {first['msg']:.300}") from None


def signed_part(content: Mapping[str, Any]) -> bytes:
    """What is signed of a manifest's content: all of it but the signature itself."""
    return canonical_json({name: value for name, value in content.items() if name != "signature"})


def canonical_json(content: Any) -> bytes:
    """JSON with sorted keys and without spaces, in UTF-8: the same bytes for the same content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def schema_fingerprint(schema: "pa.Schema") -> str:
    """SHA-256 of a file's columns: names, types and whether they may be null, in order."""
    columns = [[field.name, str(field.type), field.nullable] for field in schema]
    return hashlib.sha256(canonical_json(columns)).hexdigest()


def manifest_json_schema() -> dict[str, Any]:
    """The JSON Schema of a stored manifest, as it is published."""
    schema = Manifest.model_json_schema(mode="serialization")
    schema["properties"]["sha256"] = {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "SHA-256 of this manifest's canonical JSON without this key.",
    }
    schema["required"] = sorted({*schema["required"], "sha256"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
