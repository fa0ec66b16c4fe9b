"""A real SeaweedFS that has no room left in the middle of a day: it fails by name, and room is all it needs."""

import base64
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from export_pipeline.errors import DestinationUnavailableError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline_tests.exports.commit.bench import DAY, QUICK, Bench, make_store, new_export
from export_pipeline_tests.exports.commit.promises import check_finished, check_nothing_left, check_whole
from export_pipeline_tests.exports.memory_source import MemorySource, Row, rows_of
from export_pipeline_tests.servers import BUCKET, Weed

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
LIMITS = replace(QUICK, part_bytes=5 * MIB, row_group_bytes=MIB, patience=0.5)


def allow(server: Weed, *, volumes: int) -> None:
    """Starts it over what it holds, with room for so many more volumes; each takes no more once it holds 8 MiB."""
    most = volumes + len(list(server.server.folder.glob("*.dat")))
    server.server.arguments = ("-master.volumeSizeLimitMB=8", f"-volume.max={most}")
    server.restart()


@pytest.fixture(scope="module")
def module_weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """A server that is not yet started."""
    server = Weed(tmp_path_factory.mktemp("full"))
    yield server
    server.stop()


@pytest.fixture
def small_weed(module_weed: Weed) -> Weed:
    """A server with room for little more than 8 MiB."""
    allow(module_weed, volumes=1)
    return module_weed


@pytest.fixture
def small_bench(control: ControlDatabase, small_weed: Weed) -> Iterator[Bench]:
    """The server's own bucket: another one would need a volume of its own."""
    made = Bench(control, make_store(small_weed, BUCKET, patience=0.5), new_export(control, BUCKET), small_weed)
    yield made
    made.store.close()


def large_rows(count: int) -> list[Row]:
    """Rows that no compression makes smaller than 256 KiB each."""
    noise = random.Random(7)
    return [replace(row, inputs=base64.b85encode(noise.randbytes(256 * 1024)).decode()) for row in rows_of(DAY, count)]


def fill(client: Any) -> None:
    """Writes until the server has no room; then even a small object is refused."""
    with suppress(ClientError):
        for number in range(1024):  # the master hears of a full volume some seconds later
            client.put_object(Bucket=BUCKET, Key=f"filling/{number}", Body=bytes(MIB))
        raise AssertionError("the server is never full")
    with pytest.raises(ClientError, match="InternalError"):
        client.put_object(Bucket=BUCKET, Key="filling/last", Body=b"x")


def check_names_the_full_store(error: DestinationUnavailableError, operation: str, *, endpoint_url: str) -> None:
    assert (error.error_class, error.code) == ("Unavailable", "InternalError")
    assert f"{operation} on bucket '{BUCKET}' at {endpoint_url} failed (InternalError)" in str(error)
    assert "disks are full" in str(error)


def test_a_store_that_becomes_full_in_the_middle_of_a_day_fails_it_by_name_and_room_is_all_it_needs(
    small_bench: Bench, small_weed: Weed
) -> None:
    rows, steps = large_rows(80), list[str]()
    with pytest.raises(DestinationUnavailableError) as caught:
        small_bench.publish(MemorySource(rows, batch_rows=1), limits=LIMITS, on_step=steps.append)
    check_names_the_full_store(caught.value, "UploadPart", endpoint_url=small_weed.endpoint_url)
    assert "upload recorded" in steps
    assert "intent" not in steps
    record = small_bench.record()
    assert (record.status, record.error, record.owner) == ("Failed", str(caught.value), None)
    assert (small_bench.published(), small_bench.manifest()) == (None, None)
    check_nothing_left(small_bench)

    allow(small_weed, volumes=5)
    assert small_bench.publish(MemorySource(rows, batch_rows=1), limits=LIMITS).rows == 80
    check_finished(small_bench, rows)
    check_nothing_left(small_bench)


def test_a_store_that_becomes_full_before_the_manifest_leaves_a_day_that_the_next_attempt_finishes(
    small_bench: Bench, small_weed: Weed
) -> None:
    first, second = rows_of(DAY, 3, name="first"), rows_of(DAY, 4, name="second")

    def fill_before_the_manifest(step: str) -> None:
        if step == "writing manifest":
            fill(small_weed.client())

    with pytest.raises(DestinationUnavailableError) as caught:
        small_bench.publish(MemorySource(first), limits=LIMITS, on_step=fill_before_the_manifest)
    check_names_the_full_store(caught.value, "PutObject", endpoint_url=small_weed.endpoint_url)
    assert small_bench.record().error == str(caught.value)
    assert small_bench.manifest() is None
    check_whole(small_bench, [first])

    allow(small_weed, volumes=2)
    small_bench.publish(MemorySource(second), limits=LIMITS)
    check_finished(small_bench, second)
    assert small_bench.manifest_epochs() == [1, 2]
    check_nothing_left(small_bench)
