"""A store that gives nothing any more is not waited for for ever: the question fails, and the next one is asked."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from export_pipeline.errors import SourceSlowError
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline.sources.sql import session_thread
from export_pipeline.sources.sql.source import SqlSnapshot, SqlSource
from export_pipeline_tests.servers import wait_for
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, readers, rows_of

pytestmark = pytest.mark.slow

START = "2026-03-14 10:00:00+00:00"
WINDOW = Window.of_day(DAY)
MESSAGE = r"gave nothing for 0\.0\d+ minutes, the longest that EXPORT_PIPELINE_SOURCE_MINUTES lets it be waited for"

Question = Callable[[RunSource], object]


PATIENCE = 1.2


@contextmanager
def impatient(source: RunSource) -> Iterator[None]:
    """Only what is asked meanwhile has to be answered soon; opening the store and planning take what they take."""
    assert isinstance(source, SqlSource)
    usual, source._patience = source._patience, PATIENCE
    try:
        yield
    finally:
        source._patience = usual


def endless(store: Store) -> None:
    """A view that has rows of the day and never comes to its end."""
    store.runs(unique=True)
    store.add(1, START)
    store.run("ALTER TABLE runs RENAME TO kept")
    if store.dialect == "sqlite":
        never = "(WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n)"
        store.run(f"CREATE VIEW runs AS SELECT * FROM kept WHERE {never} > 0")
    elif store.dialect == "mysql":
        columns = "id, if(sleep(3600), NULL, session_id) AS session_id, name, run_type, start_time"
        store.run(f"CREATE VIEW runs AS SELECT {columns} FROM kept")
    else:
        store.run("CREATE VIEW runs AS SELECT kept.* FROM kept, pg_sleep(3600)")


def read(source: RunSource) -> None:
    with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
        for _ in snapshot.batches():
            pass


@pytest.mark.parametrize(
    "question",
    [
        read,
        lambda source: source.days(ProjectKey(PROJECT)),
        lambda source: source.outside(ProjectKey(PROJECT), WINDOW),
        lambda source: source.unassigned(),
    ],
    ids=["open", "days", "outside", "unassigned"],
)
def test_a_question_that_is_never_answered_fails_and_is_cancelled(store: Store, question: Question) -> None:
    endless(store)
    source = store.source()
    with pytest.raises(SourceSlowError, match=MESSAGE), impatient(source):
        question(source)
    if store.dialect == "postgresql":
        wait_for(lambda: not readers(store), what="the end of what was cancelled")
    store.run("DROP VIEW runs")
    store.run("ALTER TABLE kept RENAME TO runs")
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 1
    source.close()


def thaw(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_server_process_that_is_frozen_fails_the_day_and_not_the_next(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_thread, "_GRACE_SECONDS", 0.3)
    postgres_store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(16):
        postgres_store.add(number, START, inputs="x")
    postgres_store.run("UPDATE runs SET inputs = repeat('x', 6000000)")
    source = postgres_store.source()
    pids: list[int] = []
    found: list[int] = []

    def read_and_freeze() -> None:
        with source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
            assert isinstance(snapshot, SqlSnapshot)
            for batch in snapshot.batches():
                found.append(batch.num_rows)
                pids.extend([] if pids else readers(postgres_store))
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                snapshot._thread.seconds = PATIENCE

    try:
        with pytest.raises(SourceSlowError, match=MESSAGE):
            read_and_freeze()
        assert 0 < sum(found) < 16
        assert len(rows_of(source)) == 16
    finally:
        thaw(pids)
    source.close()
    wait_for(lambda: not readers(postgres_store), what="the end of the connections")


def test_a_process_ends_although_a_server_process_is_frozen(postgres_store: Store) -> None:
    postgres_store.runs()
    program = (
        "import os, signal, sys\n"
        "from export_pipeline.settings import load_settings\n"
        "from export_pipeline.sources.sql import session_thread\n"
        "from export_pipeline.sources.factory import open_source\n"
        "from export_pipeline.sources.protocol import ProjectKey\n"
        "session_thread._GRACE_SECONDS = 0.3\n"
        "source = open_source(load_settings(source_url=sys.argv[1], source_minutes=0.1, bucket='bucket',\n"
        "    control_url='sqlite:///control.db'))\n"
        "source.days(ProjectKey('x'))\n"
        "def frozen(session):\n"
        "    pid = session.rows('SELECT pg_backend_pid()')[0][0]\n"
        "    os.kill(pid, signal.SIGSTOP)\n"
        "    print(pid, flush=True)\n"
        "    return session.rows('SELECT 1')\n"
        "try:\n"
        "    source._answer(frozen)\n"
        "finally:\n"
        "    source.close()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, postgres_store.url], capture_output=True, text=True, timeout=120, check=False
    )
    pid = int(ended.stdout)
    thaw([pid])
    assert ended.returncode == 1
    assert "gave nothing for 0.1 minutes" in ended.stderr
