"""The list of tables that lies in the bucket: it is like the control database, loses nobody's tables, stops nothing."""

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.projects.catalog import write_catalog, write_catalogs
from export_pipeline.exports.projects.registry import sync_projects
from export_pipeline.exports.proof.changes import days_in_bucket
from export_pipeline.exports.proof.recover.bucket import recover
from export_pipeline.exports.proof.verify.export import NO_KEYS
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.runs.schema import DEFAULT_FIELDS
from export_pipeline.sources.protocol import Project
from export_pipeline_tests.exports.commit.bench import new_export
from export_pipeline_tests.exports.conftest import project
from export_pipeline_tests.exports.memory_source import MemorySource, rows_of_day
from export_pipeline_tests.exports.world import EMPTY, FIRST, LAST, PREFIX, PROJECT, ROWS, World
from export_pipeline_tests.faults.proxy import FaultProxy
from export_pipeline_tests.servers import Rclone, S3Server, Weed

KEY = f"{PREFIX}/_export_pipeline/projects.json"
OTHER = "00000000-0000-0000-0000-000000000002"


def listed(world: World, key: str = KEY) -> list[dict[str, Any]]:
    content = json.loads(world.get(key))
    assert content["version"] == 1
    tables: list[dict[str, Any]] = content["tables"]
    return tables


def states(world: World, key: str = KEY) -> set[tuple[str, str, bool, str | None]]:
    """Of each table: the project's name, the export id, whether it is current, the newest day."""
    return {(table["name"], table["export_id"], table["current"], table["newest_day"]) for table in listed(world, key)}


def write(world: World, prefix: str = PREFIX) -> str | None:
    return write_catalog(world.control, world.store, prefix)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def either(request: pytest.FixtureRequest, rclone: Rclone, tmp_path: Path) -> Iterator[World]:
    """Each control database in turn; nothing is exported yet."""
    made = World.make(rclone, tmp_path)
    if request.param == "postgres":
        made.control.close()
        made.control = ControlDatabase(request.getfixturevalue("postgres").new_database())
        sync_projects(made.control, made.source, made.settings)
    yield made
    made.close()


@pytest.fixture
def neighbour(world: World, tmp_path: Path) -> Iterator[World]:
    """Another deployment, with its own trace store and control database, that exports below the same prefix."""
    (tmp_path / "neighbour").mkdir()
    made = _neighbour(world, tmp_path / "neighbour")
    yield made
    made.control.close()


def _neighbour(world: World, folder: Path) -> World:
    control = ControlDatabase(f"sqlite:///{folder}/control.db")
    source = MemorySource(rows_of_day(OTHER, FIRST, 3), listed=[Project(OTHER, "agent")])
    sync_projects(control, source, world.settings)
    export_of_neighbour = replace(world, control=control, source=source)
    return _OfOther(**vars(export_of_neighbour))


class _OfOther(World):
    """The world of the other project."""

    @property
    def export(self) -> Any:
        from export_pipeline.exports.projects.registry import find_project
        from export_pipeline.exports.projects.standing import standing_table

        return standing_table(self.control, find_project(self.control, OTHER), self.settings)


def test_each_table_is_listed_with_its_name_ids_place_and_newest_day(either: World) -> None:
    either.publish(FIRST)
    assert write(either) is None
    export, bucket = either.export, either.store.config.bucket
    expected = {
        "name": "chatbot",
        "project_id": PROJECT,
        "session_id": PROJECT,
        "tenant_id": str(either.settings.tenant_id),
        "export_id": str(export.export_id),
        "current": True,
        "location": f"s3://{bucket}/{either.data(FIRST).partition('year=')[0]}",
        "format_version": "v1",
        "compression": "zstandard",
        "fields": list(DEFAULT_FIELDS),
        "newest_day": "2026-03-01",
    }
    assert listed(either) == [expected]
    either.publish(EMPTY)  # a day without rows is a day too
    assert write(either) is None
    assert listed(either) == [{**expected, "newest_day": "2026-03-02"}]


def test_it_is_written_with_one_put_where_it_differs_and_with_none_where_it_does_not(world: World) -> None:
    with FaultProxy(world.server.endpoint_url) as proxy:
        through = replace(world, store=_through(world, proxy.endpoint_url))
        for day, puts in ((None, 1), (None, 0), (FIRST, 0)):
            if day is not None:
                world.source.rows += rows_of_day(PROJECT, day, 1)
                world.publish(day)
            proxy.requests.clear()
            assert write(through) is None
            assert [request.operation for request in proxy.requests] == ["GetObject", "PutObject"][: 1 + puts]
        through.store.close()


def test_a_superseded_table_stays_listed_and_is_not_the_current_one(either: World) -> None:
    either.publish()
    first = str(either.export.export_id)
    either.settings = either.settings.model_copy(update={"format_version": "v2_beta"})
    either.publish(FIRST)
    second = str(either.export.export_id)
    assert write(either) is None
    assert states(either) == {
        ("chatbot", first, False, "2026-03-03"),
        ("chatbot", second, True, "2026-03-01"),
    }
    assert {table["location"].rsplit("/", 2)[1] for table in listed(either)} == {"runs", "resource=runs"}


def test_a_prefix_that_is_no_longer_used_says_so_after_a_sync(either: World) -> None:
    either.publish()
    former = str(either.export.export_id)
    either.settings = either.settings.model_copy(update={"prefix": ""})
    either.publish(FIRST)
    assert write_catalogs(either.control, lambda: nullcontext(either.store)) == []
    assert states(either) == {("chatbot", former, False, "2026-03-03")}
    assert states(either, "_export_pipeline/projects.json") == {
        ("chatbot", str(either.export.export_id), True, "2026-03-01")
    }


def test_a_project_follows_its_name_and_stays_when_it_is_gone_from_the_trace_store(world: World) -> None:
    export_id = str(world.export.export_id)
    world.source.listed = [replace(world.source.listed[0], name="support bot")]
    sync_projects(world.control, world.source, world.settings)
    write(world)
    assert states(world) == {("support bot", export_id, True, "2026-03-03")}
    world.source.listed = []
    sync_projects(world.control, world.source, world.settings)
    write(world)
    assert states(world) == {("support bot", export_id, True, "2026-03-03")}


def test_bulk_exports_are_not_listed(world: World) -> None:
    write(world)
    before = listed(world)
    new_export(world.control, world.store.config.bucket, kind="bulk", prefix=PREFIX, tenant_id=before[0]["tenant_id"])
    write(world)
    assert listed(world) == before


def test_nothing_is_opened_or_written_where_nothing_is_exported(either: World) -> None:
    def never() -> Any:
        raise AssertionError("the bucket is not needed")

    assert write_catalogs(either.control, never) == []
    assert write(either) is None
    assert either.objects() == []


def test_deployments_that_share_a_prefix_keep_each_others_tables(world: World, neighbour: World) -> None:
    neighbour.publish(FIRST)
    both = {
        ("chatbot", str(world.export.export_id), True, "2026-03-03"),
        ("agent", str(neighbour.export.export_id), True, "2026-03-01"),
    }
    for one, other in ((world, neighbour), (neighbour, world)):
        one.delete(KEY)
        assert [write(one), write(other), write(one)] == [None] * 3
        assert states(one) == both
        before = one.get(KEY)
        assert [write(one), write(other)] == [None] * 2
        assert one.get(KEY) == before


def test_of_two_writers_the_newest_state_stays(world: World) -> None:
    """Another process commits, and writes the list, just before this one writes what it knew."""
    world.source.rows += rows_of_day(PROJECT, EMPTY, 1)
    with closing(sqlite3.connect(world.control.url.database or "")) as control:
        control.execute("UPDATE days SET commit_epoch = NULL WHERE day = ?", (LAST.isoformat(),))
        control.commit()
    raced = _through(world, world.server.endpoint_url)
    done: list[str] = []

    def meanwhile(**_: Any) -> None:
        if not done:
            done.append("once")
            with closing(sqlite3.connect(world.control.url.database or "")) as control:
                control.execute("UPDATE days SET commit_epoch = 1 WHERE day = ?", (LAST.isoformat(),))
                control.commit()
            assert write(world) is None

    raced.client.meta.events.register("before-call.s3.PutObject", meanwhile)
    assert write_catalog(world.control, raced, PREFIX) is None
    raced.close()
    assert done == ["once"]
    assert [table["newest_day"] for table in listed(world)] == [LAST.isoformat()]


def test_a_neighbour_who_writes_at_the_same_moment_loses_nothing_where_the_store_has_conditions(
    seaweedfs: Weed, tmp_path: Path
) -> None:
    (tmp_path / "neighbour").mkdir()
    world = World.make(seaweedfs, tmp_path)
    neighbour = _neighbour(world, tmp_path / "neighbour")
    world.publish()
    neighbour.publish(FIRST)
    for beginning in (None, b'{"version":1,"tables":[]}'):
        world.delete(KEY)
        if beginning is not None:
            world.put(KEY, beginning)
        raced, done = _through(world, seaweedfs.endpoint_url), list[str | None]()

        def meanwhile(done: list[str | None] = done, **_: Any) -> None:
            if not done:
                done.append("once")
                done.append(write(neighbour))

        raced.client.meta.events.register("before-call.s3.PutObject", meanwhile)
        assert write_catalog(world.control, raced, PREFIX) is None
        raced.close()
        assert done == ["once", None]
        assert {name for name, *_ in states(world)} == {"chatbot", "agent"}
    neighbour.control.close()
    world.close()


def test_others_that_never_stop_writing_are_left_to_it(world: World) -> None:
    write(world)
    before = world.get(KEY)
    raced = _through(world, world.server.endpoint_url)
    days = iter(range(1, 100))

    def meanwhile(**_: Any) -> None:
        with closing(sqlite3.connect(world.control.url.database or "")) as control:
            control.execute("UPDATE projects SET name = ?", (f"name {next(days)}",))
            control.commit()

    meanwhile()
    raced.client.meta.events.register("before-call.s3.PutObject", meanwhile)
    problem = write_catalog(world.control, raced, PREFIX)
    raced.close()
    assert problem is not None
    assert "is being written by others" in problem
    assert world.get(KEY) != before


def test_an_answer_that_is_lost_does_not_matter(seaweedfs: Weed, tmp_path: Path) -> None:
    world = World.make(seaweedfs, tmp_path)
    world.publish(FIRST)
    with FaultProxy(seaweedfs.endpoint_url) as proxy:
        store = _through(world, proxy.endpoint_url)
        proxy.lose_response("PutObject")
        proxy.answer(503, "SlowDown", "GetObject")
        assert write_catalog(world.control, store, PREFIX) is None
        store.close()
    assert states(world) == {("chatbot", str(world.export.export_id), True, "2026-03-01")}
    world.close()


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        (403, "AccessDenied", "AccessDenied"),
        (404, "NoSuchBucket", "NoSuchBucket"),
        (500, "InternalError", "is being written by others"),
    ],
)
def test_a_list_that_cannot_be_written_is_told_and_raises_nothing(
    world: World, status: int, code: str, why: str
) -> None:
    with FaultProxy(world.server.endpoint_url) as proxy:
        proxy.answer(status, code, "PutObject", times=None)
        store = _through(world, proxy.endpoint_url)
        problem = write_catalog(world.control, store, PREFIX)
        store.close()
    assert problem is not None
    assert KEY in problem
    assert why in problem
    assert world.server.secret_access_key not in problem
    assert KEY not in world.objects()


def test_a_control_database_that_fails_is_told_and_raises_nothing(world: World, tmp_path: Path) -> None:
    nowhere = ControlDatabase(f"sqlite:///{tmp_path}/nowhere/control.db")
    problem = write_catalog(nowhere, world.store, PREFIX)
    assert problem is not None
    assert "the next commit or sync tries again" in problem
    (told,) = write_catalogs(nowhere, lambda: nullcontext(world.store))
    assert "could not be brought up to date" in told


def test_credentials_that_may_not_read_write_the_list_whole_and_say_so(seaweedfs: Weed, tmp_path: Path) -> None:
    prefix = f"written/{uuid.uuid4()}"
    world = World.make(seaweedfs, tmp_path, prefix=prefix)
    world.settings = world.settings.model_copy(update={"bucket": "exports"})
    config = replace(world.store.config, bucket="exports")
    admin, limited = world.store, S3Store(config, Credentials(*seaweedfs.identity("wo")), patience=5.0)
    admin.close()
    world.store = S3Store(config, Credentials(*seaweedfs.identity("admin")), patience=5.0)
    world.publish(FIRST)
    for _ in range(2):
        problem = write_catalog(world.control, limited, prefix)
        assert problem is not None
        assert "written without the tables of other deployments" in problem
        assert "s3:GetObject" in problem
        assert [table["name"] for table in listed(world, f"{prefix}/_export_pipeline/projects.json")] == ["chatbot"]
    limited.close()
    world.close()


@pytest.mark.parametrize("body", [b"", b"{}", b"no json", b'{"version":1,"tables":[{"export_id":"x"}]}'])
def test_a_damaged_list_is_written_anew_and_told(world: World, body: bytes) -> None:
    world.put(KEY, body)
    problem = write(world)
    assert states(world) == {("chatbot", str(world.export.export_id), True, "2026-03-03")}
    assert problem is not None
    assert "written anew" in problem
    assert write(world) is None


def test_a_list_of_a_newer_version_is_left_as_it_is(world: World) -> None:
    body = b'{"version":2,"catalogs":{}}'
    world.put(KEY, body)
    problem = write(world)
    assert problem is not None
    assert "Upgrade export-pipeline here too" in problem
    assert world.get(KEY) == body


def test_names_outlive_the_loss_of_the_control_database(world: World, lost: World) -> None:
    write(world)
    export_id = str(world.export.export_id)
    recover(lost.control, store=lost.store, settings=lost.settings, actor="cli")
    assert write(lost) is None
    assert states(lost) == {("chatbot", export_id, True, "2026-03-03")}
    lost.source.listed = [project("renamed")]
    sync_projects(lost.control, lost.source, lost.settings)
    assert write(lost) is None
    assert states(lost) == {("renamed", export_id, True, "2026-03-03")}


def test_a_copied_bucket_names_the_tables_that_go_on_elsewhere_as_former_ones(world: World) -> None:
    write(world)
    former = str(world.export.export_id)
    copied = world.server.new_bucket()
    client = world.server.client()
    client.put_object(Bucket=copied, Key=KEY, Body=world.get(KEY))
    settings = world.settings.model_copy(update={"bucket": copied})
    store = S3Store(
        DestinationConfig.from_settings(settings),
        Credentials(world.server.access_key_id, world.server.secret_access_key),
    )
    moved = replace(world, settings=settings, store=store)
    moved.publish(FIRST)
    assert write(moved) is None
    assert states(moved) == {
        ("chatbot", former, False, "2026-03-03"),
        ("chatbot", str(moved.export.export_id), True, "2026-03-01"),
    }
    store.close()


def test_neither_verify_nor_recover_stumble_over_it(world: World, lost: World) -> None:
    before = days_in_bucket(world.store, PREFIX, keys=NO_KEYS)
    write(world)
    assert world.verify(deep=True).ok
    assert days_in_bucket(world.store, PREFIX, keys=NO_KEYS) == before
    report = recover(lost.control, store=lost.store, settings=lost.settings, actor="cli")
    assert (report.days, report.exports, report.problems) == (3, [world.export.export_id], [])
    assert KEY in world.objects()


def test_readers_that_glob_for_parquet_pass_it_over(seaweedfs: Weed, tmp_path: Path) -> None:
    world = World.make(seaweedfs, tmp_path)
    world.publish()
    write(world)
    everything = f"s3://{world.store.config.bucket}/{PREFIX}/**/*.parquet"
    frame = pl.scan_parquet(everything, hive_partitioning=False, storage_options=_options(seaweedfs))
    assert frame.select("id").collect()["id"].n_unique() == 2 * ROWS
    world.close()


def _options(server: S3Server) -> dict[str, str]:
    return {
        "aws_endpoint_url": server.endpoint_url,
        "aws_region": server.region,
        "aws_allow_http": "true",
        "aws_access_key_id": server.access_key_id,
        "aws_secret_access_key": server.secret_access_key,
    }


def _through(world: World, endpoint_url: str) -> S3Store:
    """The world's bucket over connections of its own, which count as its own place."""
    config = world.store.config
    store = S3Store(
        replace(config, endpoint_url=endpoint_url),
        Credentials(world.server.access_key_id, world.server.secret_access_key),
        patience=2.0,
    )
    store.config = config
    return store
