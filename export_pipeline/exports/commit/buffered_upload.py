"""Where a day's file goes while it is written: memory first, an upload as soon as it exceeds one part.

A day that turns out to be unchanged, empty or refused costs no S3 request if it fits into one part.
"""

from collections.abc import Callable
from typing import Any

from export_pipeline.object_store.upload import PartUpload, UploadedFile


class BufferedUpload:
    """A file-like object with `write`; `open_upload` creates the upload once it is needed."""

    def __init__(self, open_upload: Callable[[], PartUpload], *, part_bytes: int) -> None:
        self._open_upload = open_upload
        self._part_bytes = part_bytes
        self._held = bytearray()
        self._upload: PartUpload | None = None
        self.bytes = 0

    def write(self, data: Any, /) -> int:
        """Takes bytes; raises what the upload met since the last call."""
        size = memoryview(data).nbytes
        self.bytes += size
        if self._upload is None and len(self._held) + size < self._part_bytes:
            self._held += data
        else:
            self._opened().write(data)
        return size

    def finish(self) -> UploadedFile:
        """Waits until every part lies in the store; nothing is visible there before Complete."""
        return self._opened().finish()

    @property
    def upload(self) -> PartUpload | None:
        """The upload, where one was created."""
        return self._upload

    def close(self) -> None:
        """Ends the upload's thread; completes and aborts nothing."""
        self._held.clear()
        if self._upload is not None:
            self._upload.close()

    def _opened(self) -> PartUpload:
        if self._upload is None:
            self._upload = self._open_upload()
            self._upload.write(self._held)
            self._held = bytearray()
        return self._upload
