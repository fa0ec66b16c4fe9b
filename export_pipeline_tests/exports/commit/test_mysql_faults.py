"""MariaDB ends what is read of a day, in many ways: the day fails, and nothing short is ever committed."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.mysql.client import Mysql
from export_pipeline_tests.exports.commit.bench import Bench, make_store, new_export
from export_pipeline_tests.exports.commit.promises import check_nothing_left
from export_pipeline_tests.servers import MariadbServer, Rclone
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, settings_for

pytestmark = pytest.mark.slow

ROWS = 4_000
MIDST = ROWS // 2


@pytest.fixture
def bench(control: ControlDatabase, rclone: Rclone) -> Iterator[Bench]:
    bucket = rclone.new_bucket()
    made = Bench(control, make_store(rclone, bucket), new_export(control, bucket, project=PROJECT), rclone)
    with closing(made.store):
        yield made


@pytest.fixture
def filled(mysql_store: Store) -> Store:
    """A day of 64 MB, of which most is still to be sent when half of it has come."""
    mysql_store.runs({"inputs": "TEXT"}, unique=True)
    mysql_store.run(
        f"INSERT INTO runs SELECT uuid(), '{PROJECT}', 'run', 'llm', '2026-03-14 00:00:00' + INTERVAL seq SECOND, "
        f"repeat(md5(seq), 500) FROM seq_1_to_{ROWS}"
    )
    return mysql_store


def in_the_midst(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Any], None]) -> None:
    """Plays a fault on the connection once, when half of a day's rows have come."""
    each = Mysql.each

    def broken(mysql: Mysql, connection: Any, sql: str) -> Iterator[tuple[Any, ...]]:
        for place, row in enumerate(each(mysql, connection, sql)):
            if place == MIDST:
                monkeypatch.setattr(Mysql, "each", each)
                fault(connection)
            yield row

    monkeypatch.setattr(Mysql, "each", broken)


def publish(store: Store, bench: Bench) -> int:
    """One attempt; the rows that were committed."""
    with closing(open_source(settings_for(store.url))) as source:
        return bench.publish(source, day=DAY).rows


@pytest.mark.parametrize("fault", ["KILL CONNECTION", "KILL QUERY", "the line", "the server"])
def test_a_day_that_does_not_come_to_its_end_is_not_committed(
    filled: Store, bench: Bench, mariadb: MariadbServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    kinds: dict[str, Callable[[Any], None]] = {
        "the line": lambda connection: connection._sock.shutdown(2),
        "the server": lambda _: mariadb.kill(),
    }
    in_the_midst(monkeypatch, kinds.get(fault, lambda connection: filled.run(f"{fault} {connection.thread_id()}")))
    with pytest.raises(SourceUnreachableError, match="broke off"):
        publish(filled, bench)
    assert bench.published(DAY) is None
    assert bench.record(DAY).status == "Failed"
    assert bench.open_uploads() == []
    if not mariadb.alive:
        mariadb.start()
        filled.connection = filled.connect()
    assert publish(filled, bench) == ROWS
    found = bench.published(DAY)
    assert found is not None
    assert len(found) == ROWS
    check_nothing_left(bench)
