"""A file on its way: parts, memory, errors and ends of the background thread."""

import hashlib
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from export_pipeline.errors import DayTooLargeError, DestinationUnavailableError
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.object_store.upload import PartUpload
from export_pipeline_tests.object_store.helpers import PART, store_for
from export_pipeline_tests.servers import S3Server


class Gate:
    """A store whose parts arrive when the test lets them; `fail` is raised instead of taking part number `at`."""

    def __init__(self, *, fail: Exception | None = None, at: int = 1, opened: bool = True) -> None:
        self.parts: dict[int, bytes] = {}
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.fail, self.at = fail, at
        if opened:
            self.open.set()

    def upload_part(
        self, key: str, upload_id: str, number: int, body: bytes | bytearray, *, stop: threading.Event
    ) -> str:
        self.begun.release()
        assert self.open.wait(60)
        if self.fail is not None and number == self.at:
            raise self.fail
        self.parts[number] = bytes(body)
        return f"etag-{number}"


def upload(gate: Gate, part_bytes: int = 10, **options: Any) -> PartUpload:
    return PartUpload(cast("S3Store", gate), "k", "u-1", part_bytes=part_bytes, **options)


def write_on(file: PartUpload) -> None:
    for _ in range(10_000):
        file.write(b"x" * 10)


def fail_while_writing(gate: Gate) -> None:
    with upload(gate) as file:
        file.write(b"x")
        raise KeyError


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("upload ")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert threads() == []


@pytest.mark.parametrize("pieces", [[25], [10, 10, 5], [1] * 25, [3, 0, 19, 3], [9, 2, 14]])
def test_parts_have_one_size_whatever_is_written(pieces: list[int]) -> None:
    content = bytes(range(25))
    gate = Gate()
    with upload(gate) as file:
        rest = content
        for size in pieces:
            assert file.write(memoryview(rest)[:size]) == size
            rest = rest[size:]
        done = file.finish()
    assert gate.parts == {1: content[:10], 2: content[10:20], 3: content[20:]}
    assert (done.upload_id, done.parts) == ("u-1", [(1, "etag-1"), (2, "etag-2"), (3, "etag-3")])
    assert (done.bytes, done.sha256) == (25, hashlib.sha256(content).hexdigest())
    assert file.bytes_uploaded == 25


def test_a_file_of_exactly_full_parts_has_no_empty_last_part() -> None:
    gate = Gate()
    with upload(gate) as file:
        file.write(b"x" * 20)
        assert [number for number, _ in file.finish().parts] == [1, 2]


def test_an_empty_file_has_no_parts() -> None:
    with upload(Gate()) as file:
        done = file.finish()
    assert (done.parts, done.bytes) == ([], 0)


def test_a_slow_store_holds_the_writer_at_three_parts() -> None:
    gate = Gate(opened=False)
    with upload(gate) as file:
        written = []

        def write() -> None:
            for number in range(5):
                file.write(bytes([number]) * 10)
                written.append(number)

        writer = threading.Thread(target=write)
        writer.start()
        assert gate.begun.acquire(timeout=60)
        writer.join(0.2)
        assert writer.is_alive()
        assert len(written) <= 2  # one part is on its way, one waits, the third is in the writer's hands
        gate.open.set()
        writer.join(60)
        assert len(file.finish().parts) == 5


@pytest.mark.parametrize("at", [1, 2])
def test_an_error_of_the_thread_reaches_the_writer_and_ends_the_upload(at: int) -> None:
    lost = DestinationUnavailableError("gone", error_class="Unavailable")
    gate = Gate(fail=lost, at=at)
    with upload(gate) as file:
        with pytest.raises(DestinationUnavailableError) as caught:
            write_on(file)
        assert caught.value is lost
        with pytest.raises(DestinationUnavailableError):
            file.finish()
    assert sorted(gate.parts) == list(range(1, at))


def test_an_error_of_the_last_part_reaches_finish() -> None:
    with upload(Gate(fail=ValueError("no"))) as file:
        file.write(b"x")
        with pytest.raises(ValueError, match="no"):
            file.finish()


def test_a_closed_upload_sends_nothing_more() -> None:
    gate = Gate(opened=False)
    file = upload(gate)
    file.write(b"x" * 15)
    assert gate.begun.acquire(timeout=60)
    closing = threading.Thread(target=file.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()  # the request under way must end first: an abort would otherwise miss its part
    gate.open.set()
    closing.join(60)
    assert sorted(gate.parts) == [1]
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"x")
    with pytest.raises(ValueError, match="closed"):
        file.finish()


def test_an_error_of_the_writer_ends_the_thread() -> None:
    gate = Gate()
    with pytest.raises(KeyError):
        fail_while_writing(gate)
    assert gate.parts == {}


def test_a_file_that_needs_too_many_parts_is_refused_with_the_setting() -> None:
    gate = Gate()
    with upload(gate, max_parts=2) as file:
        file.write(b"x" * 20)
        file.write(b"y" * 9)
        with pytest.raises(DayTooLargeError, match="EXPORT_PIPELINE_PART_SIZE_MIB"):
            file.finish()
    with upload(Gate(), max_parts=2) as file:
        file.write(b"x" * 20)
        assert len(file.finish().parts) == 2


def test_a_real_store_holds_the_same_bytes(s3_server: S3Server) -> None:
    store = store_for(s3_server, s3_server.new_bucket())
    content = bytes(range(256)) * (PART // 100)
    upload_id = store.begin_upload("k")[0]
    with PartUpload(store, "k", upload_id, part_bytes=PART) as file:
        for start in range(0, len(content), 1_000_000):
            file.write(content[start : start + 1_000_000])
        done = file.finish()
    assert len(done.parts) == 3
    store.complete("k", upload_id, done.parts)
    assert hashlib.sha256(store.read("k")).hexdigest() == done.sha256
    store.close()
