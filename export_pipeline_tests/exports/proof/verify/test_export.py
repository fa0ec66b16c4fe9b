"""Verifying an export: every kind of damage to the bucket is found and named."""

import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from export_pipeline.errors import InputError
from export_pipeline.exports.proof.verify.export import NO_KEYS, What, exports_in_bucket, verify_export
from export_pipeline_tests.exports.memory_source import rows_of_day
from export_pipeline_tests.exports.world import EMPTY, FIRST, LAST, PROJECT, ROWS, World, flipped, resealed
from export_pipeline_tests.servers import S3Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three exported days; tests leave bucket and records as they found them."""
    made = World.make(seaweedfs, tmp_path_factory.mktemp("verify"))
    made.publish()
    yield made
    made.close()


def empty_manifest(world: World) -> str:
    (key,) = [key for key in world.objects() if "/empty_days/" in key]
    return key


def rewritten(world: World) -> bytes:
    """The first day's rows and footer in another file: the last row is gone."""
    table = pq.read_table(io.BytesIO(world.get(world.data(FIRST))))
    out = io.BytesIO()
    pq.write_table(table.slice(0, ROWS - 1), out)
    return out.getvalue()


def test_an_untouched_export_is_well(world: World) -> None:
    seen: list[tuple[int, int]] = []
    report = world.verify(deep=True, on_day=lambda done, total: seen.append((done, total)))
    assert [str(problem) for problem in report.problems] == []
    assert report.ok
    assert report.counts.days == 3
    assert (report.counts.files, report.counts.empty_days, report.counts.manifests) == (2, 1, 3)
    assert report.counts.rows == 2 * ROWS
    assert report.counts.bytes == sum(len(world.get(world.data(day))) for day in (FIRST, LAST))
    assert report.counts.days_compared_with_source == 3
    assert (report.notes, report.being_exported) == ((), ())
    assert seen[-1] == (3, 3)


def test_the_bucket_alone_is_enough(world: World) -> None:
    (found,), others = exports_in_bucket(world.store, world.settings.prefix, keys=NO_KEYS)
    assert others == []
    assert found.export_id == world.export.export_id
    assert (found.tenant_id, found.session_id) == (world.export.tenant_id, world.export.session_id)
    report = verify_export(found, store=world.store)
    assert report.ok
    assert report.counts.days == 3


Damage = Callable[[World], tuple[str, bytes | None]]

DAMAGES: dict[str, tuple[Damage, What, str]] = {
    "a flipped bit in the rows": (
        lambda w: (w.data(FIRST), flipped(w.get(w.data(FIRST)), 2000)),
        What.FILE_CHECKSUM,
        "expected sha256 ",
    ),
    "a flipped bit in the footer": (
        lambda w: (w.data(FIRST), flipped(w.get(w.data(FIRST)), -1 + len(w.get(w.data(FIRST))))),
        What.FILE_UNREADABLE,
        "does not end as a Parquet file does",
    ),
    "a file cut short": (
        lambda w: (w.data(FIRST), w.get(w.data(FIRST))[:-100]),
        What.FILE_SIZE,
        " bytes, found ",
    ),
    "a deleted file": (lambda w: (w.data(FIRST), None), What.FILE_MISSING, " bytes"),
    "another day's file": (
        lambda w: (w.data(FIRST), w.get(w.data(LAST))),
        What.FILE_OF_OTHER_COMMIT,
        "expected commit ",
    ),
    "a file that another program has written": (
        lambda w: (w.data(FIRST), rewritten(w)),
        What.FILE_SIZE,
        " bytes, found ",
    ),
    "a file on an empty day": (
        lambda w: (w.data(EMPTY), w.get(w.data(FIRST))),
        What.FILE_OF_EMPTY_DAY,
        " bytes",
    ),
    "a file on a day that was never exported": (
        lambda w: (w.data(LAST + timedelta(days=1)), w.get(w.data(FIRST))),
        What.FILE_WITHOUT_MANIFEST,
        "day=04/part-00000.parquet",
    ),
    "a marker of another tool": (
        lambda w: (w.data(FIRST).rpartition("/")[0] + "/_SUCCESS", b""),
        What.FOREIGN_OBJECT,
        "/_SUCCESS",
    ),
    "a second Parquet file": (
        lambda w: (w.data(FIRST).replace("part-00000", "part-00001"), w.get(w.data(FIRST))),
        What.FOREIGN_OBJECT,
        "part-00001.parquet",
    ),
    "a file in the other layout": (
        lambda w: (w.data(FIRST).replace("/runs/", "/resource=runs/"), w.get(w.data(FIRST))),
        What.FOREIGN_OBJECT,
        "/resource=runs/",
    ),
    "an object among the manifests": (
        lambda w: (w.manifest(FIRST) + ".bak", b"{}"),
        What.FOREIGN_OBJECT,
        "json.bak",
    ),
    "a deleted manifest": (lambda w: (w.manifest(FIRST), None), What.FILE_WITHOUT_MANIFEST, "day=01/part-0"),
    "a deleted manifest of empty days": (
        lambda w: (empty_manifest(w), None),
        What.MANIFEST_MISSING,
        "/empty_days/",
    ),
    "an edited manifest": (
        lambda w: (w.manifest(FIRST), w.get(w.manifest(FIRST)).replace(b'"rows":200', b'"rows":201')),
        What.MANIFEST_DAMAGED,
        "its sha256 does not match",
    ),
    "an edited manifest of empty days": (
        lambda w: (empty_manifest(w), w.get(empty_manifest(w)).replace(b"2026-03-02", b"2026-03-04")),
        What.MANIFEST_DAMAGED,
        "its sha256 does not match",
    ),
    "a manifest of another day": (
        lambda w: (w.manifest(FIRST), w.get(w.manifest(LAST))),
        What.MANIFEST_MISPLACED,
        "day is 2026-03-03",
    ),
    "a newer manifest of another control database": (
        lambda w: (w.manifest(FIRST, 7), resealed(w.get(w.manifest(FIRST)), epoch=7)),
        What.RECORD_DIFFERS,
        "expected epoch 7",
    ),
    "a manifest of the right seal and another format": (
        lambda w: (w.manifest(FIRST), resealed(w.get(w.manifest(FIRST)), compression="gzip")),
        What.MANIFEST_FORM,
        "expected compression zstandard, found gzip",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_named(world: World, damage: str) -> None:
    change, what, text = DAMAGES[damage]
    key, body = change(world)
    with world.replaced(key, body):
        report = world.verify()
    assert what in [problem.what for problem in report.problems]
    (named,) = [str(problem) for problem in report.problems if problem.what is what]
    assert text in named
    assert (world.data(FIRST) if damage == "a deleted manifest" else key) in named
    assert not report.ok


def test_damage_is_gone_when_it_was_mended(world: World) -> None:
    assert world.verify().ok


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"row_groups": 9}, What.ROW_GROUPS),
        ({"content_hash": "xxh3-1:" + "0" * 32}, What.CONTENT),
        ({"min_start_time": "2026-03-01T05:00:00.000000+00:00"}, What.TIMES),
        ({"sha256": "0" * 64}, What.FILE_CHECKSUM),
    ],
)
def test_what_a_sealed_manifest_says_of_its_file_is_checked_too(
    world: World, changes: dict[str, object], what: What
) -> None:
    manifest = world.get(world.manifest(FIRST))
    file = {**json.loads(manifest)["file"], **changes}
    with world.replaced(world.manifest(FIRST), resealed(manifest, file=file)):
        report = world.verify(control=None)
    assert [problem.what for problem in report.problems] == [what]


def test_rows_beyond_the_window_and_other_columns_are_found(world: World) -> None:
    manifest = world.get(world.manifest(FIRST))
    window = {"start": "2026-03-01T00:00:00.000000+00:00", "end": "2026-03-01T12:00:00.000000+00:00"}
    with world.replaced(world.manifest(FIRST), resealed(manifest, window=window)):
        assert [problem.what for problem in world.verify(control=None).problems] == [What.OUTSIDE_WINDOW]
    with world.replaced(world.manifest(FIRST), resealed(manifest, schema_fingerprint="0" * 64)):
        assert [problem.what for problem in world.verify(control=None).problems] == [What.COLUMNS]
    with world.replaced(world.manifest(FIRST), resealed(manifest, window={**window, "end": "2026-03-04T00:00:00Z"})):
        assert [problem.what for problem in world.verify(control=None).problems] == [What.MANIFEST_DOUBTFUL]


def test_an_upload_that_was_left_open_is_found(world: World) -> None:
    client, bucket = world.server.client(), world.store.config.bucket
    key = world.data(FIRST)
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    try:
        report = world.verify()
    finally:
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    (problem,) = report.problems
    assert (problem.what, problem.day, problem.key) == (What.OPEN_UPLOAD, FIRST, key)
    assert upload in str(problem)


def test_deep_names_the_ids_that_trace_store_and_file_do_not_share(world: World) -> None:
    rows = world.source.rows
    gone = rows[0]
    late = rows_of_day(PROJECT, FIRST, 1) + rows_of_day(PROJECT, FIRST, 1) + rows_of_day(PROJECT, EMPTY, 3)
    world.source.rows = rows[1:] + late
    try:
        assert world.verify().ok
        report = world.verify(deep=True)
    finally:
        world.source.rows = rows
    found = {(problem.day, problem.what): str(problem) for problem in report.problems}
    assert found.keys() == {
        (FIRST, What.SOURCE_ROWS),
        (FIRST, What.IDS_MISSING),
        (FIRST, What.IDS_UNKNOWN),
        (EMPTY, What.SOURCE_ROWS),
    }
    assert "2: " in found[FIRST, What.IDS_MISSING]
    assert all(row.id in found[FIRST, What.IDS_MISSING] for row in late[:2])
    assert gone.id in found[FIRST, What.IDS_UNKNOWN]
    assert found[EMPTY, What.SOURCE_ROWS].endswith("expected 0, found 3")


def test_a_file_is_read_in_blocks_and_the_newest_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export_pipeline.exports.proof.verify.file.BLOCK_BYTES", 1000)
    monkeypatch.setattr("export_pipeline.exports.proof.verify.file.BLOCKS_HELD", 2)
    assert world.verify(deep=True).ok


def test_another_bucket_and_deep_without_a_trace_store_are_refused(world: World) -> None:
    export = dataclasses.replace(world.export, bucket="elsewhere")
    with pytest.raises(InputError, match=f"lies in bucket 'elsewhere', not '{world.store.config.bucket}'"):
        verify_export(export, store=world.store)
    with pytest.raises(InputError, match="only with a trace store"):
        verify_export(world.export, store=world.store, deep=True)


def test_on_a_store_without_conditional_writes_damage_is_found_as_well(
    rclone: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World.make(rclone, tmp_path_factory.mktemp("rclone"), prefix="")
    try:
        world.publish()
        assert world.verify(deep=True).ok
        with world.replaced(world.data(LAST), flipped(world.get(world.data(LAST)), 1000)):
            (problem,) = world.verify().problems
        assert (problem.what, problem.day) == (What.FILE_CHECKSUM, LAST)
    finally:
        world.close()
