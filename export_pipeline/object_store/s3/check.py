"""The destination check: what the credentials may do in the bucket, found out by doing it.

The probe is written to `<prefix>/_export_pipeline/probes/`, outside of what readers glob, and removed again. Only
writing is required. A web server that answers everything with 200 is told from an S3 store by what every S3 answer
holds: ETag, upload id, the bytes that were written.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from export_pipeline.errors import DestinationError, DestinationRefusedError
from export_pipeline.object_store.s3.calls import Calls, body_of, digest_of
from export_pipeline.object_store.s3.classify import not_s3
from export_pipeline.object_store.s3.client import upload_options
from export_pipeline.object_store.s3.store import S3Store

PATIENCE = 3.0
"""For how many seconds a step that is not answered is tried again."""

_LOST: dict[str, str] = {
    "read": "Without s3:GetObject commits are believed on the store's word, and `verify` and `recover` cannot work.",
    "list": "Without s3:ListBucket commits of another control database are not noticed, "
    "and `verify` and `recover` cannot work.",
    "delete": "Without s3:DeleteObject a day that has become empty keeps its old file.",
    "abort": "Without s3:AbortMultipartUpload parts of failed attempts stay and cost money: "
    "give the bucket a lifecycle rule that aborts incomplete uploads.",
    "conditional_writes": "The store has no conditional writes (If-None-Match): "
    "only one control database may export to this prefix.",
}


@dataclass(frozen=True)
class Capabilities:
    """What works: `write` is needed, the others only make it better."""

    write: bool = False
    read: bool = False
    list: bool = False
    delete: bool = False
    abort: bool = False
    conditional_writes: bool = False

    @property
    def losses(self) -> tuple[str, ...]:
        """What is lost by each missing one, as sentences."""
        return tuple(text for name, text in _LOST.items() if not getattr(self, name))

    def __str__(self) -> str:
        rights = [name for name in ("write", "read", "list", "delete", "abort") if getattr(self, name)]
        conditional = "conditional writes work" if self.conditional_writes else "no conditional writes"
        return f"may {', '.join(rights) or 'nothing'}; {conditional}"


@dataclass(frozen=True)
class DestinationCheck:
    """The result: `error` is why nothing can be exported there, None where it can.

    `warnings` say what is lost by each missing capability. `left_behind` is the key of a probe that could not be
    removed.
    """

    capabilities: Capabilities
    error: DestinationError | None = None
    warnings: tuple[str, ...] = ()
    left_behind: str | None = None

    @property
    def ok(self) -> bool:
        """Whether exports can be written there."""
        return self.error is None

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps exports from being written there, as sentences."""
        return () if self.error is None else (str(self.error),)


def check_destination(store: S3Store, prefix: str) -> DestinationCheck:
    """Writes, reads, lists and deletes a probe, and begins and aborts an upload; raises nothing of the store's."""
    probe = _Probe(store, prefix)
    outcomes: dict[str, bool] = {}
    error: DestinationError | None = None
    try:
        probe.write()
        outcomes["conditional_writes"] = probe.conditional()
        outcomes["abort"] = probe.upload()
        outcomes["read"] = probe.read()
        outcomes["write"] = True
        outcomes["list"] = _allowed(probe.listed)
    except DestinationError as raised:
        error = raised
    if probe.written:
        try:
            outcomes["delete"] = _allowed(probe.delete)
        except DestinationError as raised:
            error = error or raised
    capabilities = Capabilities(**outcomes)
    left = probe.key if probe.written and not outcomes.get("delete") else None
    return DestinationCheck(capabilities, error, () if error else capabilities.losses, left)


class _Probe:
    def __init__(self, store: S3Store, prefix: str) -> None:
        name = uuid.uuid4()
        self.key = f"{prefix}/_export_pipeline/probes/{name}" if prefix else f"_export_pipeline/probes/{name}"
        self.written = False
        self._versions: list[str] = []
        self._body = f"written by the destination check of export-pipeline: {name}\n".encode()
        self._digest = digest_of(self._body, store.config)
        self._calls = Calls(store.config, store.client, patience=PATIENCE)

    def write(self) -> None:
        put = {"Key": self.key, "Body": self._body, "ContentType": "text/plain", **self._digest}
        answer = self._calls.call("PutObject", **put)
        self._calls.required(answer, "ETag", "PutObject")
        self.written = True
        self._remember(answer)

    def conditional(self) -> bool:
        put = {"Key": self.key, "Body": self._body, "ContentType": "text/plain", "IfNoneMatch": "*", **self._digest}
        try:
            self._remember(self._calls.once("PutObject", **put))
        except DestinationError as error:
            return error.code in {"PreconditionFailed", "412"}
        return False

    def upload(self) -> bool:
        """Begins an upload, adds a part, aborts it; False where only the abort is refused."""
        answer = self._calls.call("CreateMultipartUpload", Key=self.key, **upload_options(self._calls.config))
        upload_id = self._calls.required(answer, "UploadId", "CreateMultipartUpload")
        upload: dict[str, Any] = {"Key": self.key, "UploadId": upload_id}
        try:
            answer = self._calls.call("UploadPart", PartNumber=1, Body=self._body, **upload, **self._digest)
            self._calls.required(answer, "ETag", "UploadPart")
        finally:
            aborted = _allowed(lambda: self._calls.call("AbortMultipartUpload", **upload))
        return aborted

    def read(self) -> bool:
        try:
            body = self._calls.call("GetObject", Key=self.key, take=partial(body_of, most=len(self._body) + 1))
        except DestinationRefusedError:
            return False
        if body != self._body:
            raise not_s3(self._calls.config, "GetObject", "bytes that were written")
        return True

    def listed(self) -> None:
        self._calls.call("ListObjectsV2", Prefix=self.key, MaxKeys=1)

    def delete(self) -> None:
        self._remember(self._calls.call("DeleteObject", Key=self.key))
        for version in self._versions:  # in a bucket with versions the deletion itself is the last of them
            if not _allowed(partial(self._calls.call, "DeleteObject", Key=self.key, VersionId=version)):
                break  # a kept version would come to light without the deletion

    def _remember(self, answer: dict[str, Any]) -> None:
        if (version := answer.get("VersionId")) not in (None, "", "null"):
            self._versions.append(str(version))


def _allowed(step: Callable[[], object]) -> bool:
    try:
        step()
    except DestinationRefusedError:
        return False
    return True
