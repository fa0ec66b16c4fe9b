"""What a store says of the things in a bucket."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ObjectInfo:
    """An object of the bucket; `version_id` is None where the bucket keeps no versions, or in listings."""

    key: str
    size: int
    etag: str
    version_id: str | None
    modified: datetime


@dataclass(frozen=True)
class Completed:
    """What the store answered to a completed upload."""

    etag: str
    version_id: str | None


@dataclass(frozen=True)
class OpenUpload:
    """A multipart upload that is neither completed nor aborted."""

    key: str
    upload_id: str
    initiated: datetime
