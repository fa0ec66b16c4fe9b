"""Verifying an export: what the records say beside the bucket, and days that are exported meanwhile or again."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from export_pipeline.exports.control.tables import days
from export_pipeline.exports.proof.verify.export import What, verify_export
from export_pipeline_tests.exports.memory_source import rows_of_day
from export_pipeline_tests.exports.world import DAYS, EMPTY, FIRST, LAST, PROJECT, ROWS, World
from export_pipeline_tests.servers import S3Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three exported days; tests leave bucket and records as they found them."""
    made = World.make(seaweedfs, tmp_path_factory.mktemp("verify"))
    made.publish()
    yield made
    made.close()


def test_records_that_lag_behind_the_bucket_are_found(world: World) -> None:
    here = sa.and_(days.c.export_id == str(world.export.export_id), days.c.day == FIRST)
    with world.control.read() as connection:
        before = dict(connection.execute(sa.select(days).where(here)).mappings().one())
    try:
        with world.control.begin() as connection:
            connection.execute(sa.update(days).where(here).values(rows=7))
        (problem,) = world.verify().problems
        assert (problem.what, problem.expected, problem.found) == (What.RECORD_DIFFERS, "rows 200", "rows 7")
        with world.control.begin() as connection:
            connection.execute(sa.delete(days).where(here))
        (problem,) = world.verify().problems
        assert problem.what is What.RECORD_MISSING
    finally:
        with world.control.begin() as connection:
            connection.execute(sa.delete(days).where(here))
            connection.execute(sa.insert(days).values(**before))


def test_a_day_that_is_being_exported_is_left_out(world: World) -> None:
    here = sa.and_(days.c.export_id == str(world.export.export_id), days.c.day == FIRST)
    with world.control.begin() as connection:
        connection.execute(sa.update(days).where(here).values(lease_until=connection.now_sql + 60_000_000))
    try:
        with world.replaced(world.data(FIRST), None):
            report = world.verify()
    finally:
        with world.control.begin() as connection:
            connection.execute(sa.update(days).where(here).values(lease_until=None))
    assert report.ok
    assert report.being_exported == (FIRST,)
    assert report.counts.days == 2


def test_a_commit_that_was_decided_on_and_not_finished_is_named_and_its_upload_excused(world: World) -> None:
    here = sa.and_(days.c.export_id == str(world.export.export_id), days.c.day == FIRST)
    client, bucket = world.server.client(), world.store.config.bucket
    upload = client.create_multipart_upload(Bucket=bucket, Key=world.data(FIRST))["UploadId"]
    with world.control.begin() as connection:
        connection.execute(sa.update(days).where(here).values(intent={"epoch": 2}, error="the bucket was away"))
    try:
        (problem,) = world.verify().problems
    finally:
        client.abort_multipart_upload(Bucket=bucket, Key=world.data(FIRST), UploadId=upload)
        with world.control.begin() as connection:
            connection.execute(sa.update(days).where(here).values(intent=None, error=None))
    assert (problem.what, problem.day, problem.found) == (What.UNFINISHED, FIRST, "the bucket was away")


def test_a_day_that_is_exported_again_meanwhile_is_looked_at_again(
    rclone: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World.make(rclone, tmp_path_factory.mktemp("meanwhile"))

    def export_again(done: int, total: int) -> None:
        if done == 0:
            world.source.rows += rows_of_day(PROJECT, LAST, 1)
            assert world.publish(LAST)[LAST].epoch == 2

    try:
        world.publish()
        report = world.verify(on_day=export_again)
        assert [str(problem) for problem in report.problems] == []
        assert (report.counts.days, report.counts.rows) == (3, 2 * ROWS + 1)
        assert verify_export(world.export, store=world.store).ok
    finally:
        world.close()


def test_a_day_exported_again_is_verified_by_its_newest_manifest(
    seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World.make(seaweedfs, tmp_path_factory.mktemp("again"))
    try:
        world.publish()
        world.source.rows += rows_of_day(PROJECT, EMPTY, 5) + rows_of_day(PROJECT, FIRST, 2)
        world.source.rows = [row for row in world.source.rows if row.start_time.date() != LAST]
        world.publish(allow_shrink=True)
        report = world.verify(deep=True)
        assert [str(problem) for problem in report.problems] == []
        assert (report.counts.days, report.counts.empty_days, report.counts.rows) == (3, 1, ROWS + 7)
        assert [day for day in DAYS if world.data(day) in world.objects()] == [FIRST, EMPTY]
    finally:
        world.close()


def test_a_day_among_empty_ones_that_were_tried_more_often_is_told_by_its_own_manifest(
    rclone: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World.make(rclone, tmp_path_factory.mktemp("epochs"))
    try:
        export_id, other = str(world.export.export_id), EMPTY + timedelta(days=2)
        with world.control.begin() as connection:
            tried = {"export_id": export_id, "day": EMPTY, "status": "Failed", "epoch": 9, "updated_at": 0}
            connection.execute(sa.insert(days).values(**tried))
        world.publish(EMPTY, other)
        world.source.rows += rows_of_day(PROJECT, other, 4)
        assert world.publish(other)[other].rows == 4
        report = world.verify()
        assert [str(problem) for problem in report.problems] == []
        assert (report.counts.days, report.counts.empty_days, report.counts.rows) == (2, 1, 4)
    finally:
        world.close()
