"""The few S3 calls that publishing needs, each with a defined end.

Ordinary calls are repeated with backoff and jitter while the store is unavailable, for at most `patience` seconds.
The two calls whose repetition would hide what happened are made once: CompleteMultipartUpload, and a PUT with
`If-None-Match` (its own repetition would be answered 412 after the first answer was lost). Errors are
`DestinationError`s and those of `outcomes`; ETags are told without quotes.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from export_pipeline.destinations.calls import Backoff, Calls, body_of, digest_of, etag_of, version_of
from export_pipeline.destinations.classify import not_s3
from export_pipeline.destinations.client import make_client, upload_options
from export_pipeline.destinations.config import Credentials, DestinationConfig
from export_pipeline.destinations.objects import Completed, ObjectInfo, OpenUpload
from export_pipeline.destinations.outcomes import ObjectMissingError, OutcomeUnknownError, UploadGoneError
from export_pipeline.errors import DestinationError, DestinationRefusedError, DestinationUnavailableError

__all__ = [
    "Completed",
    "ObjectInfo",
    "ObjectMissingError",
    "ObjectStore",
    "OpenUpload",
    "OutcomeUnknownError",
    "UploadGoneError",
]

_GONE = frozenset({"NoSuchUpload", "InvalidPart", "InvalidPartOrder"})
_NOT_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_HEAD_CODES = frozenset({"400", "403", "404", "NoSuchKey"})
_NO_CONDITIONS = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501"})
_CHECKSUM = " crc32="
_TYPES = {".parquet": "application/vnd.apache.parquet", ".json": "application/json"}


class ObjectStore:
    """One bucket. Its methods may be called from several threads at once."""

    def __init__(
        self,
        config: DestinationConfig,
        credentials: Credentials | None,
        *,
        patience: float = 60.0,
        client: Any = None,
    ) -> None:
        """`patience` is how many seconds an unavailable store is asked again; a `client` must make one attempt."""
        self.config = config
        self.client = make_client(config, credentials) if client is None else client
        self._calls = Calls(config, self.client, patience=patience)

    def with_patience(self, seconds: float) -> "ObjectStore":
        """The same bucket over the same connections, asked again for so many seconds."""
        return ObjectStore(self.config, None, patience=seconds, client=self.client)

    @property
    def requests(self) -> Counter[str]:
        """HTTP requests made so far, by S3 operation."""
        return self._calls.requests

    def __repr__(self) -> str:
        return f"ObjectStore({self.config!r})"

    def create_upload(self, key: str) -> str:
        """Begins a multipart upload and tells its id."""
        return self.begin_upload(key)[0]

    def begin_upload(self, key: str) -> tuple[str, bool]:
        """The same; and whether a call before may have begun another one, whose id was lost with its answer."""
        upload = {"Key": key, "ContentType": content_type(key), **upload_options(self.config)}
        doubtful = False
        try:
            answer = self._calls.once("CreateMultipartUpload", **upload)
        except DestinationUnavailableError:
            doubtful = True
            answer = self._calls.call("CreateMultipartUpload", **upload)
        return self._calls.required(answer, "UploadId", "CreateMultipartUpload"), doubtful

    def upload_part(
        self, key: str, upload_id: str, number: int, body: bytes | bytearray, *, stop: threading.Event | None = None
    ) -> str:
        """Uploads a part and tells its receipt: the ETag, followed by a checksum where one was made (on AWS).

        Receipts are for `complete` only. Waiting between attempts ends when `stop` is set. Raises `UploadGoneError`.
        """
        try:
            answer = self._calls.call(
                "UploadPart",
                stop=stop,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=body,
                **digest_of(body, self.config),
            )
        except DestinationRefusedError as error:
            if error.code in _GONE:
                raise UploadGoneError(str(error), code=error.code) from None
            raise
        checksum = answer.get("ChecksumCRC32")
        return self._calls.required(answer, "ETag", "UploadPart") + (f"{_CHECKSUM}{checksum}" if checksum else "")

    def complete(self, key: str, upload_id: str, parts: Sequence[tuple[int, str]]) -> Completed:
        """Makes an upload visible; one attempt.

        Raises `OutcomeUnknownError` where the store may have done it, `UploadGoneError` where the upload or a part of
        it is not there, `DestinationRefusedError` where it certainly refused.
        """
        listed = []
        for number, receipt in parts:
            etag, _, checksum = receipt.partition(_CHECKSUM)
            listed.append({"PartNumber": number, "ETag": etag} | ({"ChecksumCRC32": checksum} if checksum else {}))
        try:
            answer = self._calls.once(
                "CompleteMultipartUpload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": listed}
            )
        except DestinationError as error:
            if error.code in _GONE:
                raise UploadGoneError(str(error), code=error.code) from None
            if isinstance(error, DestinationUnavailableError) or error.code in _NOT_TAKEN:
                raise OutcomeUnknownError(str(error), code=error.code) from None
            raise
        self._calls.required(answer, "ETag", "CompleteMultipartUpload")
        return Completed(etag_of(answer), version_of(answer))

    def abort(self, key: str, upload_id: str) -> None:
        """Removes an upload and its parts; one that is not there is fine."""
        try:
            self._calls.call("AbortMultipartUpload", Key=key, UploadId=upload_id)
        except DestinationRefusedError as error:
            if error.code not in {"NoSuchUpload", "NoSuchKey", "404"}:
                raise

    def list_uploads(self, key: str) -> list[str]:
        """The ids of the open uploads of exactly this key; needs the right to list uploads."""
        return [upload.upload_id for upload in self.uploads_below(key) if upload.key == key]

    def uploads_below(self, prefix: str) -> Iterator[OpenUpload]:
        """The open uploads of all keys that begin with `prefix`; needs the right to list uploads."""

        def take(answer: dict[str, Any]) -> tuple[list[OpenUpload], dict[str, Any]]:
            found = [OpenUpload(item["Key"], item["UploadId"], item["Initiated"]) for item in answer.get("Uploads", ())]
            if not answer.get("IsTruncated"):
                return found, {}
            last = answer["Uploads"][-1]  # SeaweedFS names no markers
            return found, {
                "KeyMarker": answer.get("NextKeyMarker") or last["Key"],
                "UploadIdMarker": answer.get("NextUploadIdMarker") or last["UploadId"],
            }

        more: dict[str, Any] = {}
        while True:
            try:
                page, following = self._calls.call("ListMultipartUploads", take=take, Prefix=prefix, **more)
            except DestinationRefusedError as error:
                if error.code == "NoSuchUpload":  # what rclone says where there are none
                    return
                raise
            yield from page
            if not following:
                return
            if following == more:
                raise not_s3(self.config, "ListMultipartUploads", "end")
            more = following

    def stat(self, key: str) -> ObjectInfo | None:
        """What the store knows of an object, None where there is none.

        Raises `DestinationRefusedError` where it may not be looked at, also where the whole bucket is missing.
        """

        def take(answer: dict[str, Any]) -> ObjectInfo:
            size, modified = answer["ContentLength"], answer["LastModified"]
            return ObjectInfo(key, size, etag_of(answer), version_of(answer), modified)

        for _ in range(2):
            try:
                found: ObjectInfo = self._calls.call("HeadObject", take=take, Key=key)
                return found
            except DestinationRefusedError as error:
                if error.code not in _HEAD_CODES:
                    raise
            try:  # a HEAD is refused with a bare status; the refusal of a GET says whether object or bucket is missing
                self.read(key, 0, 1)
            except ObjectMissingError:
                return None
        raise DestinationUnavailableError(
            f"The store has {key} and denies it at the same time. Try again later.", error_class="Unavailable"
        )

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes `start <= i < end` of an object, or all of it; raises `ObjectMissingError`.

        Where an end is given no more is read than that, whatever the store sends.
        """
        params: dict[str, Any] = {"Key": key}
        if start is not None or end is not None:
            params["Range"] = f"bytes={start or 0}-{'' if end is None else end - 1}"
        most = None if end is None else end - (start or 0)
        try:
            return bytes(self._get(lambda answer: body_of(answer, most), **params))
        except DestinationUnavailableError as error:
            if error.code != "InvalidRange" or start:
                raise
            return b""  # of an empty object there is no range

    def _get(self, take: Callable[[dict[str, Any]], Any], **params: Any) -> Any:
        try:
            return self._calls.call("GetObject", take=take, **params)
        except DestinationRefusedError as error:
            if error.code == "NoSuchKey":
                raise ObjectMissingError(str(error), error_class=error.error_class, code=error.code) from None
            if error.code == "InvalidRange":  # it was replaced by a shorter one: look again, but ask for something else
                raise DestinationUnavailableError(str(error), error_class=error.error_class, code=error.code) from None
            raise

    def read_end(self, key: str, start: int, end: int) -> tuple[ObjectInfo, bytes]:
        """The bytes `start <= i < end`, and what `stat` would tell, in one request; raises `ObjectMissingError`.

        Raises `DestinationUnavailableError` where the object is not longer than `start`.
        """

        def take(answer: dict[str, Any]) -> tuple[ObjectInfo, bytes]:
            total = answer.get("ContentRange", "").rpartition("/")[2]
            whole = not total.isdecimal()  # the store sends an object from its begin on
            body = body_of(answer, end if whole else end - start)
            size = answer["ContentLength"] if whole else int(total)
            info = ObjectInfo(key, size, etag_of(answer), version_of(answer), answer["LastModified"])
            return info, body[start:] if whole else body

        found: tuple[ObjectInfo, bytes] = self._get(take, Key=key, Range=f"bytes={start}-{end - 1}")
        return found

    def put(self, key: str, body: bytes) -> None:
        """Writes an object, whatever is there."""
        answer = self._calls.call(
            "PutObject", Key=key, Body=body, ContentType=content_type(key), **digest_of(body, self.config)
        )
        self._calls.required(answer, "ETag", "PutObject")

    def put_once(self, key: str, body: bytes) -> bool:
        """Writes an object unless another one is there: True where `body` is there now, False where other bytes are.

        Stores that ignore or refuse `If-None-Match` overwrite. Where an object is there and may not be read, it
        counts as ours: such keys carry an epoch, and only its holder writes them.
        """
        backoff = Backoff(self._calls.patience)
        sent: dict[str, Any] = {
            "Key": key,
            "Body": body,
            "ContentType": content_type(key),
            **digest_of(body, self.config),
        }
        while True:
            try:
                answer = self._calls.once("PutObject", IfNoneMatch="*", **sent)
                self._calls.required(answer, "ETag", "PutObject")
                return True
            except DestinationError as error:
                taken = error.code in _NOT_TAKEN or error.code == "412"
                if error.code in _NO_CONDITIONS:
                    self.put(key, body)
                    return True
                if not taken and not isinstance(error, DestinationUnavailableError):
                    raise
                try:
                    return self.read(key, 0, len(body) + 1) == body
                except ObjectMissingError:
                    pass
                except DestinationRefusedError:
                    if taken and error.code != "ConditionalRequestConflict":
                        return True
                if not backoff.wait():
                    raise

    def put_over(self, key: str, body: bytes, etag: str | None) -> bool:
        """Writes an object in place of the one that has this ETag, or of none: False where another one is there now.

        Stores that ignore or refuse such conditions overwrite. One attempt: False also where the answer was lost, so
        look again.
        """
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": f'"{etag}"'}
        try:
            answer = self._calls.once(
                "PutObject",
                Key=key,
                Body=body,
                ContentType=content_type(key),
                **condition,
                **digest_of(body, self.config),
            )
        except DestinationUnavailableError:
            return False
        except DestinationRefusedError as error:
            if error.code in _NO_CONDITIONS:
                self.put(key, body)
                return True
            if error.code in _NOT_TAKEN | {"412", "NoSuchKey"}:
                return False
            raise
        self._calls.required(answer, "ETag", "PutObject")
        return True

    def delete_if(self, key: str, etag: str) -> bool:
        """Deletes an object that still has this ETag: True where it is gone, False where another one is there."""
        found = self.stat(key)
        if found is None:
            return True
        if found.etag != etag.strip('"'):
            return False
        try:
            # AWS compares the ETag once more in the delete itself; other stores ignore or refuse the condition.
            self._calls.call("DeleteObject", Key=key, IfMatch=f'"{found.etag}"')
        except DestinationRefusedError as error:
            if error.code in {"PreconditionFailed", "412"}:
                return False
            if error.code not in _NO_CONDITIONS:
                raise
            self._calls.call("DeleteObject", Key=key)
        return True

    def delete(self, key: str) -> None:
        """Deletes an object, whatever it is; one that is not there is fine."""
        self._calls.call("DeleteObject", Key=key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose keys begin with `prefix`, in the order of their keys."""

        def take(answer: dict[str, Any]) -> tuple[list[ObjectInfo], str | None]:
            found = [
                ObjectInfo(item["Key"], item["Size"], etag_of(item), None, item["LastModified"])
                for item in answer.get("Contents", ())
            ]
            return found, answer["NextContinuationToken"] if answer.get("IsTruncated") else None

        more: dict[str, Any] = {}
        while True:
            page, token = self._calls.call("ListObjectsV2", take=take, Prefix=prefix, **more)
            yield from page
            if token is None:
                return
            if more == {"ContinuationToken": token}:
                raise not_s3(self.config, "ListObjectsV2", "end")
            more = {"ContinuationToken": token}

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()


def content_type(key: str) -> str:
    """The media type of an object by its key; always sent, because some stores refuse to guess."""
    return next((kind for suffix, kind in _TYPES.items() if key.endswith(suffix)), "application/octet-stream")
