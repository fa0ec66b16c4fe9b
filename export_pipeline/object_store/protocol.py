"""What a store of objects must be able to do, and what it says of them.

Whoever publishes needs few calls, each with a defined end. A store repeats those whose repetition does no harm while it
is unavailable; `complete` and `put_once` tell apart what was done, what was refused and what nobody knows. Errors are
`DestinationError`s and those below; ETags are told without quotes.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Protocol

from export_pipeline.errors import DestinationRefusedError, RetryableError
from export_pipeline.object_store.config import DestinationConfig


@dataclass(frozen=True)
class ObjectInfo:
    """An object of the bucket; `version_id` is None where the bucket keeps no versions, or in listings."""

    key: str
    size: int
    etag: str
    version_id: str | None
    modified: datetime


@dataclass(frozen=True)
class Digest:
    """What the bytes of a file come to; hashes in hexadecimal. MD5 is what stores compare."""

    size: int
    sha256: str
    md5: str


@dataclass(frozen=True)
class Completed:
    """What the store answered to a completed upload."""

    etag: str
    version_id: str | None


@dataclass(frozen=True)
class ReaderAccess:
    """How a reader with a client of its own, as Polars has one, reaches a store.

    `root` is the address of the bucket, `options` are named as in Rust's object_store; `credentials` gives those of now
    and when they are to be asked for again (epoch seconds).
    """

    root: str
    options: dict[str, str]
    credentials: Callable[[], tuple[dict[str, str], int | None]]

    def uri(self, key: str) -> str:
        """The address of an object."""
        return f"{self.root}/{key}"


@dataclass(frozen=True)
class OpenUpload:
    """A multipart upload that is neither completed nor aborted."""

    key: str
    upload_id: str
    initiated: datetime


class OutcomeUnknownError(RetryableError):
    """The store may or may not have done it: the answer was lost, was a 5xx, or said that somebody was first."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class UploadGoneError(RetryableError):
    """The multipart upload, or a part of it, is not there: completed, aborted, or removed by a lifecycle rule."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class ObjectMissingError(DestinationRefusedError):
    """The object that was to be read is not in the bucket."""


class ObjectStore(Protocol):
    """One bucket. Its methods may be called from several threads at once."""

    config: DestinationConfig

    def with_patience(self, seconds: float) -> "ObjectStore":
        """The same bucket over the same connections, asked again for so many seconds while it is unavailable."""

    @property
    def requests(self) -> Counter[str]:
        """Requests made so far, by operation."""

    def begin_upload(self, key: str) -> tuple[str, bool]:
        """Begins an upload that nobody sees; its id, and whether an earlier call may have begun another, lost one."""

    def upload_part(
        self, key: str, upload_id: str, number: int, body: bytes | bytearray, *, stop: threading.Event | None = None
    ) -> str:
        """Uploads a part, counted from 1, and tells its receipt, which is for `complete` only.

        Waiting between attempts ends when `stop` is set. Raises `UploadGoneError`.
        """

    def complete(self, key: str, upload_id: str, parts: Sequence[tuple[int, str]]) -> Completed:
        """Makes an upload visible, whole and once; one attempt. `parts` are numbers and receipts.

        Raises `OutcomeUnknownError` where the store may have done it, `UploadGoneError` where the upload or a part of
        it is not there, `DestinationRefusedError` where it certainly refused.
        """

    def abort(self, key: str, upload_id: str) -> None:
        """Removes an upload and its parts; one that is not there is fine."""

    def list_uploads(self, key: str) -> list[str]:
        """The ids of the open uploads of exactly this key; needs the right to list uploads."""

    def uploads_below(self, prefix: str) -> Iterator[OpenUpload]:
        """The open uploads of all keys that begin with `prefix`; needs the right to list uploads."""

    def stat(self, key: str) -> ObjectInfo | None:
        """What the store knows of an object, None where there is none.

        Raises `DestinationRefusedError` where it may not be looked at, also where the whole bucket is missing.
        """

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes `start <= i < end` of an object, or all of it; raises `ObjectMissingError`.

        Where an end is given no more is read than that, whatever the store sends.
        """

    def read_end(self, key: str, start: int, end: int) -> tuple[ObjectInfo, bytes]:
        """The bytes `start <= i < end`, and what `stat` would tell, in one request; raises `ObjectMissingError`.

        Raises `DestinationUnavailableError` where the object is not longer than `start`.
        """

    def put(self, key: str, body: bytes) -> None:
        """Writes an object, whatever is there."""

    def put_file(self, key: str, file: IO[bytes], digest: Digest) -> None:
        """Writes an object of any size out of a seekable file, whatever is there."""

    def put_once(self, key: str, body: bytes) -> bool:
        """Writes an object unless another one is there: True where `body` is there now, False where other bytes are.

        Stores without conditional writes overwrite. Where an object is there and may not be read, it counts as ours:
        such keys carry an epoch, and only its holder writes them.
        """

    def put_over(self, key: str, body: bytes, etag: str | None) -> bool:
        """Writes an object in place of the one that has this ETag, or of none: False where another one is there now.

        Stores that ignore or refuse such conditions overwrite. One attempt: False also where the answer was lost, so
        look again.
        """

    def delete_if(self, key: str, etag: str) -> bool:
        """Deletes an object that still has this ETag: True where it is gone, False where another one is there."""

    def delete(self, key: str) -> None:
        """Deletes an object, whatever it is; one that is not there is fine."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose keys begin with `prefix`, in the order of their keys."""

    def reader_access(self) -> ReaderAccess:
        """What a reader with a client of its own needs, with the credentials that this store signs with."""

    def close(self) -> None:
        """Closes the connections."""
