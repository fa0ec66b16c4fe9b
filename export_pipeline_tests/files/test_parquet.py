"""The Parquet file, read back by those who read such files."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import chdb
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export_pipeline.files.content_hash import ContentHash
from export_pipeline.files.parquet import DayFile, FileFacts, read_footer
from export_pipeline.runs.schema import (
    FORMAT_VERSIONS,
    RUN_FIELDS,
    FormatVersion,
    Kind,
    arrow_schema,
    polars_schema,
    select_fields,
)
from export_pipeline.settings import Compression
from export_pipeline_tests.files.rows import START, batch, row, schema, telling_rows

COMPRESSIONS: tuple[Compression, ...] = ("none", "gzip", "snappy", "zstandard")
PAYLOADS = {field.name for field in RUN_FIELDS if field.payload}


def written(
    *batches: pa.RecordBatch, compression: Compression = "zstandard", row_group_bytes: int = 48 * 2**20
) -> tuple[bytes, FileFacts]:
    sink = io.BytesIO()
    file = DayFile(
        sink,
        schema=batches[0].schema,
        compression=compression,
        row_group_bytes=row_group_bytes,
        footer={"commit_id": "c-1", "day": "2026-01-09"},
    )
    for item in batches:
        file.write(item)
    facts = file.close()
    return sink.getvalue(), facts


@pytest.fixture(params=FORMAT_VERSIONS)
def version(request: pytest.FixtureRequest) -> FormatVersion:
    found: FormatVersion = request.param
    return found


@pytest.fixture(params=COMPRESSIONS)
def compression(request: pytest.FixtureRequest) -> Compression:
    found: Compression = request.param
    return found


def test_pyarrow_reads_every_value_and_the_exact_schema(version: FormatVersion, compression: Compression) -> None:
    rows = batch(version, telling_rows())
    data, facts = written(rows, compression=compression)
    table = pq.read_table(io.BytesIO(data))
    assert table.schema.equals(schema(version))
    assert table.to_pylist() == rows.to_pylist()
    codec = {"none": "UNCOMPRESSED", "gzip": "GZIP", "snappy": "SNAPPY", "zstandard": "ZSTD"}[compression]
    assert pq.read_metadata(io.BytesIO(data)).row_group(0).column(0).compression == codec
    assert (facts.rows, facts.bytes, facts.row_groups) == (4, len(data), 1)


def test_polars_reads_every_value_and_type(version: FormatVersion, compression: Compression, tmp_path: Path) -> None:
    rows = batch(version, telling_rows())
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(written(rows, compression=compression)[0])
    frame = pl.scan_parquet(path).collect()
    assert frame.schema == polars_schema(RUN_FIELDS, version)
    assert frame.to_dicts() == rows.to_pylist()


def test_duckdb_reads_every_value(version: FormatVersion, compression: Compression, tmp_path: Path) -> None:
    rows = batch(version, telling_rows())
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(written(rows, compression=compression)[0])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        table: pa.Table = connection.sql("SELECT * FROM read_parquet(?)", params=[str(path)]).to_arrow_table()
        times = connection.execute("SELECT end_time::VARCHAR FROM read_parquet(?)", [str(path)]).fetchall()
    assert table.to_pylist() == rows.to_pylist()
    assert times[1][0] == "9999-12-31 23:59:59.999999+00"


def test_clickhouse_reads_every_value(version: FormatVersion, compression: Compression, tmp_path: Path) -> None:
    expected = batch(version, telling_rows()).to_pylist()
    # ClickHouse's DateTime64 holds the years 1900 to 2299.
    far = ("end_time", "first_token_time")
    for cells in expected:
        cells.update(dict.fromkeys(far))
    rows = pa.RecordBatch.from_pylist(expected, schema=schema(version))
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(written(rows, compression=compression)[0])
    answer: Any = chdb.query(  # type: ignore[no-untyped-call]
        f"SELECT * FROM file('{path}', Parquet) SETTINGS session_timezone = 'UTC',"
        " output_format_json_quote_64bit_integers = 0, output_format_json_quote_decimals = 1,"
        " output_format_json_named_tuples_as_objects = 1",
        "JSONEachRow",
    )
    found = [json.loads(line) for line in answer.bytes().decode().splitlines()]
    assert [_plain(cells) for cells in found] == [_plain(cells) for cells in expected]


def _plain(cells: dict[str, Any]) -> dict[str, Any]:
    kinds = {field.name: field.kind for field in RUN_FIELDS}
    plain = dict(cells)
    for name, cell in cells.items():
        if cell is not None and kinds[name] is Kind.COST:
            plain[name] = f"{float(cell):.12f}"
        elif cell is not None and kinds[name] is Kind.TIME:
            plain[name] = str(cell).replace("+00:00", "").removesuffix(".000000")
    return plain


def test_a_chosen_few_columns_are_all_that_is_written() -> None:
    few = arrow_schema(select_fields(["inputs", "tags"]), "v2_beta")
    rows = pa.RecordBatch.from_pylist([{"inputs": "{}", "tags": ["a"]}, {"inputs": None, "tags": []}], schema=few)
    data, facts = written(rows)
    assert pq.read_table(io.BytesIO(data)).to_pylist() == rows.to_pylist()
    assert (facts.min_start_time, facts.max_start_time, facts.first_id, facts.last_id) == (None, None, None, None)


def test_columns_have_the_same_field_ids_in_every_file(version: FormatVersion) -> None:
    data, _ = written(batch(version, telling_rows()))
    read = pq.read_schema(io.BytesIO(data))
    ids = {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in read}
    assert ids == {field.name: number for number, field in enumerate(RUN_FIELDS, start=1)}
    few = select_fields(["tags", "error"])
    rows = pa.RecordBatch.from_pylist([{"tags": ["a"], "error": None}], schema=arrow_schema(few, "v2_beta"))
    narrow = pq.read_schema(io.BytesIO(written(rows)[0]))
    assert {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in narrow} == {
        name: ids[name] for name in ("tags", "error")
    }
    element = narrow.field("tags").type.value_field
    assert int(element.metadata[b"PARQUET:field_id"]) == 1000 + ids["tags"]


def test_the_footer_says_by_what_rows_are_sorted_and_what_columns_mean(version: FormatVersion) -> None:
    data, _ = written(batch(version, telling_rows()), row_group_bytes=1)
    found = pq.read_metadata(io.BytesIO(data))
    place = found.schema.names.index("start_time")
    assert found.num_row_groups > 1
    for number in range(found.num_row_groups):
        (column,) = found.row_group(number).sorting_columns
        assert (column.column_index, column.descending) == (place, False)
        assert found.row_group(number).column(column.column_index).path_in_schema == "start_time"
    told = json.loads(read_footer(lambda start, end: data[start:end], len(data))["columns"])
    assert told == {field.name: field.description for field in RUN_FIELDS}


def test_no_word_of_a_payload_stands_in_the_footer(version: FormatVersion) -> None:
    secret = "canary-of-the-footer"
    rows = batch(version, [row(1, **dict.fromkeys(sorted(PAYLOADS), secret), name="a-plain-name")])
    data, _ = written(rows, compression="none")
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert secret.encode() in data[:start]
    assert secret.encode() not in data[start:]
    assert b"a-plain-name" in data[start:]


def test_payload_columns_have_neither_statistics_nor_dictionary_and_others_have_statistics(
    version: FormatVersion,
) -> None:
    data, _ = written(batch(version, telling_rows()))
    metadata = pq.read_metadata(io.BytesIO(data))
    for index in range(metadata.num_columns):
        column = metadata.row_group(0).column(index)
        payload = column.path_in_schema in PAYLOADS
        assert column.is_stats_set != payload, column.path_in_schema
        assert not (payload and column.has_dictionary_page), column.path_in_schema
    assert metadata.metadata is not None
    assert b"ARROW:schema" not in metadata.metadata


def test_a_huge_name_does_not_swell_the_footer() -> None:
    data, _ = written(batch("v1", [row(1, name="n" * 1_000_000)]))
    assert int.from_bytes(data[-8:-4], "little") < 20_000


def test_lists_have_three_levels_and_times_are_microseconds_in_utc() -> None:
    data, _ = written(batch("v2_beta", telling_rows()))
    columns = pq.read_metadata(io.BytesIO(data)).schema
    found = {column.path: column for column in (columns.column(i) for i in range(len(columns)))}
    assert {"tags.list.element", "parent_run_ids.list.element"} <= found.keys()
    kind = json.loads(found["start_time"].logical_type.to_json())
    assert (kind["Type"], kind["isAdjustedToUTC"], kind["timeUnit"]) == ("Timestamp", True, "microseconds")
    assert found["inputs"].logical_type.type == "STRING"
    assert (found["total_cost"].precision, found["total_cost"].scale) == (18, 12)


def test_row_groups_are_closed_by_bytes_whatever_the_batches() -> None:
    rows = [row(number, inputs="x" * 10_000) for number in range(100)]
    whole = batch("v1", rows)
    limit = whole.nbytes // 5
    for pieces in ([whole], [whole.slice(i, 7) for i in range(0, 100, 7)], [whole.slice(i, 1) for i in range(100)]):
        data, facts = written(*pieces, row_group_bytes=limit)
        metadata = pq.read_metadata(io.BytesIO(data))
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        assert facts.row_groups == metadata.num_row_groups
        assert 5 <= len(sizes) <= 9
        assert max(sizes) <= 21
        assert pq.read_table(io.BytesIO(data)).column("id").to_pylist() == [cells["id"] for cells in rows]


def test_a_row_larger_than_a_row_group_stands_alone_in_one() -> None:
    rows = [row(1), row(2, inputs="x" * 500_000), row(3), row(4, outputs="y" * 500_000), row(5)]
    data, facts = written(batch("v1", rows), row_group_bytes=100_000)
    metadata = pq.read_metadata(io.BytesIO(data))
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [1, 1, 1, 1, 1]
    assert facts.rows == 5
    assert pq.read_table(io.BytesIO(data)).column("inputs").to_pylist()[1] == "x" * 500_000


def test_a_day_without_rows_writes_nothing(version: FormatVersion) -> None:
    data, facts = written(batch(version, []))
    assert data == b""
    assert (facts.rows, facts.bytes, facts.row_groups, facts.first_id) == (0, 0, 0, None)


def test_facts_tell_times_ids_and_hash_of_the_rows() -> None:
    rows = batch("v1", [row(number) for number in range(1, 6)])
    _, facts = written(rows.slice(0, 2), rows.slice(2))
    assert facts.min_start_time == START.replace(microsecond=1)
    assert facts.max_start_time == START.replace(microsecond=5)
    assert (facts.first_id, facts.last_id) == (row(1)["id"], row(5)["id"])
    expected = ContentHash(rows.schema)
    expected.update(rows)
    assert facts.content_hash == expected.hexdigest()


def test_the_footer_tells_the_commit_and_is_read_with_one_request() -> None:
    data, _ = written(batch("v1", telling_rows()))
    asked: list[tuple[int, int]] = []

    def read_range(start: int, end: int) -> bytes:
        asked.append((start, end))
        return data[start:end]

    footer = read_footer(read_range, len(data))
    assert json.loads(footer.pop("columns")).keys() == {field.name for field in RUN_FIELDS}
    assert footer == {"commit_id": "c-1", "day": "2026-01-09", "rows": "4", "schema_version": "1"}
    assert asked == [(max(0, len(data) - 65536), len(data))]


def test_a_long_footer_takes_a_second_request() -> None:
    rows = [row(number, inputs="x" * 2_000) for number in range(40)]
    data, facts = written(batch("v1", rows), row_group_bytes=1)
    assert facts.row_groups == 40
    assert int.from_bytes(data[-8:-4], "little") > 65536
    assert read_footer(lambda start, end: data[start:end], len(data))["rows"] == "40"


@pytest.mark.parametrize(
    "data",
    [b"", b"PAR1", b"no parquet at all", b"\xff\xff\xff\x7fPAR1", b"x" * 100 + b"\x10\x00\x00\x00PAR1"],
)
def test_the_footer_of_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="the object"):
        read_footer(lambda start, end: data[start:end], len(data))


def test_a_parquet_file_of_others_has_no_commit() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    data = sink.getvalue()
    assert read_footer(lambda start, end: data[start:end], len(data)) == {}


def test_rows_of_another_schema_are_refused() -> None:
    file = DayFile(io.BytesIO(), schema=schema("v1"), compression="none", row_group_bytes=1000, footer={})
    with pytest.raises(TypeError, match="schema"):
        file.write(batch("v2_beta", [row(1)]))


def test_a_null_in_a_required_column_is_refused() -> None:
    rows = batch("v1", [row(1)])
    index = rows.schema.get_field_index("name")
    broken = pa.RecordBatch.from_arrays(
        [pa.nulls(1, pa.string()) if i == index else column for i, column in enumerate(rows.columns)],
        schema=rows.schema,
    )
    file = DayFile(io.BytesIO(), schema=rows.schema, compression="none", row_group_bytes=2**20, footer={})
    file.write(broken)
    with pytest.raises(ValueError, match="do not fit"):
        file.close()


@pytest.mark.slow
def test_pandas_is_never_imported_for_writing_although_it_is_installed() -> None:
    # PyArrow does so by itself in some calls, which takes seconds. In another process, because tests make such calls.
    program = """
import io, sys
import pyarrow as pa
from export_pipeline.files.parquet import DayFile, read_footer
rows, sink = pa.ipc.open_stream(sys.stdin.buffer).read_next_batch(), io.BytesIO()
file = DayFile(sink, schema=rows.schema, compression="zstandard", row_group_bytes=1000, footer={})
file.write(rows)
file.close()
data = sink.getvalue()
print(read_footer(lambda start, end: data[start:end], len(data))["rows"], "pandas" in sys.modules)
"""
    for version in FORMAT_VERSIONS:
        rows, stream = batch(version, telling_rows()), io.BytesIO()
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_batch(rows)
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            input=stream.getvalue(),
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"4 False\n"
