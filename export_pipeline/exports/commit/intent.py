"""What is decided at the commit point, in the form that the control database keeps.

An intent holds everything that is needed to carry a commit out, so that any process can do it after the one that
decided it has died, and with the same result to the byte: the upload to complete, the manifest to write, and the
object to delete where the day has become empty.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class _Planned(BaseModel):
    model_config = ConfigDict(frozen=True)


class PlannedUpload(_Planned):
    """A multipart upload whose parts (number, ETag) lie in the store; completed, it is the object `key`."""

    key: str
    upload_id: str
    parts: tuple[tuple[int, str], ...]
    bytes: int


class PlannedDelete(_Planned):
    """The committed object of a day that has become empty; only the object of this commit is deleted."""

    key: str
    commit_id: uuid.UUID
    bytes: int


class Intent(_Planned):
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
