"""Manifests that somebody has planted: none ends a verification or a recovery, blocks a day, or is taken for true."""

import io
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from export_pipeline.errors import ConflictError, ForeignCommitError, InputError
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.exports.commit.day import DayRequest
from export_pipeline.exports.commit.publish import publish_day
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import DayRecord, read_day, read_days
from export_pipeline.exports.control.tables import days
from export_pipeline.exports.projects.registry import find_project, partitions_start, sync_projects
from export_pipeline.exports.projects.standing import list_tables, standing_table
from export_pipeline.exports.proof.manifest_repair import find_manifests, retire
from export_pipeline.exports.proof.recover.bucket import RecoverReport, recover
from export_pipeline.exports.proof.verify.export import NO_KEYS, What, exports_in_bucket, verify_export
from export_pipeline.files.manifest import MAX_MANIFEST_BYTES
from export_pipeline.files.paths import manifests_root
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline_tests.exports.memory_source import rows_of_day
from export_pipeline_tests.exports.proof.forgery import forged
from export_pipeline_tests.exports.world import DAYS, FIRST, LAST, PROJECT, ROWS, World, resealed
from export_pipeline_tests.servers import Postgres, S3Server

pytestmark = pytest.mark.slow

HUGE_EPOCH = 9_999_999_999
FAR = "9999-12-31T23:59:59.999999+00:00"
SOON = datetime.now(UTC) + timedelta(days=2)


def recovered(world: World) -> RecoverReport:
    return recover(world.control, store=world.store, settings=world.settings, actor="cli")


def record(world: World, day: date) -> DayRecord:
    with world.control.read() as connection:
        found = read_day(connection, world.export.export_id, day)
    assert found is not None
    return found


def request(world: World, day: date) -> DayRequest:
    return DayRequest(world.export, DayWindow(day, Window.of_day(day)), owner="process:test:2")


def publish_one(world: World, day: date) -> Any:
    return publish_day(Publisher(control=world.control, store=world.store, source=world.source), request(world, day))


def retired(world: World, name: str) -> int:
    found = find_manifests(world.control, world.store, prefix=world.settings.prefix, name=name)
    retire(world.control, world.store, found, prefix=world.settings.prefix, actor="cli")
    return len(found)


def told(world: World, **changes: Any) -> bytes:
    return resealed(world.get(world.manifest(FIRST)), **changes)


def file_of(world: World, **changes: Any) -> dict[str, Any]:
    return {**json.loads(world.get(world.manifest(FIRST)))["file"], **changes}


def nested(w: World, epoch: int) -> bytes:
    return b'{"sha256":"","a":' + b"[" * 90_000 + b"]" * 90_000 + b"}"


PLANTS: dict[str, tuple[Callable[[World, int], bytes], What]] = {
    "an epoch beyond the database's integers": (lambda w, _: told(w, epoch=2**70), What.MANIFEST_DAMAGED),
    "more rows than a database counts": (
        lambda w, epoch: told(w, epoch=epoch, rows=2**70, rows_source=2**70, file=file_of(w, rows=2**70)),
        What.MANIFEST_DAMAGED,
    ),
    "a number of 4,000 digits": (lambda w, epoch: told(w, epoch=epoch, superseded=10**4000), What.MANIFEST_DAMAGED),
    "rows that are no whole number": (lambda w, epoch: told(w, epoch=epoch, rows_source=200.0), What.MANIFEST_DAMAGED),
    "times in the year 9999": (
        lambda w, epoch: told(w, epoch=epoch, committed_at=FAR, snapshot_at=FAR, started_at=FAR),
        What.MANIFEST_DOUBTFUL,
    ),
    "a time before all years": (
        lambda w, epoch: told(w, epoch=epoch, started_at="0001-01-01T00:00:00+05:00"),
        What.MANIFEST_DAMAGED,
    ),
    "a time some days ahead": (
        lambda w, epoch: told(w, epoch=epoch, committed_at=SOON.isoformat()),
        What.MANIFEST_DOUBTFUL,
    ),
    "a window without end": (
        lambda w, epoch: told(w, epoch=epoch, window={"start": "0001-01-01T00:00:00+00:00", "end": FAR}),
        What.MANIFEST_DOUBTFUL,
    ),
    "a window that ends before it starts": (
        lambda w, epoch: told(w, epoch=epoch, window={"start": FAR, "end": "2026-03-01T00:00:00+00:00"}),
        What.MANIFEST_DAMAGED,
    ),
    "columns that there are not": (lambda w, epoch: told(w, epoch=epoch, fields=["id", "x"]), What.MANIFEST_DOUBTFUL),
    "a filter that cannot be read": (lambda w, epoch: told(w, epoch=epoch, filter="\0"), What.MANIFEST_DOUBTFUL),
    "two hundred megabytes": (lambda w, _: b"[" * 200_000_000, What.MANIFEST_DAMAGED),
    "deep nesting": (lambda w, _: b'{"a":' * 1_000_000, What.MANIFEST_DAMAGED),
    "deep nesting with an end": (nested, What.MANIFEST_DAMAGED),
    "another tenant": (
        lambda w, epoch: told(w, epoch=epoch, tenant_id=str(uuid.UUID(int=66))),
        What.MANIFEST_MISPLACED,
    ),
    "no JSON": (lambda w, _: b"\xff\xfe", What.MANIFEST_DAMAGED),
    "nothing": (lambda w, _: b"", What.MANIFEST_DAMAGED),
}


def planted_everywhere(world: World) -> dict[str, What]:
    """Each of the above under an epoch of its own from 2 on, and two that lie far ahead, by their keys."""
    bodies = {world.manifest(FIRST, HUGE_EPOCH): (told(world, epoch=HUGE_EPOCH), What.MANIFEST_DOUBTFUL)}
    for epoch, (make, what) in enumerate(PLANTS.values(), start=2):
        bodies[world.manifest(FIRST, epoch)] = (make(world, epoch), what)
    (empty,) = [key for key in world.objects() if "/empty_days/" in key]
    window = {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-04T00:00:00+00:00"}
    far = resealed(world.get(empty), days=["2026-03-01", "2026-03-03"], epoch=HUGE_EPOCH, window=window)
    key = empty.replace("2026-03-02_2026-03-02", "2026-03-01_2026-03-03")
    bodies[key] = (far, What.MANIFEST_DOUBTFUL)
    for name, (body, _) in bodies.items():
        world.put(name, body)
    return {name: what for name, (_, what) in bodies.items()}


def test_planted_manifests_are_named_passed_over_and_block_nothing(world: World, lost: World) -> None:
    planted = planted_everywhere(world)
    longest = 0
    read = world.store.read

    def counting(*arguments: Any, **options: Any) -> bytes:
        nonlocal longest
        data = read(*arguments, **options)
        longest = max(longest, len(data))
        return data

    world.store.read = counting  # type: ignore[method-assign]
    for report in (world.verify(), world.verify(control=None)):
        assert {problem.key: problem.what for problem in report.problems} == planted
        assert (report.counts.days, report.counts.rows, report.ok) == (3, 2 * ROWS, False)
    assert MAX_MANIFEST_BYTES < longest <= MAX_MANIFEST_BYTES + 1
    rebuilt = recovered(lost)
    named = {key for key in planted for line in rebuilt.problems if key in line}
    assert named == set(planted)
    assert all("`export-pipeline manifests retire" in line for line in rebuilt.problems)
    assert (rebuilt.tables, rebuilt.days, rebuilt.rows) == (1, 3, 2 * ROWS)
    sync_projects(lost.control, lost.source, lost.settings)
    assert record(world, FIRST).epoch == record(lost, FIRST).epoch == 1
    lost.source.rows += rows_of_day(PROJECT, FIRST, 1)
    outcome = publish_one(lost, FIRST)
    assert (outcome.outcome, outcome.rows, outcome.epoch) == ("committed", ROWS + 1, 2 + len(PLANTS))
    for key in planted:
        assert retired(lost, key) == 1
    assert not set(planted) & set(lost.objects())
    assert lost.verify().ok


def test_planted_manifests_are_passed_over_in_postgresql_as_well(world: World, postgres: Postgres) -> None:
    planted = planted_everywhere(world)
    lost = replace(world, control=ControlDatabase(postgres.new_database()))
    try:
        rebuilt = recovered(lost)
        assert {key for key in planted for line in rebuilt.problems if key in line} == set(planted)
        assert (rebuilt.tables, rebuilt.days, rebuilt.rows) == (1, 3, 2 * ROWS)
        sync_projects(lost.control, lost.source, lost.settings)
        lost.source.rows += rows_of_day(PROJECT, FIRST, 1)
        assert publish_one(lost, FIRST).epoch == 2 + len(PLANTS)
        assert sum(retired(lost, key) for key in planted) == len(planted)
        assert lost.verify().ok
    finally:
        lost.control.close()


def test_where_nothing_but_planted_objects_is_left_the_day_is_exported_again(world: World, lost: World) -> None:
    genuine = world.get(world.data(FIRST))
    world.delete(world.manifest(FIRST))
    world.put(world.manifest(FIRST, HUGE_EPOCH), b"{}")
    for number in (2**70, -1):
        own = {"commit_id": str(uuid.uuid4()), "rows": str(number)}
        out = io.BytesIO()
        with pq.ParquetWriter(out, pa.schema([("id", pa.string())])) as writer:
            writer.add_key_value_metadata({f"export_pipeline.{name}": value for name, value in own.items()})
        world.put(world.data(LAST), out.getvalue())
        world.put(world.manifest(LAST), b"{}")
        report = recovered(lost)
        assert report.days + report.unchanged == 1
        assert (record(lost, LAST).epoch, record(lost, LAST).rows, record(lost, LAST).completed_at) == (1, 0, None)
    sync_projects(lost.control, lost.source, lost.settings)
    outcomes = {day: (outcome.rows, outcome.epoch) for day, outcome in lost.publish(FIRST, LAST).items()}
    assert outcomes == {FIRST: (ROWS, 1), LAST: (ROWS, 2)}
    assert retired(lost, world.manifest(FIRST, HUGE_EPOCH)) == 1
    assert lost.verify().ok
    assert world.get(world.data(FIRST)) != genuine


def test_after_the_planted_one_is_retired_everything_is_well_again(world: World) -> None:
    genuine = world.objects()
    world.put(world.manifest(FIRST, HUGE_EPOCH), told(world, epoch=HUGE_EPOCH))
    world.put(world.manifest(FIRST, 2), b"{}")
    world.source.rows += rows_of_day(PROJECT, FIRST, 1)
    assert publish_one(world, FIRST).epoch == 3
    assert len(world.verify().problems) == 1  # the one of epoch 2 is no longer in front of the valid one
    assert retired(world, world.manifest(FIRST, HUGE_EPOCH)) == retired(world, world.manifest(FIRST, 2)) == 1
    assert world.verify().ok
    assert world.verify(control=None).ok
    left = {key for key in world.objects() if "/_export_pipeline/retired/" not in key}
    assert left == {*genuine, world.manifest(FIRST, 3)}
    moved = world.manifest(FIRST, 2).replace("/manifests/", "/retired/")
    assert world.get(moved) == b"{}"
    lines = read_audit(world.control, tenant_id=world.export.tenant_id)
    assert {(line.action, line.subject, line.actor) for line in lines if line.actor == "cli"} == {
        ("manifest.retire", world.manifest(FIRST, epoch), "cli") for epoch in (2, HUGE_EPOCH)
    }


def test_a_manifest_that_seems_genuine_stops_the_day_until_it_is_retired(world: World) -> None:
    key = world.manifest(FIRST, 7)
    world.put(key, told(world, epoch=7, superseded=1, rows_source=ROWS + 1))
    with pytest.raises(ForeignCommitError, match=rf"export-pipeline manifests retire {key}`"):
        publish_one(world, FIRST)
    assert retired(world, key) == 1
    assert publish_one(world, FIRST).outcome == "unchanged"
    assert world.verify().ok


def test_an_object_that_appears_where_a_decided_manifest_is_to_be_written_can_be_retired(
    seaweedfs: S3Server, tmp_path: Path
) -> None:
    world = World.make(seaweedfs, tmp_path)
    key = world.manifest(FIRST, 1)
    planted: list[str] = []

    def plant(step: str) -> None:
        if step == "writing manifest":
            world.put(key, b"{}")
            planted.append(key)

    try:
        parts: dict[str, Any] = {"control": world.control, "store": world.store, "source": world.source}
        with pytest.raises(ForeignCommitError, match=rf"export-pipeline manifests retire {key}`"):
            publish_day(Publisher(**parts, on_step=plant), request(world, FIRST))
        assert planted == [key]
        with world.control.begin() as connection:
            connection.execute(sa.update(days).values(manifest_key=key))
        with pytest.raises(ConflictError, match="being exported"):
            retired(world, key)
        with world.control.begin() as connection:
            connection.execute(sa.update(days).values(manifest_key=None))
        assert retired(world, key) == 1
        assert publish_one(world, FIRST).rows == ROWS
        assert world.verify(control=world.control).ok
    finally:
        world.close()


def test_of_several_manifests_the_newest_that_fits_the_file_is_recovered(world: World, lost: World) -> None:
    world.put(world.manifest(FIRST, 4), told(world, epoch=4, file=file_of(world, bytes=1)))
    world.put(world.manifest(FIRST, 5), told(world, epoch=5, commit_id=str(uuid.UUID(int=9))))
    world.put(world.manifest(FIRST, 6), told(world, epoch=6, file=file_of(world, key=world.data(LAST))))
    world.put(world.manifest(FIRST, 7), told(world, epoch=7, rows=0, rows_source=0, file=None))
    report, size = recovered(lost), len(world.get(world.data(FIRST)))
    assert [line.split(": ", 1)[1].split(";")[0] for line in report.problems] == [
        f"{world.manifest(FIRST, 7)} is not taken: it says that the day has no rows, and {world.data(FIRST)} is there",
        f"{world.manifest(FIRST, 6)} is not taken: it names another file than the day's own, {world.data(FIRST)}",
        f"{world.manifest(FIRST, 5)} is not taken: its file {world.data(FIRST)} is not the one of this commit",
        f"{world.manifest(FIRST, 4)} is not taken: its file {world.data(FIRST)} has {size:,} bytes, not 1",
    ]
    assert (record(lost, FIRST).commit_epoch, record(lost, FIRST).rows) == (1, ROWS)
    assert record(lost, FIRST).completed_at is not None


def planted_table(world: World, *, tenant: uuid.UUID | None = None, session: uuid.UUID | None = None) -> str:
    """A table of its own, with a day that fits its file; the folder of its manifests."""
    ids = {
        "export_id": str(uuid.uuid4()),
        "tenant_id": str(tenant or world.export.tenant_id),
        "session_id": str(session or world.export.session_id),
    }

    def moved(key: str) -> str:
        for name, value in ids.items():
            key = key.replace(f"{name}={getattr(world.export, name)}", f"{name}={value}")
        return key

    file = file_of(world, key=moved(world.data(FIRST)))
    world.put(file["key"], world.get(world.data(FIRST)))
    world.put(moved(world.manifest(FIRST)), told(world, file=file, **ids))
    return moved(world.manifest(FIRST)).partition("year=")[0]


def test_a_table_of_another_tenant_never_takes_a_project_over(world: World, lost: World) -> None:
    stranger, genuine = uuid.UUID(int=66), world.export
    folder = planted_table(world, tenant=stranger)
    for each in (world, lost):
        recovered(each)
        sync_projects(each.control, each.source, each.settings)
        export = standing_table(each.control, find_project(each.control, "chatbot"), each.settings)
        assert (export.export_id, export.tenant_id) == (genuine.export_id, genuine.tenant_id)
        assert {export.tenant_id for export in list_tables(each.control)} == {stranger, genuine.tenant_id}
        assert verify_export(export, store=each.store, control=each.control).ok
    assert retired(lost, folder) == 1
    assert folder not in " ".join(lost.objects())


def test_one_bad_table_ends_neither_a_recovery_nor_a_verification(world: World, lost: World) -> None:
    root = manifests_root(world.settings.prefix)
    bad = uuid.UUID(int=5)
    here = f"{root}export_id={bad}/tenant_id={bad}/session_id={bad}"
    world.put(f"{here}/year=9999/month=12/day=30/epoch=0000000001.json", told(world, day="9999-12-30"))
    world.put(f"{here}/year=9999/month=12/day=31/epoch=0000000001.json", told(world, day="9999-12-31"))
    world.put(f"{here}/year=0001/month=01/day=01/epoch=0000000001.json", b"{}")
    found, others = exports_in_bucket(world.store, world.settings.prefix, keys=NO_KEYS)
    assert [export.export_id for export in found] == [world.export.export_id]
    assert [table.export_id for table, _ in others] == [bad]
    report = recovered(lost)
    assert report.days == 3
    assert any(f"export {bad} has no manifest that can be believed" in line for line in report.problems)
    assert partitions_start(lost.control) == FIRST


def test_days_of_another_century_do_not_become_the_first_partition(world: World, lost: World) -> None:
    day = date(1970, 1, 2)
    key = world.manifest(day)
    window = {"start": "1970-01-02T00:00:00+00:00", "end": "1970-01-03T00:00:00+00:00"}
    empty: dict[str, Any] = {"rows": 0, "rows_source": 0, "file": None}
    world.put(key, told(world, day="1970-01-02", window=window, **empty))
    settings = lost.settings.model_copy(update={"start_date": None})
    report = recover(lost.control, store=lost.store, settings=settings, actor="cli")
    assert report.days == 4
    assert partitions_start(lost.control) == FIRST


def test_a_commit_that_was_recovered_from_a_planted_manifest_is_taken_back(world: World, lost: World) -> None:
    body, manifest = forged(world, FIRST)
    genuine = world.get(world.data(FIRST))
    world.put(world.data(FIRST), body)
    key = world.manifest(FIRST, 9)
    world.put(key, resealed(manifest, epoch=9))
    recovered(lost)
    assert record(lost, FIRST).commit_epoch == 9
    assert retired(lost, key) == 1
    with lost.control.read() as connection:
        (taken_back,) = read_days(connection, world.export.export_id, first=FIRST, last=FIRST)
    assert (taken_back.committed, taken_back.status, taken_back.rows) == (False, "Failed", None)
    world.put(world.data(FIRST), genuine)
    assert recovered(lost).days == 1
    assert record(lost, FIRST).commit_epoch == 1
    sync_projects(lost.control, lost.source, lost.settings)
    assert publish_one(lost, FIRST).outcome == "unchanged"
    assert lost.verify().ok


def test_only_manifests_can_be_retired(world: World) -> None:
    for name in (world.data(FIRST), "", "a/b/", f"{manifests_root(world.settings.prefix)}nothing"):
        with pytest.raises(InputError):
            find_manifests(world.control, world.store, prefix=world.settings.prefix, name=name)
    assert {world.data(day) for day in DAYS} & set(world.objects()) == {world.data(FIRST), world.data(LAST)}
