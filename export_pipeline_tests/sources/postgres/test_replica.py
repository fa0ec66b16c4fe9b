"""A day is read from a streaming replica as from its primary; what the replica cancels is named, and fails the day."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers import Postgres, Replica
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, ids_of, settings_for

pytestmark = pytest.mark.slow

START = "2026-03-14 10:00:00+00:00"
IDS = list(range(1, 1001))
NAMED = r"is a replica.*conflicts with what it replays.*hot_standby_feedback = on.*max_standby_streaming_delay"


@pytest.fixture(scope="module")
def replica() -> Iterator[Replica]:
    """A replica, and its primary, that cancels at once whatever stands in the way of the replay."""
    primary = Postgres()
    try:
        primary.initialise()
        primary.start()
        found = Replica(primary)
        found.options = {"max_standby_streaming_delay": 0, "hot_standby_feedback": "off"}
        try:
            found.initialise()
            found.start()
            yield found
        finally:
            found.stop()
    finally:
        primary.stop()


@pytest.fixture
def written(replica: Replica, tmp_path: Path) -> Iterator[Store]:
    """Runs in a database of the primary's that the replica has caught up with."""
    store = Store("postgresql", replica.primary.new_database(), tmp_path)
    store.runs({"inputs": "TEXT"}, unique=True)
    store.run(
        "INSERT INTO runs SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, "
        f"'{PROJECT}', 'run', 'llm', '{START}', repeat('x', 20000) FROM generate_series(1, {len(IDS)}) AS n"
    )
    store.run("CREATE VIEW shown AS SELECT * FROM runs")
    store.run("ALTER TABLE runs SET (autovacuum_enabled = false)")
    replica.catch_up()
    yield store
    store.close()


def on_replica(replica: Replica, store: Store, mapping: str | None = None) -> RunSource:
    path = store.folder / "mapping.yaml"
    path.write_text(mapping or "")
    url = store.url.replace(f":{replica.primary.port}/", f":{replica.port}/")
    return open_source(settings_for(url, mapping=path if mapping else None))


def plain(server: Postgres, store: Store) -> list[int]:
    """The day's ids by plain SQL."""
    rows = server.execute("SELECT id FROM runs ORDER BY id", database=store.url.rpartition("/")[2])
    return [int(id_.replace("-", ""), 16) for (id_,) in rows]


@pytest.mark.parametrize("mapping", [None, "runs: {table: shown}", "runs: {query: SELECT * FROM runs}"])
def test_a_day_is_read_from_a_replica_as_from_its_primary(
    replica: Replica, written: Store, mapping: str | None
) -> None:
    source = on_replica(replica, written, mapping)
    assert replica.execute("SELECT pg_is_in_recovery()") == [(True,)]
    assert ids_of(source) == plain(replica.primary, written) == IDS
    assert source.days(ProjectKey(PROJECT))[DAY].rows == len(IDS)
    assert source.check().problems == ()
    written.run("DELETE FROM runs WHERE id < '00000000-0000-0000-0000-00000000000b'")
    replica.catch_up()
    assert ids_of(source) == plain(replica, written) == IDS[10:]
    source.close()


def test_an_expression_that_fails_on_a_row_is_found_on_a_replica_too(replica: Replica, written: Store) -> None:
    written.run("UPDATE runs SET inputs = CASE WHEN id::text LIKE '%3e8' THEN '[' ELSE '{}' END")
    replica.catch_up()
    source = on_replica(replica, written, "runs: {fields: {inputs: {sql: 'CAST(inputs AS json)'}}}")
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        batches = [(batch.num_rows, batch.schema.metadata) for batch in snapshot.batches()]
        assert snapshot.fingerprint.rows == sum(rows for rows, _ in batches) == len(IDS)
    assert [rows for rows, marked in batches if marked] == [1]
    source.close()


def vacuum(store: Store) -> None:
    store.run("DELETE FROM runs")
    store.run("VACUUM runs")


def truncate(store: Store) -> None:
    store.run("TRUNCATE runs")


def rewrite(store: Store) -> None:
    store.run("ALTER TABLE runs ADD COLUMN noise double precision DEFAULT random()")


def drop(store: Store) -> None:
    store.run("DROP TABLE runs CASCADE")


@pytest.fixture
def little_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a day much is unread after its first batch, however quick the machine is."""
    monkeypatch.setattr("export_pipeline.sources.sql.source.READ_AHEAD_BYTES", 1024 * 1024)


def read(source: RunSource, change: Callable[[], None], *, first: int = 0) -> int:
    """The number of the day's rows; the change comes to the replica after so many batches."""
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        if first == 0:
            change()
        rows = 0
        for number, batch in enumerate(snapshot.batches(), start=1):
            rows += batch.num_rows
            if number == first:
                change()
    return rows


@pytest.mark.usefixtures("little_read_ahead")
@pytest.mark.parametrize("change", [vacuum, truncate, rewrite, drop])
@pytest.mark.parametrize("first", [0, 1], ids=["before the first row", "after it"])
def test_a_day_that_the_replica_cancels_names_both_settings_and_is_read_anew_the_next_time(
    replica: Replica, written: Store, change: Callable[[Store], None], first: int
) -> None:
    source = on_replica(replica, written)
    assert ids_of(source) == IDS

    def arrives() -> None:
        change(written)
        replica.catch_up_or_conflict()

    with pytest.raises(SourceUnreachableError, match=NAMED):
        read(source, arrives, first=first)
    if change is rewrite:
        assert ids_of(source) == plain(replica, written) == IDS
    source.close()


@pytest.mark.usefixtures("little_read_ahead")
def test_every_attempt_that_is_cancelled_ends_with_the_sentence_and_none_begins_again_by_itself(
    replica: Replica, written: Store
) -> None:
    source, arrived = on_replica(replica, written), 0

    def arrives() -> None:
        nonlocal arrived
        arrived += 1
        written.run("VACUUM FULL runs")
        replica.catch_up_or_conflict()

    for _ in range(3):
        with pytest.raises(SourceUnreachableError, match=NAMED):
            read(source, arrives)
    assert arrived == 3
    assert ids_of(source) == IDS
    source.close()
