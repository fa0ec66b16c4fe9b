"""Profiles that cut results, and users who may change nothing: a day is whole, or the store is refused."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from export_pipeline.errors import SourceUnreachableError, SourceUnusableError
from export_pipeline.sources.clickhouse.server_settings import MUST_BE
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, execute, rows_of, settings_for

pytestmark = pytest.mark.slow

ROWS = 20_000
CUTTING = {"limit": "7", "offset": "3", "additional_result_filter": "1 = 0"}
BREAKING = {
    "result_overflow_mode": {"max_result_rows": "10"},
    "read_overflow_mode": {"max_rows_to_read": "10"},
    "sort_overflow_mode": {"max_rows_to_sort": "10"},
    "set_overflow_mode": {"max_rows_in_set": "1"},
}


@pytest.fixture
def filled(clickhouse_store: Store) -> Store:
    """Each of 20,000 runs in two versions, of which parts of the engine's own have not been merged."""
    store = clickhouse_store
    store.projects(PROJECT)
    columns = "id UUID, session_id UUID, name String, run_type String, start_time DateTime64(6), modified_at DateTime"
    engine = "ReplacingMergeTree(modified_at) ORDER BY (session_id, toDate(start_time), id)"
    execute(store.url, f"CREATE TABLE runs ({columns}) ENGINE = {engine}", nullable=False)
    for name in ("old", "new"):
        store.run(
            f"INSERT INTO runs SELECT toUUID(leftPad(hex(number + 1), 32, '0')), '{PROJECT}', '{name}', 'llm', "
            f"toDateTime64('2026-03-14 00:00:00', 6, 'UTC') + number, {int(name == 'new')} + 1 FROM numbers({ROWS})"
        )
    return store


def as_user(server: ClickhouseServer, store: Store, **settings: str) -> str:
    """The URL for a user whose profile has these settings."""
    name = f"user_{uuid4().hex[:8]}"
    server.user(name, password="p@ss", **settings)
    return server.url(store.url.rpartition("/")[2], user=name, password="p%40ss")


@pytest.fixture
def sources() -> Iterator[list[RunSource]]:
    opened: list[RunSource] = []
    yield opened
    for source in opened:
        source.close()


def check_whole(source: RunSource) -> None:
    """All runs come, each in its newest version."""
    rows = rows_of(source)
    assert len(rows) == len({row["id"] for row in rows}) == ROWS
    assert {row["name"] for row in rows} == {b"new"}
    assert source.days(ProjectKey(PROJECT))[DAY].rows == ROWS


@pytest.mark.parametrize("readonly", ["0", "1", "2"])
def test_a_day_is_whole_whatever_the_user_may_change(
    clickhouse: ClickhouseServer, filled: Store, sources: list[RunSource], readonly: str
) -> None:
    source = open_source(settings_for(as_user(clickhouse, filled, readonly=readonly)))
    sources.append(source)
    clickhouse.queries()
    check_whole(source)
    sent = [each["settings"] for each in clickhouse.queries() if each["sql"].startswith("SELECT")]
    for settings in sent:
        if readonly == "1":
            assert settings.keys() & {"max_block_size", "final", *MUST_BE} == set()
        else:
            assert (settings["final"], settings["max_execution_time"]) == ("1", "0")
            assert int(settings["max_bytes_before_external_sort"]) > 0
            assert int(settings["http_send_timeout"]) >= 60


@pytest.mark.parametrize("setting", CUTTING)
@pytest.mark.parametrize("readonly", ["0", "1"])
def test_a_profile_that_cuts_every_answer_is_refused(
    clickhouse: ClickhouseServer, filled: Store, setting: str, readonly: str
) -> None:
    """The settings themselves could not be read in full."""
    profile = {setting: CUTTING[setting], "readonly": readonly}
    with pytest.raises(SourceUnusableError, match="answers are cut short by the profile of this user"):
        open_source(settings_for(as_user(clickhouse, filled, **profile)))


def test_a_profile_that_hides_rows_of_a_table_is_overruled_or_refused(
    clickhouse: ClickhouseServer, filled: Store, sources: list[RunSource]
) -> None:
    profile = {"additional_table_filters": "{'runs': '1 = 0'}"}
    source = open_source(settings_for(as_user(clickhouse, filled, **profile)))
    sources.append(source)
    check_whole(source)
    with pytest.raises(SourceUnusableError, match=r"the setting additional_table_filters is .* cannot be changed"):
        open_source(settings_for(as_user(clickhouse, filled, readonly="1", **profile)))


@pytest.mark.parametrize("mode", BREAKING)
def test_a_limit_that_ends_results_early_fails_the_day(
    clickhouse: ClickhouseServer, filled: Store, sources: list[RunSource], mode: str
) -> None:
    name, value = next(iter(BREAKING[mode].items()))
    source = open_source(settings_for(as_user(clickhouse, filled, **{mode: "break"})))
    sources.append(source)
    clickhouse_limited = as_user(clickhouse, filled, **{mode: "break", name: value, "readonly": "1"})
    check_whole(source)
    with pytest.raises(SourceUnusableError, match=f"the setting {mode} is 'break' and cannot be changed; whole days"):
        open_source(settings_for(clickhouse_limited))


def test_a_limit_of_the_profile_that_is_reached_fails_the_day_and_is_named(
    clickhouse: ClickhouseServer, filled: Store, sources: list[RunSource]
) -> None:
    limits = {"max_rows_to_read": "5000", "read_overflow_mode": "break"}
    source = open_source(settings_for(as_user(clickhouse, filled, **limits)))
    sources.append(source)
    with pytest.raises(SourceUnreachableError, match=r"a limit of the server or of its user was reached: .*code 158"):
        rows_of(source)


def test_settings_that_a_constraint_refuses_are_not_sent(
    clickhouse: ClickhouseServer, filled: Store, sources: list[RunSource]
) -> None:
    refused = ("max_block_size", "http_send_timeout", "max_execution_time")
    clickhouse.refuse(*refused)
    try:
        source = open_source(settings_for(filled.url))
        sources.append(source)
        check_whole(source)
    finally:
        clickhouse.refuse()
    breaking = as_user(clickhouse, filled, set_overflow_mode="break")
    clickhouse.refuse("set_overflow_mode")
    try:
        with pytest.raises(SourceUnusableError, match="Setting set_overflow_mode shouldn't be greater"):
            open_source(settings_for(breaking))
    finally:
        clickhouse.refuse()
