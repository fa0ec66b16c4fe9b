"""An interrupt while a library calls us back is the interrupt that was raised, and no error of the library's own."""

import io
from typing import Any

import pyarrow as pa
import pytest

from export_pipeline.exports.proof.verify.file import BlockFile, file_ids
from export_pipeline.files.parquet import DayFile, read_footer
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.calls import Calls
from export_pipeline.object_store.s3.client import make_client
from export_pipeline_tests.faults.interrupts import Interrupted, Interrupting, interruptible
from export_pipeline_tests.files.rows import batch, telling_rows


class Sink(io.BytesIO):
    """A file whose every write and read may be interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupting = Interrupting()

    def write(self, data: Any, /) -> int:
        self.interrupting()
        return super().write(data)

    def range(self, start: int, end: int) -> bytes:
        self.interrupting()
        return self.getvalue()[start:end]


def publish(rows: pa.RecordBatch, sink: Sink) -> None:
    file = DayFile(sink, schema=rows.schema, compression="zstandard", row_group_bytes=1, footer={})
    for number in range(rows.num_rows):
        file.write(rows.slice(number, 1))
    file.close()


def some(calls: int) -> list[int]:
    """The first call, the last one, and some between."""
    return sorted({1, calls, *range(1, calls, max(1, calls // 12))})


def test_an_interrupt_in_any_write_of_a_parquet_file_is_kept() -> None:
    rows, whole = batch("v1", telling_rows()), Sink()
    publish(rows, whole)
    assert whole.interrupting.calls > rows.num_rows
    for call in some(whole.interrupting.calls):
        sink = Sink()
        sink.interrupting.at = call
        with interruptible(), pytest.raises(Interrupted):
            publish(rows, sink)
        assert sink.interrupting.calls >= call


def test_an_interrupt_in_any_read_of_a_parquet_file_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export_pipeline.exports.proof.verify.file.BLOCK_BYTES", 512)
    rows, sink = batch("v1", telling_rows()), Sink()
    publish(rows, sink)
    size = len(sink.getvalue())

    def ids() -> list[Any]:
        sink.interrupting.calls = 0
        read_footer(sink.range, size)
        return [id_ for batch in file_ids(BlockFile(sink.range, size)) for id_ in batch.to_pylist()]

    assert ids() == rows.column("id").to_pylist()
    calls = sink.interrupting.calls
    assert calls > 3
    for call in some(calls):
        sink.interrupting.at = call
        with interruptible(), pytest.raises(Interrupted):
            ids()


@pytest.mark.parametrize(
    "event",
    ["provide-client-params.s3", "before-parameter-build.s3", "before-sign.s3", "before-send.s3", "needs-retry.s3"],
)
def test_an_interrupt_in_an_event_of_botocore_is_kept_and_nothing_is_tried_again(event: str) -> None:
    config = DestinationConfig(bucket="bucket", endpoint_url="http://127.0.0.1:9", allow_private=True)
    client = make_client(config, Credentials("key", "secret"))
    interrupting = Interrupting()
    interrupting.at = 1
    client.meta.events.register_first(event, lambda **_: interrupting())
    with interruptible(), pytest.raises(Interrupted):
        Calls(config, client, patience=60).call("PutObject", Key="key", Body=b"bytes")
    assert interrupting.calls == 1
