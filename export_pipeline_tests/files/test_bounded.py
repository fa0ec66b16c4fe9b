"""Parquet files that are made to grow: each is refused before it is decoded, and what the writer makes is read."""

import io
import uuid
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export_pipeline.files.bounded import MIB, BoundedParquet, OversizedError
from export_pipeline.files.content_hash import ContentHash
from export_pipeline.files.parquet import DayFile, read_footer
from export_pipeline.files.thrift import ThriftError, ThriftReader
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.rows import batch, row, schema, telling_rows

FEW = pa.schema([pa.field("id", pa.string(), nullable=False), ("inputs", pa.string()), ("name", pa.string())])


def opened(data: bytes, of: pa.Schema = FEW) -> BoundedParquet:
    return BoundedParquet(pa.BufferReader(data), read=lambda a, b: data[a:b], size=len(data), schema=of)


def file_of(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    written = {"compression": "zstd", "use_dictionary": ["name"], "store_schema": False, "version": "2.6"} | options
    pq.write_table(table, out, **written)
    return out.getvalue()


def table_of(inputs: Any, name: Any, rows: int, of: pa.Schema = FEW) -> pa.Table:
    ids = pa.array([str(uuid.UUID(int=number)) for number in range(rows)])
    return pa.Table.from_arrays([ids, inputs, name], schema=of)


def repeated(value: str, rows: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))


@pytest.mark.parametrize("version", ["v1", "v2_beta"])
@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "zstandard"])
def test_what_the_writer_makes_is_read_as_it_was(version: FormatVersion, compression: Compression) -> None:
    out = io.BytesIO()
    file = DayFile(out, schema=schema(version), compression=compression, row_group_bytes=100_000, footer={})
    rows = [row(number, tags=["a", "b"] * (number % 3), inputs="x" * (number % 99)) for number in range(5000)]
    rows += telling_rows() + [row(9000 + number, name=f"n{number}", tags=[f"t{number}"]) for number in range(5000)]
    file.write(batch(version, rows))
    facts = file.close()
    found = opened(out.getvalue(), schema(version))
    assert (found.rows, found.row_groups, found.schema) == (facts.rows, facts.row_groups, schema(version))
    found.check()
    content, count = ContentHash(schema(version)), 0
    for each in found.batches():
        content.update(each)
        count += each.num_rows
    assert (count, content.hexdigest()) == (facts.rows, facts.content_hash)


def test_a_value_that_a_dictionary_repeats_comes_in_slices() -> None:
    table = pa.Table.from_arrays(
        [pa.array([str(number) for number in range(3000)]), pa.nulls(3000, pa.string()), repeated("x" * MIB, 3000)],
        names=["id", "inputs", "name"],
    )
    data = file_of(table)
    assert len(data) < 20_000
    found = opened(data)
    found.check()
    rows, most = 0, 0
    for each in found.batches():
        rows += each.num_rows
        most = max(most, each.nbytes)
    assert (rows, most < 100 * MIB) == (3000, True)


def payloads_with_a_dictionary() -> bytes:
    table = table_of(pa.array(["x"] * 10), pa.array(["n"] * 10), 10)
    return file_of(table, use_dictionary=["inputs"])


def prefixes_of_each_other() -> bytes:
    table = table_of(pa.array(["x" * 100] * 10), pa.array(["n"] * 10), 10)
    return file_of(table, use_dictionary=False, column_encoding={"inputs": "DELTA_BYTE_ARRAY"})


def pages_of_the_other_version() -> bytes:
    return file_of(table_of(pa.array(["x"] * 10), pa.array(["n"] * 10), 10), data_page_version="2.0")


def a_page_that_unpacks_to_much() -> bytes:
    table = table_of(pa.array(["x" * (10 * MIB)]), pa.array(["n"]), 1)
    return file_of(table)


def nulls_without_end() -> bytes:
    rows = 10 * MIB
    table = pa.Table.from_arrays([pa.nulls(rows, pa.string())] * 3, names=["id", "inputs", "name"])
    return file_of(table, row_group_size=rows, max_rows_per_page=rows, write_statistics=False)


def row_groups_that_share_their_bytes() -> bytes:
    data = file_of(table_of(pa.array(["x"] * 100), pa.array(["n"] * 100), 100), row_group_size=50)
    first, second = (pq.read_metadata(io.BytesIO(data)).row_group(number).column(1) for number in (0, 1))
    here, there = (varint(2 * column.data_page_offset) for column in (first, second))
    footer_at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert (len(here), data.count(there, footer_at)) == (len(there), 1)
    return data[:footer_at] + data[footer_at:].replace(there, here)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "payloads with a dictionary": (payloads_with_a_dictionary, "column inputs has a page of a kind that is not"),
    "values as prefixes": (prefixes_of_each_other, "column inputs has a page of a kind that is not"),
    "pages of version 2": (pages_of_the_other_version, "has a page of a kind that is not written here"),
    "a page that unpacks to much": (a_page_that_unpacks_to_much, "row group 0 has .* bytes and unpacks to 10,"),
    "nulls without end": (nulls_without_end, "10,485,760 rows in"),
    "shared bytes": (row_groups_that_share_their_bytes, "row group 1 uses bytes that are another's|are not those"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_is_made_to_grow_is_refused_before_it_is_decoded(
    bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.files.bounded.MAX_GROUP_BYTES", 8 * MIB)
    make, text = BOMBS[bomb]
    data = make()
    assert len(data) < 200_000
    with pytest.raises(OversizedError, match=text):
        opened(data).check()


def test_lists_without_end_are_refused() -> None:
    items = pa.field("element", pa.string(), nullable=False)
    of = pa.schema([pa.field("id", pa.string(), nullable=False), ("tags", pa.list_(items))])
    size = 17 * MIB
    values = pa.Array.from_buffers(pa.string(), size, [None, pa.py_buffer(bytes(4 * size + 4)), pa.py_buffer(b"")])
    tags = pa.ListArray.from_arrays(pa.array([0, size], pa.int32()), values, type=of.field("tags").type)
    data = file_of(pa.Table.from_arrays([pa.array(["i"]), tags], schema=of), use_dictionary=["tags.list.element"])
    assert len(data) < 200_000
    with pytest.raises(OversizedError, match=r"column tags\.list\.element announces 17,825,792 values in 1 rows"):
        opened(data, of).check()


def compact(groups: int, columns: int) -> bytes:
    """A footer of so many row groups of so many column chunks, three bytes each."""
    chunk = b"\x26\x00\x00"
    row_group = b"\x19\xfc" + varint(columns) + chunk * columns + b"\x16\x00\x16\x00\x00"
    return b"\x15\x04\x19\x0c\x16\x00\x19\xfc" + varint(groups) + row_group * groups + b"\x00"


def test_a_footer_of_many_column_chunks_is_refused_before_it_is_decoded() -> None:
    footer = compact(100, 10_000)
    data = b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(ThriftError, match="more than a file of this size can need"):
        read_footer(lambda start, end: data[start:end], len(data))


def test_a_large_footer_of_the_writer_is_read() -> None:
    out = io.BytesIO()
    file = DayFile(out, schema=schema("v1"), compression="zstandard", row_group_bytes=1, footer={"commit_id": "mine"})
    file.write(batch("v1", [row(number, inputs="{}") for number in range(400)]))
    assert file.close().row_groups == 400
    data = out.getvalue()
    assert int.from_bytes(data[-8:-4], "little") > 512 * 1024
    assert read_footer(lambda start, end: data[start:end], len(data))["commit_id"] == "mine"


HOSTILE = [
    b"",
    b"\x15",
    b"\x15" + b"\xff" * 20,
    b"\x18\xff\xff\xff\xff\x7f",
    b"\x19\xfc\xff\xff\xff\xff\x7f",
    b"\x1c" * 100,
    b"\x1b\x01\x88",
    b"\x1e\x00",
]


@pytest.mark.parametrize("data", HOSTILE)
@pytest.mark.parametrize("read", [ThriftReader.struct, ThriftReader.skip])
def test_bytes_that_are_no_struct_are_refused(data: bytes, read: Callable[[ThriftReader], object]) -> None:
    with pytest.raises(ThriftError):
        read(ThriftReader(data, allowed=1000))


def test_numbers_and_inner_structs_are_read() -> None:
    data = b"\x15\x05\x2c\x15\x02\x00\x11\x18\x02ab\x00rest"
    reader = ThriftReader(data, allowed=1000)
    assert reader.struct() == {1: -3, 3: {1: 1}, 4: True}
    assert data[reader.at :] == b"rest"
