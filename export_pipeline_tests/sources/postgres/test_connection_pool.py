"""Connections to PostgreSQL are kept from one session to the next, and a lost one is noticed."""

import pytest

from export_pipeline.sources.postgres.connection_pool import ConnectionPool
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.servers import wait_for
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, readers


class Connection:
    """Knows whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


def test_the_connection_that_was_given_last_is_taken_first() -> None:
    pool, first, last = ConnectionPool(), Connection(), Connection()
    pool.give(first)
    pool.give(last)
    assert [pool.take(), pool.take(), pool.take()] == [last, first, None]
    assert not first.closed
    assert not last.closed


def test_connections_that_were_idle_for_too_long_are_closed_and_not_taken() -> None:
    pool, connections = ConnectionPool(seconds=0), [Connection(), Connection()]
    for connection in connections:
        pool.give(connection)
    assert pool.take() is None
    assert all(connection.closed for connection in connections)


def test_closing_closes_those_that_are_kept_and_those_that_come_later() -> None:
    pool, before, after = ConnectionPool(), Connection(), Connection()
    pool.give(before)
    pool.close()
    pool.give(after)
    assert before.closed
    assert after.closed
    assert pool.take() is None


@pytest.mark.slow
def test_sessions_follow_one_another_on_one_connection_until_the_source_is_closed(postgres_store: Store) -> None:
    postgres_store.runs()
    postgres_store.add(1, "2026-03-14 10:00:00+00:00")
    source = postgres_store.source()
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 1
    used = readers(postgres_store)
    assert len(used) == 1
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 1
    assert readers(postgres_store) == used
    source.close()
    wait_for(lambda: not readers(postgres_store), what="the end of the connection")


@pytest.mark.slow
def test_a_kept_connection_that_the_server_has_ended_is_replaced(postgres_store: Store) -> None:
    postgres_store.runs()
    postgres_store.add(1, "2026-03-14 10:00:00+00:00")
    source = postgres_store.source()
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 1
    ended = readers(postgres_store)
    postgres_store.run("SELECT pg_terminate_backend(?)", *ended)
    wait_for(lambda: not readers(postgres_store), what="the end of the connection")
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 1
    assert len(readers(postgres_store)) == 1
    assert readers(postgres_store) != ended
    source.close()
