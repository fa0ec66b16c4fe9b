"""The trace store fails or changes while a day is read: one snapshot in a day, or no commit."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.exports.commit.bench import Bench, make_store, new_export
from export_pipeline_tests.exports.commit.promises import check_nothing_left
from export_pipeline_tests.exports.commit.steps import at
from export_pipeline_tests.servers import Postgres, Rclone
from export_pipeline_tests.sources.stores import DAY, PROJECT, START, Store, fill, readers, settings_for, uuid

pytestmark = pytest.mark.slow


@dataclass
class Day:
    """A day of a real trace store, to be published."""

    bench: Bench
    store: Store

    def publish(self, on_step: Callable[[str], None] = lambda name: None) -> int:
        """One attempt; the rows that were committed."""
        with closing(open_source(settings_for(self.store.url))) as source:
            return self.bench.publish(source, day=DAY, on_step=on_step).rows

    @property
    def names(self) -> list[str] | None:
        """The names of the published rows, in the order of the file."""
        found = self.bench.published(DAY)
        return None if found is None else [name for _, name in found]


@pytest.fixture(params=["sqlite", "postgresql"])
def day(request: pytest.FixtureRequest, control: ControlDatabase, rclone: Rclone, tmp_path: Path) -> Iterator[Day]:
    """A day in each kind of store in turn."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/traces.db"
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.new_database()
    yield from _day(Store(request.param, url, tmp_path), control, rclone)


@pytest.fixture
def postgres_day(postgres: Postgres, control: ControlDatabase, rclone: Rclone, tmp_path: Path) -> Iterator[Day]:
    """A day in PostgreSQL."""
    yield from _day(Store("postgresql", postgres.new_database(), tmp_path), control, rclone)


def _day(store: Store, control: ControlDatabase, rclone: Rclone) -> Iterator[Day]:
    bucket = rclone.new_bucket()
    bench = Bench(control, make_store(rclone, bucket), new_export(control, bucket, project=PROJECT), rclone)
    with closing(store), closing(bench.store):
        yield Day(bench, store)


def test_rows_that_change_while_their_day_is_read_are_published_as_they_were(day: Day) -> None:
    day.store.runs({"modified_at": "{time}"})
    for number in range(4):
        day.store.add(number, START, name="old", modified_at=START)

    def change() -> None:
        later = "2027-01-01 00:00:00+00:00"
        with closing(Store(day.store.dialect, day.store.url, day.store.folder)) as writer:
            writer.add(9, START, name="inserted", modified_at=START)
            writer.run("UPDATE runs SET name = 'updated', modified_at = ? WHERE id = ?", later, uuid(1))
            writer.run("DELETE FROM runs WHERE id = ?", uuid(2))

    assert day.publish(at("snapshot", change)) == 4
    assert day.names == ["old"] * 4
    assert day.publish() == 4
    assert day.names == ["old", "updated", "old", "inserted"]
    check_nothing_left(day.bench)


def test_a_connection_that_is_ended_while_a_day_is_read_commits_nothing(postgres_day: Day, postgres: Postgres) -> None:
    fill(postgres_day.store, 16, megabytes=3)

    def kill_and_start() -> None:
        postgres.kill()
        postgres.start()

    ends: list[Callable[[], object]] = [
        lambda: postgres_day.store.run("SELECT pg_terminate_backend(?)", *readers(postgres_day.store)),
        postgres.restart,
        kill_and_start,
    ]
    for end in ends:
        with pytest.raises(SourceUnreachableError, match="broke off"):
            postgres_day.publish(at("batch", end))
        assert postgres_day.names is None
        assert postgres_day.bench.record(DAY).status == "Failed"
        assert postgres_day.bench.open_uploads() == []
    assert postgres_day.publish() == 16
    assert postgres_day.names == ["run"] * 16
    check_nothing_left(postgres_day.bench)


def test_time_outs_of_the_database_do_not_end_a_day(postgres_day: Day) -> None:
    fill(postgres_day.store, 16, megabytes=3)
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
        name = postgres_day.store.url.rpartition("/")[2]
        postgres_day.store.run(f"ALTER DATABASE {name} SET {setting} = '300ms'")
    longer = at("batch", lambda: postgres_day.store.run("SELECT pg_sleep(0.7)"))
    assert postgres_day.publish(longer) == 16
    assert postgres_day.names == ["run"] * 16
