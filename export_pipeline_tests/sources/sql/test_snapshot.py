"""A snapshot is one state of the store, whole or an error, and ends when it is closed."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime

import pyarrow as pa
import pytest

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.arrays import text_array
from export_pipeline.runs.window import Window
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline.sources.sql.connection_limit import ConnectionLimit
from export_pipeline.sources.sql.read_ahead import ReadAhead
from export_pipeline.sources.sql.session_thread import THREAD_NAME, SessionThread
from export_pipeline.sources.sql.source import SqlSource
from export_pipeline_tests.faults.tcp import TcpProxy
from export_pipeline_tests.servers import Postgres, wait_for
from export_pipeline_tests.sources.stores import (
    DAY,
    EVERYWHERE,
    PROJECT,
    START,
    Store,
    fill,
    readers,
    rows_of,
    settings_for,
    uuid,
)

pytestmark = pytest.mark.slow

WINDOW = Window.of_day(DAY)


class Reading:
    """Reads the day to its end; after the first batch something happens."""

    def __init__(self, source: RunSource, *, on_first: Callable[[], object]) -> None:
        self.source, self.on_first, self.rows = source, on_first, 0

    def read(self) -> None:
        with self.source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
            for batch in snapshot.batches():
                if self.rows == 0:
                    self.on_first()
                self.rows += batch.num_rows


def test_rows_changed_while_a_day_is_read_are_seen_as_they_were(store: Store) -> None:
    store.runs({"modified_at": "{time}"})
    for number in range(4):
        store.add(number, START, name="old", modified_at=START)
    source = store.source()
    writer = Store(store.dialect, store.url, store.folder)
    with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
        before = snapshot.fingerprint
        writer.add(9, START, name="inserted", modified_at=START)
        writer.run("UPDATE runs SET name = 'updated', modified_at = '2027-01-01 00:00:00+00:00' WHERE id = ?", uuid(1))
        writer.run("DELETE FROM runs WHERE id = ?", uuid(2))
        found = pa.Table.from_batches(snapshot.batches())
        assert found.column("name").to_pylist() == ["old"] * 4
        assert found.num_rows == before.rows == 4
    assert [row["name"] for row in rows_of(source)] == [b"old", b"updated", b"old", b"inserted"]
    writer.close()
    source.close()


def test_rows_are_counted_as_they_were_when_their_reading_began(store: Store) -> None:
    store.runs({"modified_at": "{time}"})
    store.add(1, START, modified_at=START)
    source = store.source()
    writer = Store(store.dialect, store.url, store.folder)
    with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
        writer.add(9, START, modified_at="2027-01-01 00:00:00+00:00")
        assert sum(batch.num_rows for batch in snapshot.batches()) == 1
        assert snapshot.fingerprint.rows == 1
        assert snapshot.fingerprint.max_modified_at == datetime.fromisoformat(START)
    writer.close()
    source.close()


def test_a_snapshot_left_in_the_middle_frees_its_connection(store: Store) -> None:
    fill(store, 16, megabytes=3)
    source = store.source()
    for _ in range(10):
        with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
            assert next(iter(snapshot.batches())).num_rows < 16
    if store.dialect == "postgresql":
        wait_for(lambda: not readers(store), what="the end of the connections")
    wait_for(
        lambda: not [thread for thread in threading.enumerate() if thread.name == THREAD_NAME],
        what="the end of the session's thread",
    )
    source.close()


def test_an_error_of_the_consumer_closes_the_snapshot(store: Store) -> None:
    fill(store, 16, megabytes=3)
    source = store.source()

    def fail() -> None:
        raise KeyError("the consumer's own")

    reading = Reading(source, on_first=fail)
    with pytest.raises(KeyError):
        reading.read()
    wait_for(
        lambda: not [thread for thread in threading.enumerate() if thread.name == THREAD_NAME],
        what="the end of the session's thread",
    )
    source.close()


@EVERYWHERE
def test_batches_are_read_once(store: Store) -> None:
    store.runs()
    source = store.source()
    with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
        assert list(snapshot.batches()) == []
        with pytest.raises(RuntimeError, match="once"):
            snapshot.batches()
    source.close()


def test_the_count_is_not_told_while_rows_are_read(store: Store) -> None:
    fill(store, 16, megabytes=3)
    source = store.source()
    with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
        batches = snapshot.batches()
        with pytest.raises(RuntimeError, match="after their end"):
            _ = snapshot.fingerprint
        assert sum(batch.num_rows for batch in batches) == snapshot.fingerprint.rows == 16
    source.close()


def test_a_terminated_server_process_fails_the_read(postgres_store: Store) -> None:
    fill(postgres_store, 16, megabytes=3)
    source = postgres_store.source()
    end = "SELECT pg_terminate_backend(?)"
    reading = Reading(source, on_first=lambda: postgres_store.run(end, *readers(postgres_store)))
    with pytest.raises(SourceUnreachableError, match="broke off"):
        reading.read()
    assert 0 < reading.rows < 16
    assert len(rows_of(source)) == 16
    source.close()


def test_a_broken_connection_fails_the_read_and_a_refused_one_the_next(
    postgres: Postgres, postgres_store: Store
) -> None:
    fill(postgres_store, 16, megabytes=3)
    with TcpProxy(postgres.port) as proxy:
        url = postgres_store.url.replace(str(postgres.port), str(proxy.port))
        source = open_source(settings_for(url))
        reading = Reading(source, on_first=proxy.break_all)
        with pytest.raises(SourceUnreachableError):
            reading.read()
        assert 0 < reading.rows < 16
        proxy.refusing = True
        with pytest.raises(SourceUnreachableError):
            source.days(ProjectKey(PROJECT))
        proxy.refusing = False
        assert source.days(ProjectKey(PROJECT))[DAY].rows == 16
        source.close()


def test_time_outs_of_the_server_do_not_apply_to_a_day(postgres_store: Store) -> None:
    postgres_store.runs()
    options = "%20-cstatement_timeout=60000%20-cidle_in_transaction_session_timeout=60000%20-cTimeZone=Asia/Tokyo"
    source = open_source(settings_for(postgres_store.url + options))
    assert isinstance(source, SqlSource)
    names = ("statement_timeout", "idle_in_transaction_session_timeout", "TimeZone", "transaction_read_only")
    with closing(source._begin(None)) as session:
        found = session.rows(f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}")
    assert found == [("0", "0", "UTC", "on")]
    source.close()


def test_a_closed_source_refuses_and_lets_readers_end(store: Store) -> None:
    fill(store, 16, megabytes=3)
    source = store.source()
    with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
        batches = snapshot.batches()
        first = next(batches)
        source.close()
        assert first.num_rows + sum(batch.num_rows for batch in batches) == 16
        with pytest.raises(SourceUnreachableError, match="closed"):
            source.projects()


@EVERYWHERE
def test_many_threads_read_at_once_over_few_connections(store: Store) -> None:
    store.runs(unique=True)
    for number in range(20):
        store.add(number, START)
    source = store.source()
    with ThreadPoolExecutor(20) as pool:
        counts = list(pool.map(lambda _: len(rows_of(source)), range(40)))
    assert counts == [20] * 40
    source.close()


def test_slots_let_so_many_in_and_no_more() -> None:
    slots = ConnectionLimit(2)
    inside = threading.Semaphore(0)
    leave = threading.Event()
    most, now, lock = 0, 0, threading.Lock()

    def enter() -> None:
        nonlocal most, now
        with slots.take():
            with lock:
                now += 1
                most = max(most, now)
            inside.release()
            assert leave.wait(30)
            with lock:
                now -= 1

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(enter) for _ in range(6)]
        inside.acquire()
        inside.acquire()
        leave.set()
        for future in futures:
            future.result(30)
    assert most == 2


class Idle:
    """A session that does nothing of its own."""

    def cancel(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing was opened."""


def thread_of(session: Idle, *, seconds: float = 600) -> SessionThread[Idle]:
    return SessionThread(lambda: session, seconds=seconds, place="here")


def batch_of(size: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([text_array([b"x" * size])], names=["x"])


def test_reading_ahead_is_bounded_by_bytes() -> None:
    made: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(100):
            made.append(1000)
            yield batch_of(1000)

    ahead = ReadAhead((batch for batch in batches()), thread=thread_of(Idle()), limit=10_000)
    most = 0
    for taken, _ in enumerate(ahead, start=1):
        most = max(most, len(made) - taken)
    ahead.close()
    assert len(made) == 100
    assert most <= 11


def test_only_waiting_for_the_store_counts_as_its_time() -> None:
    thread = thread_of(Idle())
    ahead = ReadAhead((batch_of(1) for _ in range(3)), thread=thread)
    assert ahead._task.ended.wait(60)
    thread.seconds = 0
    assert [batch.num_rows for batch in ahead] == [1, 1, 1]
    ahead.close()


def test_an_error_while_reading_ahead_reaches_the_consumer_after_the_rows_before_it() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield batch_of(1)
        raise SourceUnreachableError("gone")

    ahead = ReadAhead((batch for batch in batches()), thread=thread_of(Idle()))
    assert next(ahead).num_rows == 1
    for _ in range(2):
        with pytest.raises(SourceUnreachableError, match="gone"):
            next(ahead)
    ahead.close()


def test_reading_imports_neither_pandas_nor_polars(
    sqlite_store: Store, postgres_store: Store, clickhouse_store: Store
) -> None:
    stores = (sqlite_store, postgres_store, clickhouse_store)
    for store in stores:
        store.runs({"inputs": "TEXT"})
        store.add(1, START, inputs="{}")
    program = (
        "import sys; from export_pipeline.runs.window import Window; from datetime import date\n"
        "from export_pipeline.sources.factory import open_source; from export_pipeline.settings import load_settings\n"
        "from export_pipeline.sources.protocol import ProjectKey\n"
        "project = ProjectKey(sys.argv[1])\n"
        "for url in sys.argv[2:]:\n"
        "    source = open_source(load_settings(source_url=url, control_url='sqlite:///control.db', bucket='bucket'))\n"
        "    with source.open(project, Window.of_day(date(2026, 3, 14))) as snapshot:\n"
        "        print(sum(batch.num_rows for batch in snapshot.batches()))\n"
        "    print(len(source.projects()), len(source.days(project)))\n"
        "    source.close()\n"
        "print('pandas' in sys.modules, 'polars' in sys.modules)"
    )
    command = [sys.executable, "-c", program, PROJECT, *(store.url for store in stores)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()) == ("", ["1", "1", "1"] * 3 + ["False", "False"])
