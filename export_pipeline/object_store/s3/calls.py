"""How an S3 operation is carried out: counted, classified, and repeated where that makes sense."""

import base64
import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from export_pipeline.backoff import Backoff
from export_pipeline.errors import DestinationError, DestinationUnavailableError
from export_pipeline.object_store.config import DestinationConfig
from export_pipeline.object_store.protocol import Digest
from export_pipeline.object_store.s3.classify import classify, not_s3

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_LONGEST_WORD = 2_048


def _whole(answer: dict[str, Any]) -> Any:
    return answer


def body_of(answer: dict[str, Any], most: int | None) -> bytes:
    """What the store sends, at most so many bytes of it; raises where it breaks off, or sends more than it says."""
    body, length = answer["Body"], answer["ContentLength"]
    size = length if most is None else min(length, most)
    data = bytes(body.read(size))
    # Past the end botocore compares checksums, and the connection is given back.
    if len(data) == size == length and not body.read(1):
        return data
    body.close()  # the rest is not waited for
    if len(data) < size or size == length:
        raise ConnectionError(f"{len(data)} of {length} bytes")
    return data


def etag_of(answer: dict[str, Any]) -> str:
    """The ETag without quotes; empty where there is none that can be read."""
    return _word(answer.get("ETag")).strip('"')


def version_of(answer: dict[str, Any]) -> str | None:
    """The version of an object, in a bucket that keeps versions."""
    version = _word(answer.get("VersionId"))
    return None if version in {"", "null"} else version


def _word(value: object) -> str:
    """What the store calls a thing, which is stored and sent back; empty where that is no word of a store."""
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST_WORD and text.isascii() and text.isprintable() else ""


def digest_of(body: bytes | bytearray, config: DestinationConfig) -> dict[str, Any]:
    """The MD5 of a body, for stores other than AWS, which gets a checksum from botocore.

    By it every store notices bytes that changed on their way (over http botocore sends a SHA-256, but neither
    SeaweedFS nor rclone compares it), and buckets with Object Lock refuse bodies without one.
    """
    if config.endpoint_url is None:
        return {}
    return {"ContentMD5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}


def digest_known(digest: Digest, config: DestinationConfig) -> dict[str, Any]:
    """The same for a body whose digests are known; its SHA-256 for AWS."""
    if config.endpoint_url is None:
        return {"ChecksumSHA256": base64.b64encode(bytes.fromhex(digest.sha256)).decode()}
    return {"ContentMD5": base64.b64encode(bytes.fromhex(digest.md5)).decode()}


class Calls:
    """The operations of one bucket by their S3 names ("UploadPart")."""

    def __init__(self, config: DestinationConfig, client: Any, *, patience: float) -> None:
        """`patience` is how many seconds an unavailable store is asked again; the client makes one attempt."""
        self.config = config
        self.patience = patience
        self.requests: Counter[str] = Counter()
        self._client = client
        self._lock = threading.Lock()

    def once(self, operation: str, *, take: Callable[[dict[str, Any]], Any] = _whole, **params: Any) -> Any:
        """One attempt; `take` reads the answer, whose failures count as the operation's."""
        from botocore import xform_name

        with self._lock:
            self.requests[operation] += 1
        try:
            return take(getattr(self._client, xform_name(operation))(Bucket=self.config.bucket, **params))
        except DestinationError:
            raise
        except Exception as error:  # noqa: BLE001 -- botocore and urllib3 raise from many trees; classify knows them
            raise classify(error, self.config, operation) from None

    def call(
        self,
        operation: str,
        *,
        stop: threading.Event | None = None,
        take: Callable[[dict[str, Any]], Any] = _whole,
        **params: Any,
    ) -> Any:
        """The operation, repeated while the store is unavailable; `stop` ends the waiting."""
        backoff = self.backoff(stop)
        while True:
            try:
                return self.once(operation, take=take, **params)
            except DestinationUnavailableError:
                if not backoff.wait():
                    raise

    def backoff(self, stop: threading.Event | None = None) -> Backoff:
        """The pauses between attempts at one operation."""
        return Backoff(self.patience, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE, stop=stop)

    def required(self, answer: dict[str, Any], name: str, operation: str) -> str:
        """A part of an answer that every S3 store gives; without it this is some other server."""
        if not (value := _word(answer.get(name))):
            raise not_s3(self.config, operation, name)
        return value
