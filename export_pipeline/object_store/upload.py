"""A file on its way into a multipart upload: written here, uploaded part by part on one background thread."""

import hashlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from export_pipeline.errors import DayTooLargeError
from export_pipeline.object_store.protocol import ObjectStore

MAX_PARTS = 10_000


@dataclass(frozen=True)
class UploadedFile:
    """All parts of an upload that is not yet complete; `sha256` is of the file's bytes, in hexadecimal."""

    upload_id: str
    parts: list[tuple[int, str]]
    bytes: int
    sha256: str


class PartUpload:
    """Takes a file's bytes in order; `finish` tells the parts, for somebody else to complete.

    At most three buffers of `part_bytes` exist: one being filled, one waiting, one being uploaded, so a slow store
    slows `write` down. Nothing here completes or aborts the upload. An error of the thread is raised by the next
    `write` or by `finish`; after it, or after `close`, nothing more is uploaded.
    """

    def __init__(
        self, store: ObjectStore, key: str, upload_id: str, *, part_bytes: int, max_parts: int = MAX_PARTS
    ) -> None:
        """Starts the thread; use it in a `with` block, or call `close`."""
        self._store = store
        self._key = key
        self._upload_id = upload_id
        self._part_bytes = part_bytes
        self._max_parts = max_parts
        self._buffer = bytearray()
        self._handed = 0
        self._bytes = 0
        self._uploaded = 0
        self._sha256 = hashlib.sha256()
        self._parts: list[tuple[int, str]] = []
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._queue: queue.Queue[tuple[int, bytearray] | None] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._run, name=f"upload {key[-40:]}", daemon=True)
        self._thread.start()

    @property
    def bytes_uploaded(self) -> int:
        """Bytes that the store has confirmed so far."""
        return self._uploaded

    def write(self, data: Any, /) -> int:
        """Takes bytes; blocks while two parts wait to be uploaded. Raises the thread's error, `DayTooLargeError`."""
        self._raise()
        view = memoryview(data).cast("B")
        rest = view
        while len(rest):
            room = self._part_bytes - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]
            if len(self._buffer) == self._part_bytes:
                self._hand_over()
        self._bytes += len(view)
        return len(view)

    def finish(self) -> UploadedFile:
        """Waits until all is uploaded; raises the thread's error. Without any bytes there are no parts."""
        self._raise()
        if self._buffer:
            self._hand_over()
        self._end()
        self._raise()
        return UploadedFile(self._upload_id, self._parts, self._bytes, self._sha256.hexdigest())

    def close(self) -> None:
        """Ends the thread without uploading what is left; returns when no request is under way any more."""
        self._stop.set()
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hand_over(self) -> None:
        if self._handed == self._max_parts:
            raise DayTooLargeError(
                f"The file is larger than {self._max_parts} parts of {self._part_bytes} bytes; nothing was committed. "
                "Enlarge EXPORT_PIPELINE_PART_SIZE_MIB."
            )
        self._handed += 1
        self._queue.put((self._handed, self._buffer))
        self._buffer = bytearray()
        self._raise()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
        if self._stop.is_set():
            raise ValueError("this upload is closed")

    def _run(self) -> None:
        # After an error or a stop parts are taken and dropped, so that the writer never waits for nobody.
        while (item := self._queue.get()) is not None:
            if self._error is not None or self._stop.is_set():
                continue
            try:
                self._upload(*item)
            except BaseException as error:  # noqa: BLE001 -- raised again in the writer's thread
                self._error = error
            del item  # gives the buffer back before the next wait

    def _upload(self, number: int, body: bytearray) -> None:
        self._sha256.update(body)
        receipt = self._store.upload_part(self._key, self._upload_id, number, body, stop=self._stop)
        self._parts.append((number, receipt))
        self._uploaded += len(body)


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
