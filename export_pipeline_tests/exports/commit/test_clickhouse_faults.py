"""ClickHouse fails while a day is read: the day fails, and nothing short is ever committed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.exports.commit.bench import Bench, make_store, new_export
from export_pipeline_tests.exports.commit.promises import check_nothing_left
from export_pipeline_tests.servers import ClickhouseServer, Rclone
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, settings_for

pytestmark = pytest.mark.slow

ROWS = 30_000
DAY_QUERY = "`start_time out`"
"""What only the SELECT of a day has in it."""

FAULTS = {
    "reset": "broke off",
    "exception": "a limit of the server or of its user was reached: Memory limit .* exceeded.*code 241",
    "exception_between_batches": "Quota for user default .* has been exceeded.*code 201",
    "tagged_exception": "Memory limit .* exceeded.*code 241",
    "exception_after_the_end": "Memory limit .* exceeded.*code 241",
    "truncated": "the answer ended in the middle of the rows",
    "truncated_between_batches": "the answer ended in the middle of the rows",
    "without_end": "the answer ended in the middle of the rows",
    "nothing": "the answer ended in the middle of the rows",
    "refused": "Quota for user default .* has been exceeded",
}


class Published:
    """A day of 30,000 rows in ClickHouse, to be published."""

    def __init__(self, server: ClickhouseServer, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.store = Store("clickhouse", server.url(server.new_database()), folder)
        fill(self.store)

    def publish(self) -> int:
        """One attempt; the rows that were committed."""
        with closing(open_source(settings_for(self.store.url))) as source:
            return self.bench.publish(source, day=DAY).rows

    @property
    def rows(self) -> int | None:
        """How many rows the bucket has of the day."""
        found = self.bench.published(DAY)
        return None if found is None else len(found)


def fill(store: Store) -> None:
    """`ROWS` rows on the day, in batches of 8,192."""
    store.projects(PROJECT)
    columns = {"id": "{uuid}", "session_id": "{uuid}", "name": "String", "run_type": "String"}
    store.table("runs", {**columns, "start_time": "DateTime64(6) NOT NULL", "inputs": "String"})
    store.run(
        f"INSERT INTO runs SELECT generateUUIDv4(), '{PROJECT}', 'run', 'llm', "
        f"toDateTime64('2026-03-14 00:00:00', 6, 'UTC') + number, hex(sipHash128(number)) FROM numbers({ROWS})"
    )


@pytest.fixture
def published(
    clickhouse: ClickhouseServer, control: ControlDatabase, rclone: Rclone, tmp_path: Path
) -> Iterator[Published]:
    bucket = rclone.new_bucket()
    bench = Bench(control, make_store(rclone, bucket), new_export(control, bucket, project=PROJECT), rclone)
    with closing(bench.store):
        yield Published(clickhouse, bench, tmp_path)


def test_a_day_that_does_not_come_to_its_end_is_not_committed(
    published: Published, clickhouse: ClickhouseServer
) -> None:
    for fault, words in FAULTS.items():
        clickhouse.play(fault, match=DAY_QUERY)
        with pytest.raises(SourceUnreachableError, match=words):
            published.publish()
        assert published.rows is None, fault
        assert published.bench.record(DAY).status == "Failed"
        assert published.bench.open_uploads() == []
    assert published.publish() == ROWS
    assert published.rows == ROWS
    check_nothing_left(published.bench)


def test_a_day_that_was_committed_stays_as_it_was(published: Published, clickhouse: ClickhouseServer) -> None:
    assert published.publish() == ROWS
    published.store.run(
        f"INSERT INTO runs SELECT generateUUIDv4(), '{PROJECT}', 'late', 'llm', "
        "toDateTime64('2026-03-14 12:00:00', 6, 'UTC'), '' FROM numbers(10)"
    )
    for fault in ("exception", "truncated_between_batches"):
        clickhouse.play(fault, match=DAY_QUERY)
        with pytest.raises(SourceUnreachableError):
            published.publish()
        assert published.rows == ROWS
    assert published.publish() == ROWS + 10
    check_nothing_left(published.bench)


def test_a_server_that_is_killed_while_a_day_is_read_leaves_nothing(
    published: Published, clickhouse: ClickhouseServer
) -> None:
    clickhouse.play("killed", match=DAY_QUERY)
    with pytest.raises(SourceUnreachableError, match="broke off"):
        published.publish()
    clickhouse.wait_killed()
    with pytest.raises(SourceUnreachableError, match="ClickHouse does not answer: Connection refused"):
        published.publish()
    assert published.rows is None
    clickhouse.start()
    database = published.store.url.rpartition("/")[2]
    clickhouse.execute(f"CREATE DATABASE {database}")
    fill(published.store)
    assert published.publish() == ROWS
    check_nothing_left(published.bench)
