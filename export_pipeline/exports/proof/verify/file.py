"""One data file read back from the bucket and compared with its manifest, in bounded memory."""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from export_pipeline.exports.proof.verify.attachments import AttachmentNames
from export_pipeline.exports.proof.verify.report import What
from export_pipeline.files.bounded import BATCH_ROWS, BoundedParquet, OversizedError
from export_pipeline.files.content_hash import ContentHash
from export_pipeline.files.manifest import Manifest, ManifestFile, schema_fingerprint
from export_pipeline.files.parquet import read_footer
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.runs.schema import arrow_schema, select_fields
from export_pipeline.runs.window import Window

BLOCK_BYTES = 4 * 1024 * 1024
BLOCKS_HELD = 16
"""Blocks that are kept: together more than a row group, whose columns are read side by side."""
HASH_SEED = 0x6578706F7274
"""Ids are compared by 64-bit hashes; the seed is the same for file and trace store."""

Found = tuple[What, str | None, str | None]
"""What is wrong, what was expected, what was found."""


class BlockFile(io.RawIOBase):
    """An object of the bucket as a seekable file, read in ranges of one block each; the newest blocks are kept."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        """`read(start, end)` gives the bytes `start <= i < end`."""
        self._read = read
        self._size = size
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The bytes from the position on."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        data = self.range(self._at, end)
        self._at += len(data)
        return data

    def range(self, start: int, end: int) -> bytes:
        """The bytes `start <= i < end`."""
        pieces = []
        for number in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            base = number * BLOCK_BYTES
            pieces.append(self._block(number)[max(0, start - base) : max(0, end - base)])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def blocks(self) -> Iterator[bytes]:
        """The whole file, in order."""
        for number in range(-(-self._size // BLOCK_BYTES)):
            yield self._block(number)

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        start = number * BLOCK_BYTES
        data = self._read(start, min(start + BLOCK_BYTES, self._size))
        self._blocks[number] = data
        if len(self._blocks) > BLOCKS_HELD:
            self._blocks.popitem(last=False)
        return data


@dataclass
class FileCheck:
    """What was found in a file, and what it names.

    `ids` are sorted hashes of its ids, where it has them and could be read whole.
    """

    problems: list[Found] = field(default_factory=list)
    ids: pl.Series | None = None
    file: BlockFile | None = None
    attachments: AttachmentNames = field(default_factory=AttachmentNames)


def check_file(store: ObjectStore, manifest: Manifest, file: ManifestFile, *, size: int) -> FileCheck:
    """Compares the object of `size` bytes at the file's key with what the manifest says of it.

    Where the bytes are not those of the commit the rows are not looked at: they would only repeat it.
    """
    data = BlockFile(lambda start, end: store.read(file.key, start, end), size)
    check = FileCheck(file=data)
    if size != file.bytes:
        check.problems.append((What.FILE_SIZE, f"{file.bytes:,} bytes", f"{size:,}"))
    _check_footer(check, data, manifest, size)
    if not check.problems:
        digest = hashlib.sha256()
        for block in data.blocks():
            digest.update(block)
        if digest.hexdigest() != file.sha256:
            check.problems.append((What.FILE_CHECKSUM, f"sha256 {file.sha256}", digest.hexdigest()))
    if not check.problems:
        try:
            _check_rows(check, data, manifest, file)
        except OversizedError as error:
            check.problems.append((What.FILE_OVERSIZED, None, str(error)))
        except (pa.ArrowException, OSError, ValueError) as error:
            check.problems.append((What.FILE_UNREADABLE, None, str(error)))
    return check


def file_ids(data: BlockFile) -> Iterator[Any]:
    """The ids of a file, as Arrow arrays in the file's order."""
    parquet = pq.ParquetFile(pa.PythonFile(data, mode="r"))
    for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=["id"]):
        yield batch.column("id")


def hashed(ids: Any) -> pl.Series:
    """64-bit hashes of an Arrow array of ids."""
    return pl.Series("ids", ids).hash(seed=HASH_SEED)


def _check_footer(check: FileCheck, data: BlockFile, manifest: Manifest, size: int) -> None:
    try:
        footer = read_footer(data.range, size)
    except ValueError as error:
        check.problems.append((What.FILE_UNREADABLE, None, str(error)))
        return
    if footer.get("commit_id") != str(manifest.commit_id):
        check.problems.append(
            (What.FILE_OF_OTHER_COMMIT, f"commit {manifest.commit_id}", footer.get("commit_id") or "none")
        )


def _check_rows(check: FileCheck, data: BlockFile, manifest: Manifest, file: ManifestFile) -> None:
    data.seek(0)
    expected = arrow_schema(select_fields(manifest.fields), manifest.format_version)
    parquet = BoundedParquet(pa.PythonFile(data, mode="r"), read=data.range, size=file.bytes, schema=expected)
    schema = parquet.schema
    if schema_fingerprint(schema) != manifest.schema_fingerprint or schema.names != expected.names:
        check.problems.append((What.COLUMNS, _columns(expected), _columns(schema)))
        return
    if parquet.row_groups != file.row_groups:
        check.problems.append((What.ROW_GROUPS, str(file.row_groups), str(parquet.row_groups)))
    parquet.check()
    rows = _Rows(expected)
    for batch in parquet.batches():
        rows.add(batch)
        if manifest.attachments is not None and manifest.attachments.count:
            check.attachments.add(batch)
    if rows.count != file.rows:
        check.problems.append((What.ROWS, f"{file.rows:,}", f"{rows.count:,}"))
    if (content := rows.content.hexdigest()) != file.content_hash:
        check.problems.append((What.CONTENT, file.content_hash, content))
    _check_times(check, rows, manifest, file)
    if rows.hashes:
        check.ids = pl.concat(rows.hashes).sort()
        if twice := len(check.ids) - check.ids.n_unique():
            check.problems.append((What.DUPLICATE_IDS, None, f"{twice:,} rows more than ids"))


def _check_times(check: FileCheck, rows: "_Rows", manifest: Manifest, file: ManifestFile) -> None:
    span, told = (rows.least, rows.greatest), (file.min_start_time, file.max_start_time)
    if span != told:
        check.problems.append((What.TIMES, _span(*told), _span(*span)))
    window = Window(manifest.window.start, manifest.window.end)
    if rows.least is not None and rows.greatest is not None:
        inside = window.start <= rows.least and rows.greatest < window.end
        if not inside:
            check.problems.append((What.OUTSIDE_WINDOW, str(window), _span(*span)))


class _Rows:
    """What all rows of a file come to."""

    def __init__(self, schema: pa.Schema) -> None:
        self.count = 0
        self.content = ContentHash(schema)
        self.least: datetime | None = None
        self.greatest: datetime | None = None
        self.hashes: list[pl.Series] = []

    def add(self, batch: pa.RecordBatch) -> None:
        self.count += batch.num_rows
        self.content.update(batch)
        if "id" in batch.schema.names:
            self.hashes.append(hashed(batch.column("id")))
        if "start_time" in batch.schema.names and batch.num_rows:
            bounds = pc.min_max(batch.column("start_time")).as_py()
            least, greatest = bounds["min"].astimezone(UTC), bounds["max"].astimezone(UTC)
            self.least = least if self.least is None else min(self.least, least)
            self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{column.name} {column.type}{'' if column.nullable else ' not null'}" for column in schema)


def _span(least: datetime | None, greatest: datetime | None) -> str:
    return "none" if least is None or greatest is None else f"{least.isoformat()} to {greatest.isoformat()}"
