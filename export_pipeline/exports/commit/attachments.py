"""Attachments of a day's runs, on their way into the bucket.

An attachment lies under the SHA-256 of its bytes, so all days and exports of a project share it, and one that is there
is not written again. It is written before the day's manifest. Where the day is not committed after all, the object
stays: nothing names it, and the next attempt finds it. Nothing deletes attachments.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable
from tempfile import SpooledTemporaryFile, gettempdir
from typing import IO

from typing_extensions import override

from export_pipeline.errors import AccessDeniedError, DestinationUnavailableError, RetryableError
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.files.paths import attachment_key
from export_pipeline.object_store.protocol import Digest, ObjectMissingError, ObjectStore
from export_pipeline.settings import MIB
from export_pipeline.sources.protocol import AttachmentSink, KeptAttachment

MISSING = "extra: an attachment is missing"
"""What the manifest counts attachments by that were not to be had."""
_IN_MEMORY = MIB
_BLOCK = 4 * MIB


class AttachmentSpoolError(RetryableError):
    """This machine has no room for an attachment on its way."""


class NamedAttachments(AttachmentSink):
    """Reads attachments and writes nothing: for whoever compares what their runs say of them."""

    def __init__(self, table: TableRecord) -> None:
        self._table = table
        self._lock = threading.Lock()
        self.count = self.bytes = self.missing = 0

    @override
    def keep(self, pieces: Iterable[bytes]) -> KeptAttachment:
        return self._named(_digest(pieces, lambda _: None))

    @override
    def miss(self) -> None:
        with self._lock:
            self.missing += 1

    def _named(self, digest: Digest) -> KeptAttachment:
        with self._lock:
            self.count += 1
            self.bytes += digest.size
        table = self._table
        key = attachment_key(table.prefix, table.tenant_id, table.session_id, digest.sha256)
        return KeptAttachment(key, digest.sha256, digest.size)


class CopiedAttachments(NamedAttachments):
    """Writes attachments into the bucket; `check` raises where the day is not to be gone on with."""

    def __init__(self, table: TableRecord, store: ObjectStore, check: Callable[[], None]) -> None:
        super().__init__(table)
        self._store, self._check = store, check

    @override
    def keep(self, pieces: Iterable[bytes]) -> KeptAttachment:
        self._check()
        with SpooledTemporaryFile(_IN_MEMORY, prefix="attachment-") as spool:
            digest = _digest(pieces, lambda piece: _spooled(spool, piece))
            kept = self._named(digest)
            if not self._is_there(kept.key, digest, unreadable=False):
                self._check()
                self._store.put_file(kept.key, spool, digest)
                if not self._is_there(kept.key, digest, unreadable=True):
                    raise DestinationUnavailableError(
                        f"The store has taken {kept.key} and does not give back what was written. Try again later.",
                        error_class="Unavailable",
                    )
        return kept

    def _is_there(self, key: str, digest: Digest, *, unreadable: bool) -> bool:
        """Whether the object has these bytes; `unreadable` is the answer where it may not be looked at."""
        try:
            info = self._store.stat(key)
            if info is None or info.size != digest.size:
                return False
            # Many stores give the MD5 as ETag; what else they may give says nothing.
            return info.etag == digest.md5 or sha256_of(self._store, key, info.size) == digest.sha256
        except AccessDeniedError:
            return unreadable
        except ObjectMissingError:
            return False


def sha256_of(store: ObjectStore, key: str, size: int) -> str:
    """The SHA-256 of an object, read block by block."""
    found = hashlib.sha256()
    for start in range(0, size, _BLOCK):
        found.update(store.read(key, start, min(start + _BLOCK, size)))
    return found.hexdigest()


def _spooled(spool: IO[bytes], piece: bytes) -> None:
    try:
        spool.write(piece)
    except OSError as error:
        raise AttachmentSpoolError(
            f"an attachment cannot be held in {gettempdir()} on its way: {error.strerror}; make room there, or name "
            "another folder in TMPDIR"
        ) from None


def _digest(pieces: Iterable[bytes], take: Callable[[bytes], object]) -> Digest:
    size, sha256, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        size += len(piece)
        sha256.update(piece)
        md5.update(piece)
        take(piece)
    return Digest(size, sha256.hexdigest(), md5.hexdigest())
