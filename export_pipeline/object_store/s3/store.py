"""The few S3 calls that publishing needs, each with a defined end.

Ordinary calls are repeated with backoff and jitter while the store is unavailable, for at most `patience` seconds.
The two calls whose repetition would hide what happened are made once: CompleteMultipartUpload, and a PUT with
`If-None-Match` (its own repetition would be answered 412 after the first answer was lost). Errors are
`DestinationError`s and those of `protocol`.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from typing_extensions import override

from export_pipeline.errors import DestinationError, DestinationRefusedError, DestinationUnavailableError
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.protocol import (
    Completed,
    Digest,
    ObjectInfo,
    ObjectMissingError,
    ObjectStore,
    OpenUpload,
    OutcomeUnknownError,
    ReaderAccess,
    UploadGoneError,
)
from export_pipeline.object_store.s3.calls import Calls, body_of, digest_known, digest_of, etag_of, version_of
from export_pipeline.object_store.s3.client import make_client, upload_options
from export_pipeline.object_store.s3.listing import listed
from export_pipeline.object_store.s3.reader_access import reader_access

_GONE = frozenset({"NoSuchUpload", "InvalidPart", "InvalidPartOrder"})
_NOT_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_HEAD_CODES = frozenset({"400", "403", "404", "NoSuchKey"})
_NO_CONDITIONS = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501"})
_CHECKSUM = " crc32="
_TYPES = {".parquet": "application/vnd.apache.parquet", ".json": "application/json"}


class S3Store(ObjectStore):
    """A bucket of S3, or of a store that is compatible with it."""

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

    @override
    def with_patience(self, seconds: float) -> "S3Store":
        return S3Store(self.config, None, patience=seconds, client=self.client)

    @property
    @override
    def requests(self) -> Counter[str]:
        return self._calls.requests

    def __repr__(self) -> str:
        return f"S3Store({self.config!r})"

    @override
    def begin_upload(self, key: str) -> tuple[str, bool]:
        upload = {"Key": key, "ContentType": content_type(key), **upload_options(self.config)}
        doubtful = False
        try:
            answer = self._calls.once("CreateMultipartUpload", **upload)
        except DestinationUnavailableError:
            doubtful = True
            answer = self._calls.call("CreateMultipartUpload", **upload)
        return self._calls.required(answer, "UploadId", "CreateMultipartUpload"), doubtful

    @override
    def upload_part(
        self, key: str, upload_id: str, number: int, body: bytes | bytearray, *, stop: threading.Event | None = None
    ) -> str:
        # The receipt is the ETag, followed by a checksum where one was made (on AWS).
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

    @override
    def complete(self, key: str, upload_id: str, parts: Sequence[tuple[int, str]]) -> Completed:
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

    @override
    def abort(self, key: str, upload_id: str) -> None:
        try:
            self._calls.call("AbortMultipartUpload", Key=key, UploadId=upload_id)
        except DestinationRefusedError as error:
            if error.code not in {"NoSuchUpload", "NoSuchKey", "404"}:
                raise

    @override
    def list_uploads(self, key: str) -> list[str]:
        return [upload.upload_id for upload in self.uploads_below(key) if upload.key == key]

    @override
    def uploads_below(self, prefix: str) -> Iterator[OpenUpload]:
        def take(answer: dict[str, Any]) -> tuple[list[OpenUpload], dict[str, Any]]:
            uploads = [
                OpenUpload(item["Key"], item["UploadId"], item["Initiated"]) for item in answer.get("Uploads", ())
            ]
            if not answer.get("IsTruncated"):
                return uploads, {}
            last = answer["Uploads"][-1]  # SeaweedFS names no markers
            return uploads, {
                "KeyMarker": answer.get("NextKeyMarker") or last["Key"],
                "UploadIdMarker": answer.get("NextUploadIdMarker") or last["UploadId"],
            }

        try:
            yield from listed(self._calls, "ListMultipartUploads", take, prefix=prefix)
        except DestinationRefusedError as error:
            if error.code != "NoSuchUpload":  # what rclone says where there are none
                raise

    @override
    def stat(self, key: str) -> ObjectInfo | None:
        def take(answer: dict[str, Any]) -> ObjectInfo:
            size, modified = answer["ContentLength"], answer["LastModified"]
            return ObjectInfo(key, size, etag_of(answer), version_of(answer), modified)

        for _ in range(2):
            try:
                info: ObjectInfo = self._calls.call("HeadObject", take=take, Key=key)
                return info
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

    @override
    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
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

    @override
    def read_end(self, key: str, start: int, end: int) -> tuple[ObjectInfo, bytes]:

        def take(answer: dict[str, Any]) -> tuple[ObjectInfo, bytes]:
            total = answer.get("ContentRange", "").rpartition("/")[2]
            whole = not total.isdecimal()  # the store sends an object from its begin on
            body = body_of(answer, end if whole else end - start)
            size = answer["ContentLength"] if whole else int(total)
            info = ObjectInfo(key, size, etag_of(answer), version_of(answer), answer["LastModified"])
            return info, body[start:] if whole else body

        end_of_object: tuple[ObjectInfo, bytes] = self._get(take, Key=key, Range=f"bytes={start}-{end - 1}")
        return end_of_object

    @override
    def put(self, key: str, body: bytes) -> None:
        answer = self._calls.call(
            "PutObject", Key=key, Body=body, ContentType=content_type(key), **digest_of(body, self.config)
        )
        self._calls.required(answer, "ETag", "PutObject")

    @override
    def put_file(self, key: str, file: IO[bytes], digest: Digest) -> None:
        backoff = self._calls.backoff()
        sent: dict[str, Any] = {
            "Key": key,
            "ContentType": content_type(key),
            "ContentLength": digest.size,
            **digest_known(digest, self.config),
        }
        while True:
            file.seek(0)
            try:
                answer = self._calls.once("PutObject", Body=file, **sent)
            except DestinationUnavailableError:
                if not backoff.wait():
                    raise
            else:
                self._calls.required(answer, "ETag", "PutObject")
                return

    @override
    def put_once(self, key: str, body: bytes) -> bool:
        backoff = self._calls.backoff()
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

    @override
    def put_over(self, key: str, body: bytes, etag: str | None) -> bool:
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

    @override
    def delete_if(self, key: str, etag: str) -> bool:
        info = self.stat(key)
        if info is None:
            return True
        if info.etag != etag.strip('"'):
            return False
        try:
            # AWS compares the ETag once more in the delete itself; other stores ignore or refuse the condition.
            self._calls.call("DeleteObject", Key=key, IfMatch=f'"{info.etag}"')
        except DestinationRefusedError as error:
            if error.code in {"PreconditionFailed", "412"}:
                return False
            if error.code not in _NO_CONDITIONS:
                raise
            self._calls.call("DeleteObject", Key=key)
        return True

    @override
    def delete(self, key: str) -> None:
        self._calls.call("DeleteObject", Key=key)

    @override
    def list(self, prefix: str) -> Iterator[ObjectInfo]:

        def take(answer: dict[str, Any]) -> tuple[list[ObjectInfo], dict[str, Any]]:
            objects = [
                ObjectInfo(item["Key"], item["Size"], etag_of(item), None, item["LastModified"])
                for item in answer.get("Contents", ())
            ]
            return objects, {"ContinuationToken": answer["NextContinuationToken"]} if answer.get("IsTruncated") else {}

        return listed(self._calls, "ListObjectsV2", take, prefix=prefix)

    @override
    def reader_access(self) -> ReaderAccess:
        return reader_access(self.config, self.client)

    @override
    def close(self) -> None:
        self.client.close()


def content_type(key: str) -> str:
    """The media type of an object by its key; always sent, because some stores refuse to guess."""
    return next((kind for suffix, kind in _TYPES.items() if key.endswith(suffix)), "application/octet-stream")
