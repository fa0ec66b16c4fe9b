"""Attempts in processes of their own, which kill or stop themselves at a step.

The processes are forked from a server process that has imported everything and run nothing: a fork of the test
process itself would lack the threads of Polars and Arrow and hang.
"""

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

import psutil
import sqlalchemy as sa

from export_pipeline.errors import ExportPipelineError
from export_pipeline.exports.commit.publisher import PublishLimits
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.tables import days
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline_tests.exports.commit.bench import DAY, QUICK, Bench, make_store
from export_pipeline_tests.exports.memory_source import MemorySource, Row
from export_pipeline_tests.servers import wait_for


@dataclass(frozen=True)
class Credentials:
    """As much of an S3 server as a bench needs in another process."""

    endpoint_url: str
    region: str
    access_key_id: str
    secret_access_key: str

    def identity(self, name: str) -> tuple[str, str]:
        """The one user."""
        return self.access_key_id, self.secret_access_key


@dataclass(frozen=True)
class Attempt:
    """One attempt at a day in another process: at step `at` (its `nth` time) it sends itself `how`.

    One that was stopped and goes on kills itself at `killed_at`.
    """

    control_url: str
    server: Credentials
    export: TableRecord
    rows: tuple[Row, ...]
    day: date = DAY
    at: str | None = None
    nth: int = 1
    how: signal.Signals = signal.SIGKILL
    killed_at: str | None = None
    limits: PublishLimits = QUICK
    launched_at: int | None = None
    allow_shrink: bool = False
    wait_for_lease: float = 30.0


def attempt_of(bench: Bench, rows: list[Row], **options: Any) -> Attempt:
    """An attempt over the bench's places."""
    server = bench.server
    seen = Credentials(server.endpoint_url, server.region, server.access_key_id, server.secret_access_key)
    return Attempt(bench.control.url.render_as_string(hide_password=False), seen, bench.export, tuple(rows), **options)


def context() -> ForkServerContext:
    """Where processes are forked from."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["export_pipeline_tests.exports.commit.warm"])
    return server


def start(attempt: Attempt, report: Any = None) -> BaseProcess:
    """Begins an attempt; `report`, a queue, is told the outcome's or the error's name, and the owner is its pid."""
    process = context().Process(target=_work, args=(attempt, report), daemon=True)
    process.start()
    return process


def run(attempt: Attempt) -> int:
    """Runs an attempt to its end and tells how it ended: an exit status, or the negative number of a signal."""
    process = start(attempt)
    process.join(60)
    assert process.exitcode is not None, f"the attempt hangs: {attempt.at}"
    return process.exitcode


def new_queue() -> Any:
    """A queue for `start`."""
    return context().Queue()


def bench_of(attempt: Attempt) -> Bench:
    """The attempt's places, over connections of this process."""
    control = ControlDatabase(attempt.control_url)
    return Bench(control, make_store(attempt.server, attempt.export.bucket), attempt.export, attempt.server)  # type: ignore[arg-type]


def _work(attempt: Attempt, report: Any) -> None:
    bench = bench_of(attempt)
    try:
        outcome = bench.publish(
            MemorySource(list(attempt.rows)),
            day=attempt.day,
            limits=attempt.limits,
            on_step=signal_at(attempt),
            owner=f"process:test:{os.getpid()}",
            launched_at=attempt.launched_at,
            allow_shrink=attempt.allow_shrink,
            wait_for_lease=attempt.wait_for_lease,
        )
        if report is not None:
            report.put(outcome.outcome)
    except ExportPipelineError as error:
        if report is None:
            raise
        report.put(type(error).__name__)


def signal_at(attempt: Attempt) -> Callable[[str], None]:
    """The hook that sends the process the attempt's signal at its step."""
    seen = 0

    def on_step(name: str) -> None:
        nonlocal seen
        if name == attempt.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if name == attempt.at:
            seen += 1
            if seen == attempt.nth:
                os.kill(os.getpid(), attempt.how)

    return on_step


def expire_leases(connection: Transaction) -> None:
    """Ends all leases now, as time would."""
    connection.execute(sa.update(days).values(lease_until=0))


def ended(owner: str) -> bool:
    """Killed processes have ended."""
    return True


def paused(bench: Bench, rows: list[Row], report: Any, *, day: date, at: str, **options: Any) -> BaseProcess:
    """A writer that has stopped itself at a step.

    One whose heartbeat was stopped in the middle of its transaction would lock an SQLite database for everybody:
    another one takes its place.
    """
    attempt = attempt_of(bench, rows, day=day, at=at, how=signal.SIGSTOP, allow_shrink=True, **options)
    while True:
        bench.control.run(expire_leases)
        process = start(attempt, report)
        wait_for(lambda stopped=process: is_stopped(stopped), what=f"the pause at {at}")  # type: ignore[misc]
        if not is_locked(bench):
            return process
        process.kill()
        process.join(60)


def is_locked(bench: Bench) -> bool:
    """Whether a stopped process holds the control database."""
    if not bench.control.is_sqlite:
        return False
    with closing(sqlite3.connect(str(bench.control.url.database), timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


def is_stopped(process: BaseProcess) -> bool:
    return process.pid is not None and psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def resume(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    process.join(60)
    assert process.exitcode == 0
