"""The control database fails in the middle of a day: it is asked again, and no day is committed twice."""

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import ControlUnreachableError
from export_pipeline.exports.commit import publish
from export_pipeline.exports.commit.transitions import take_sequence
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import facts
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline_tests.exports.commit import children
from export_pipeline_tests.exports.commit.bench import DAY, QUICK, Bench
from export_pipeline_tests.exports.commit.children import ended, is_stopped
from export_pipeline_tests.exports.commit.promises import check_finished, check_nothing_left, check_whole
from export_pipeline_tests.exports.commit.steps import at
from export_pipeline_tests.exports.conftest import make_bench
from export_pipeline_tests.exports.memory_source import MemorySource, rows_of
from export_pipeline_tests.faults.tcp import TcpProxy
from export_pipeline_tests.servers import Postgres, Rclone, wait_for

pytestmark = pytest.mark.slow

CALM = replace(QUICK, lease_seconds=600.0)
"""No heartbeat comes between two steps."""

SESSION = {
    "idle_in_transaction_session_timeout": "15000",
    "lock_timeout": "30000",
    "statement_timeout": "60000",
    "tcp_user_timeout": "30000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
"""What the server is asked to do with the usual time-out; times in milliseconds, of keepalives in seconds."""
BEFORE_TRANSACTIONS = [
    "claimed",
    "fenced",
    "snapshot",
    "streamed",
    "upload announced",
    "upload created",
    "parts uploaded",
    "intent",
    "completed",
    "verified",
    "manifest",
]


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[TcpProxy]:
    """Stands before PostgreSQL."""
    with TcpProxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def far_bench(postgres: Postgres, proxy: TcpProxy, rclone: Rclone) -> Iterator[Bench]:
    """A bench whose control database lies behind the proxy."""
    near = ControlDatabase(postgres.new_database())
    near.migrate()
    near.close()
    url = near.url.set(port=proxy.port).render_as_string(hide_password=False)
    control = ControlDatabase(url, timeout=5.0)
    made = make_bench(control, rclone)
    yield made
    made.store.close()
    control.close()


def test_the_lost_answer_of_any_commit_leads_to_one_commit_of_the_day(far_bench: Bench, proxy: TcpProxy) -> None:
    lost_at = set()
    for number, step in enumerate(["before", *BEFORE_TRANSACTIONS]):
        day = DAY + timedelta(days=number)
        rows = rows_of(day, 7)
        lost = threading.Event()
        if step == "before":
            lost = proxy.lose_answer_to(b"COMMIT")
        events = [lost]
        hook = at(step, lambda events=events: events.append(proxy.lose_answer_to(b"COMMIT")))  # type: ignore[misc]
        outcome = far_bench.publish(MemorySource(rows), day=day, limits=CALM, on_step=hook)
        assert (outcome.outcome, outcome.epoch) == ("committed", 1), step
        assert events[-1].is_set(), step
        lost_at.add(step)
        check_finished(far_bench, rows, day=day)
        assert far_bench.manifest_epochs(day) == [1]
    assert len(lost_at) == len(BEFORE_TRANSACTIONS) + 1
    assert len(far_bench.sequence()) == len(lost_at)
    check_nothing_left(far_bench)


def test_a_control_database_that_comes_back_soon_is_waited_for(far_bench: Bench, proxy: TcpProxy) -> None:
    for number, step in enumerate(["snapshot", "parts uploaded", "completed", "manifest"]):
        day = DAY + timedelta(days=number)

        def lose() -> None:
            proxy.refusing = True
            proxy.break_all()
            threading.Timer(0.4, lambda: setattr(proxy, "refusing", False)).start()

        outcome = far_bench.publish(MemorySource(rows_of(day, 7)), day=day, on_step=at(step, lose))
        assert (outcome.outcome, outcome.epoch) == ("committed", 1), step
        check_finished(far_bench, rows_of(day, 7), day=day)
    check_nothing_left(far_bench)


def test_a_control_database_that_stays_away_fails_the_day_and_the_next_attempt_finishes_it(
    far_bench: Bench, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_GIVE_BACK_PATIENCE", 0.1)
    for number, step in enumerate(["snapshot", "parts uploaded", "intent", "completed", "manifest"]):
        day = DAY + timedelta(days=number)
        first, second = rows_of(day, 3, name="first"), rows_of(day, 4, name="second")

        def lose() -> None:
            proxy.refusing = True
            proxy.break_all()

        with pytest.raises(ControlUnreachableError, match="EXPORT_PIPELINE_CONTROL_URL"):
            far_bench.publish(MemorySource(first), day=day, limits=replace(QUICK, patience=0.3), on_step=at(step, lose))
        proxy.refusing = False
        check_whole(far_bench, [None, first], day=day)
        far_bench.publish(MemorySource(second), day=day, owner_ended=ended)
        check_finished(far_bench, second, day=day)
    check_nothing_left(far_bench)


def test_a_locked_control_database_is_waited_for(bench: Bench) -> None:
    for number, step in enumerate(["snapshot", "parts uploaded", "manifest"]):
        day = DAY + timedelta(days=number)
        with closing(
            sqlite3.connect(str(bench.control.url.database), isolation_level=None, check_same_thread=False)
        ) as other:

            def lock(other: sqlite3.Connection = other) -> None:
                other.execute("BEGIN IMMEDIATE")
                threading.Timer(0.4, lambda: other.execute("ROLLBACK")).start()

            outcome = bench.publish(MemorySource(rows_of(day, 7)), day=day, on_step=at(step, lock))
        assert (outcome.outcome, outcome.epoch) == ("committed", 1)
        check_finished(bench, rows_of(day, 7), day=day)
    check_nothing_left(bench)


def test_a_writer_that_is_stopped_inside_a_transaction_does_not_stop_the_others(
    postgres_control: ControlDatabase, rclone: Rclone
) -> None:
    url = postgres_control.url.render_as_string(hide_password=False)
    report = children.new_queue()
    process = children.context().Process(target=stop_with_the_counter_held, args=(url, report), daemon=True)
    process.start()
    wait_for(lambda: is_stopped(process), what="the pause inside a transaction")
    control = ControlDatabase(url, timeout=4.0)
    bench = make_bench(control, rclone)
    rows = rows_of(DAY, 7)
    assert bench.publish(MemorySource(rows)).outcome == "committed"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    assert report.get(timeout=60) == [1, 2]  # the number that was rolled back, and then one of its own
    process.join(60)
    check_finished(bench, rows)
    assert bench.sequence() == [(1, DAY, 7)]
    with control.read() as connection:
        fact = sa.select(facts.c.value).where(facts.c.name == "commit_sequence")
        assert connection.execute(fact).scalar_one() == "2"
    bench.close()


def stop_with_the_counter_held(url: str, report: Any) -> None:
    """Takes a number of the sequence of commits, and stops itself before the transaction ends, the first time."""
    control = ControlDatabase(url, timeout=4.0)
    taken: list[int] = []

    def take(connection: Transaction) -> None:
        taken.append(take_sequence(connection, 1))
        if len(taken) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)

    control.run(take)
    report.put(taken)


def test_whoever_waits_in_vain_is_told_that_somebody_holds_the_row(postgres: Postgres) -> None:
    url = postgres.new_database()
    control = ControlDatabase(url, timeout=1.0)
    control.migrate()
    other = sa.create_engine(url)
    with other.begin() as connection:
        take_sequence(Transaction(connection), 1)
        with pytest.raises(ControlUnreachableError, match="is up, but another session holds a row"):
            control.run(lambda connection: take_sequence(connection, 1), patience=0)
    assert control.run(lambda connection: take_sequence(connection, 1)) == 2
    other.dispose()
    control.close()


def test_the_server_is_asked_to_end_sessions_whose_machine_is_gone(postgres_control: ControlDatabase) -> None:
    with postgres_control.read() as connection:
        rows = connection.execute(sa.text("SELECT name, setting FROM pg_settings")).all()
    found = {row.name: row.setting for row in rows}
    assert {name: found[name] for name in SESSION} == SESSION
