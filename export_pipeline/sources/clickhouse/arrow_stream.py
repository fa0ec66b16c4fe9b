"""An Arrow stream out of an HTTP answer, of which every byte counts.

ClickHouse sends the status before the rows. What goes wrong afterwards stands as text in the body, or cuts it off, and
Arrow's reader takes the end of a body for the end of the rows. So a stream has ended only where its own mark of the end
came last.
"""

from collections.abc import Generator
from typing import Any, Protocol

import pyarrow as pa

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What every Arrow stream ends with."""
_KEPT = 16_384
"""Bytes of the body's end in which the server's error is looked for."""


class BrokenStreamError(Exception):
    """The body ended without the mark of the end, or holds something else; `tail` is its end."""

    def __init__(self, tail: bytes) -> None:
        super().__init__("the answer ended in the middle of the rows")
        self.tail = tail


class Body(Protocol):
    """What is needed of an answer."""

    def read(self, amount: int | None = None) -> bytes:
        """So many of the next bytes, or fewer."""


class _Tailed:
    """A body whose last bytes are remembered."""

    closed = False

    def __init__(self, body: Body) -> None:
        self._body = body
        self.tail = b""

    def read(self, amount: int = -1) -> bytes:
        piece = self._body.read(amount if amount >= 0 else None)
        if piece:
            self.tail = piece[-_KEPT:] if len(piece) >= _KEPT else (self.tail + piece)[-_KEPT:]
        return piece

    def rest(self) -> bytes:
        """Reads on to the end, and gives the last bytes of all."""
        while self.read(_KEPT):
            pass
        return self.tail


def stream_batches(body: Body) -> Generator[pa.RecordBatch]:
    """The batches of a body as they come. Raises `BrokenStreamError`, or what reading the body raises."""
    tailed: Any = _Tailed(body)
    try:
        with pa.ipc.open_stream(tailed) as reader:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    break
                yield batch
                del batch
    except (pa.ArrowException, OSError):  # Arrow raises OSError too, for what is shorter than it says
        raise BrokenStreamError(tailed.rest()) from None
    if not tailed.rest().endswith(END):
        raise BrokenStreamError(tailed.tail)
