"""Reading a Parquet file whose bytes somebody else may have written, in memory that its size bounds.

Some kilobytes can decode to gigabytes: a value that a dictionary repeats, a page that unpacks to two gigabytes, lists
without end, row groups that share their bytes. The files that are written here (`files.parquet`) do none of that, and
say so in their page headers, which are looked at before anything is decoded. Columns with a dictionary are read as such
and made text in slices.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from export_pipeline.files.parquet import dictionary_leaves
from export_pipeline.files.thrift import ThriftError, ThriftReader

MIB = 1024 * 1024
BATCH_ROWS = 4096
MAX_GROUP_BYTES = 256 * MIB
"""Of a row group unpacked, however little is stored of it."""
_MAX_DENSE_GROUP_BYTES = 1024 * MIB
_MAX_DENSITY = 100
"""What is stored grows by so much at most where a row group is larger than that."""
_ROWS_A_BYTE = 1000
_MAX_ELEMENTS = 16 * MIB
"""Of the lists of a column in a row group."""
_SLICE_BYTES = 64 * MIB
_HEADER_BYTES = 64 * 1024
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_ENCODINGS = frozenset({0, 2, 3, 8})
"""PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY: what the writer uses. Others repeat values without a dictionary."""

ReadRange = Callable[[int, int], bytes]


class OversizedError(ValueError):
    """The file holds more than a file of its size that was written here can."""


class BoundedParquet:
    """A Parquet file of `size` bytes whose columns are those of `schema`.

    Raises `OversizedError`, and pyarrow's errors, from `check` and `batches`.
    """

    def __init__(self, file: Any, *, read: ReadRange, size: int, schema: pa.Schema) -> None:
        """`read(start, end)` gives the same bytes as `file`, whose footer was looked at by `read_footer`."""
        self._dictionaries = dictionary_leaves(schema)
        self._file = pq.ParquetFile(file, read_dictionary=self._dictionaries)
        self._read = read
        self._size = size
        self._schema = schema

    @property
    def schema(self) -> pa.Schema:
        """The columns of the file, as they are without dictionaries."""
        return self._file.metadata.schema.to_arrow_schema()

    @property
    def row_groups(self) -> int:
        """How many there are, by the footer."""
        return int(self._file.num_row_groups)

    @property
    def rows(self) -> int:
        """How many there are, by the footer."""
        return int(self._file.metadata.num_rows)

    def check(self) -> None:
        """Compares what the page headers announce with what a file of this size can hold."""
        metadata = self._file.metadata
        if not could_hold(self._size, self.rows):
            raise OversizedError(f"{self.rows:,} rows in {self._size:,} bytes")
        end = rows = 0
        for number in range(self.row_groups):
            group = metadata.row_group(number)
            rows += group.num_rows
            unpacked = stored = 0
            for index in range(group.num_columns):
                column = group.column(index)
                start = _start_of(column)
                if start < end or column.total_compressed_size < 1:
                    raise OversizedError(f"row group {number} uses bytes that are another's")
                end = start + column.total_compressed_size
                stored += column.total_compressed_size
                unpacked += self._walk(column, start, end, rows=group.num_rows)
            limit = max(MAX_GROUP_BYTES, min(_MAX_DENSE_GROUP_BYTES, stored * _MAX_DENSITY))
            if unpacked > limit:
                raise OversizedError(f"row group {number} has {stored:,} bytes and unpacks to {unpacked:,}")
        if rows != self.rows:
            raise OversizedError(f"the row groups have {rows:,} rows, the footer says {self.rows:,}")

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, in order; call `check` before."""
        for group in range(self.row_groups):
            for batch in self._file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group]):
                yield from self._decoded(batch)

    def _walk(self, column: Any, start: int, end: int, *, rows: int) -> int:
        """The bytes that the pages of a column chunk unpack to, from their headers alone."""
        name, flat = column.path_in_schema, "." not in column.path_in_schema
        if end > self._size or (column.num_values != rows if flat else column.num_values > _MAX_ELEMENTS):
            raise OversizedError(f"column {name} announces {column.num_values:,} values in {rows:,} rows")
        at, values, unpacked = start, 0, 0
        while at < end:
            reader = ThriftReader(self._read(at, min(at + _HEADER_BYTES, end)), allowed=_HEADER_BYTES)
            header = reader.struct()
            kind, page, size = header.get(1), header.get(5), header.get(3, -1)
            if kind == _DICTIONARY_PAGE and at == start and name in self._dictionaries:
                page = {}
            elif kind != _DATA_PAGE or not isinstance(page, dict) or page.get(2) not in _ENCODINGS:
                raise OversizedError(f"column {name} has a page of a kind that is not written here")
            if size < 0 or header.get(2, -1) < 0 or page.get(1, 0) < 0:
                raise ThriftError(f"column {name} has a page of a negative size")
            values += page.get(1, 0)
            unpacked += header[2]
            at += reader.at + size
        if at != end or values != column.num_values:
            raise OversizedError(f"the pages of column {name} are not those that the footer tells of")
        return unpacked

    def _decoded(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        size = sum(map(_text_bytes, batch.columns))
        if size > _SLICE_BYTES and batch.num_rows > 1:
            half = batch.num_rows // 2
            yield from self._decoded(batch.slice(0, half))
            yield from self._decoded(batch.slice(half))
        elif size > _MAX_DENSE_GROUP_BYTES:
            raise OversizedError(f"a row of {size:,} bytes")
        else:
            columns = zip(batch.columns, self._schema.types, strict=True)
            arrays = [array if array.type == wanted else array.cast(wanted) for array, wanted in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def could_hold(size: int, rows: int) -> bool:
    """Whether a file of `size` bytes can have so many rows."""
    return 0 <= rows <= size * _ROWS_A_BYTE


def _start_of(column: Any) -> int:
    dictionary, data = column.dictionary_page_offset, column.data_page_offset
    return int(min(dictionary, data) if dictionary else data)


def _text_bytes(array: Any) -> int:
    """What the texts of a column with a dictionary take without it."""
    values = array.flatten() if pa.types.is_list(array.type) else array
    if not pa.types.is_dictionary(values.type):
        return 0
    return pc.sum(pc.binary_length(values.dictionary).take(values.indices)).as_py() or 0
