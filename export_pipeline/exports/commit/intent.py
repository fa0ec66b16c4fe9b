"""What is decided at the commit point, in the form that the control database keeps.

An intent holds everything that is needed to carry a commit out, so that any process can do it after the one that
decided it has died, and with the same result to the byte: the upload to complete, the manifest to write, and the
object to delete where the day has become empty.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PlannedUpload:
    """A multipart upload whose parts all lie in the store, to be completed into the object `key`."""

    key: str
    upload_id: str
    parts: tuple[tuple[int, str], ...]
    bytes: int


@dataclass(frozen=True)
class PlannedDelete:
    """The committed object of a day that has become empty; only the object of this commit is deleted."""

    key: str
    commit_id: uuid.UUID
    bytes: int


@dataclass(frozen=True)
class Intent:
    """A commit that was decided on. `manifest` is the manifest's content without what only Complete tells."""

    commit_id: uuid.UUID
    epoch: int
    rows: int
    manifest_key: str
    manifest: Mapping[str, Any]
    snapshot_at: int
    fingerprint: Mapping[str, Any]
    upload: PlannedUpload | None = None
    delete: PlannedDelete | None = None

    @property
    def rows_read(self) -> int:
        """The rows that were read: those of the file and those that were rejected."""
        return self.rows + int(self.manifest["rejected"]["count"])

    def to_json(self) -> dict[str, Any]:
        """As the control database keeps it."""
        upload, delete = self.upload, self.delete
        return {
            "commit_id": str(self.commit_id),
            "epoch": self.epoch,
            "rows": self.rows,
            "manifest_key": self.manifest_key,
            "manifest": dict(self.manifest),
            "snapshot_at": self.snapshot_at,
            "fingerprint": dict(self.fingerprint),
            "upload": upload
            and {"key": upload.key, "upload_id": upload.upload_id, "parts": upload.parts, "bytes": upload.bytes},
            "delete": delete and {"key": delete.key, "commit_id": str(delete.commit_id), "bytes": delete.bytes},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Intent":
        """The inverse of `to_json`."""
        upload, delete = value["upload"], value["delete"]
        return cls(
            commit_id=uuid.UUID(value["commit_id"]),
            epoch=value["epoch"],
            rows=value["rows"],
            manifest_key=value["manifest_key"],
            manifest=value["manifest"],
            snapshot_at=value["snapshot_at"],
            fingerprint=value["fingerprint"],
            upload=upload
            and PlannedUpload(
                key=upload["key"],
                upload_id=upload["upload_id"],
                parts=tuple((number, etag) for number, etag in upload["parts"]),
                bytes=upload["bytes"],
            ),
            delete=delete
            and PlannedDelete(key=delete["key"], commit_id=uuid.UUID(delete["commit_id"]), bytes=delete["bytes"]),
        )
