"""Rebuilding the control database from the manifests in the bucket."""

import uuid
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import ForeignCommitError, ShrunkError
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.exports.commit.day import DayRequest
from export_pipeline.exports.commit.publish import publish_day
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import DayRecord, read_day, read_days
from export_pipeline.exports.control.tables import days
from export_pipeline.exports.projects.planning import completed_days_of
from export_pipeline.exports.projects.registry import find_project, list_projects, partitions_start, sync_projects
from export_pipeline.exports.projects.standing import list_tables, standing_table
from export_pipeline.exports.proof.changes import changes_since
from export_pipeline.exports.proof.recover.bucket import RecoverReport, recover
from export_pipeline.exports.proof.verify.export import verify_export
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline_tests.exports.memory_source import rows_of_day
from export_pipeline_tests.exports.world import DAYS, EMPTY, FIRST, LAST, PROJECT, ROWS, World, resealed
from export_pipeline_tests.servers import S3Server

pytestmark = pytest.mark.slow


def recovered(world: World, **options: Any) -> RecoverReport:
    return recover(world.control, store=world.store, settings=world.settings, actor="cli", **options)


def commits_of(world: World) -> list[tuple[date, int, int, str | None]]:
    with world.control.read() as connection:
        records = read_days(connection, world.export.export_id)
    return [(record.day, record.commit_epoch or 0, record.rows or 0, record.manifest_key) for record in records]


def record(world: World, day: date) -> DayRecord:
    with world.control.read() as connection:
        found = read_day(connection, world.export.export_id, day)
    assert found is not None
    return found


def test_an_empty_database_knows_everything_again(world: World, lost: World) -> None:
    world.source.rows += rows_of_day(PROJECT, FIRST, 5)
    world.publish(FIRST)
    report = recovered(lost)
    assert report.problems == []
    assert (report.tables, report.days, report.unchanged, report.rows) == (1, 3, 0, 2 * ROWS + 5)
    assert report.exports == [world.export.export_id]
    assert report.projects == [world.export.session_id]
    assert report.partitions_start == partitions_start(lost.control) == FIRST
    assert list_projects(lost.control, only_assets=True, settings=lost.settings) == []
    sync_projects(lost.control, lost.source, lost.settings)
    assert find_project(lost.control, "chatbot").asset_name == "chatbot"
    assert lost.export.export_id == world.export.export_id
    assert lost.export == replace(world.export, created_at=lost.export.created_at)
    assert commits_of(lost) == commits_of(world)
    assert verify_export(lost.export, store=lost.store, control=lost.control).ok


def test_the_table_goes_on_where_it_was(world: World, lost: World) -> None:
    recovered(lost)
    sync_projects(lost.control, lost.source, lost.settings)
    assert {outcome.outcome for outcome in lost.publish().values()} == {"unchanged"}
    lost.source.rows += rows_of_day(PROJECT, LAST, 1)
    outcome = lost.publish(LAST)[LAST]
    assert (outcome.outcome, outcome.rows, outcome.epoch) == ("committed", ROWS + 1, 3)
    assert verify_export(lost.export, store=lost.store, control=lost.control).ok


def test_without_recovering_a_day_of_another_database_is_refused_and_then_not(world: World, lost: World) -> None:
    sync_projects(lost.control, lost.source, lost.settings)
    copied = {**world.export.__dict__, "superseded_at": None}
    from export_pipeline.exports.control.tables import exports

    with lost.control.begin() as connection:
        ids = {name: str(value) for name, value in copied.items() if isinstance(value, uuid.UUID)}
        connection.execute(sa.insert(exports).values(**{**copied, **ids, "fields": list(copied["fields"])}))
    request = DayRequest(lost.export, DayWindow(FIRST, Window.of_day(FIRST)), owner="process:test:2")
    parts: dict[str, Any] = {"control": lost.control, "store": lost.store, "source": lost.source}
    with pytest.raises(ForeignCommitError, match="export-pipeline recover"):
        publish_day(Publisher(**parts), request)
    assert recovered(lost).days == 3
    assert publish_day(Publisher(**parts), request).outcome == "unchanged"


def test_recovering_again_changes_nothing(world: World, lost: World) -> None:
    recovered(lost)
    before, changes = commits_of(lost), changes_since(lost.control, world.export.export_id)
    again = recovered(lost)
    assert (again.days, again.unchanged, again.exports, again.projects) == (0, 3, [], [])
    assert commits_of(lost) == before
    assert changes_since(lost.control, world.export.export_id) == changes
    assert sorted(change.day for change in changes[0]) == [FIRST, EMPTY, LAST]
    times = [change.committed_at for change in changes[0]]
    assert times == sorted(times)
    assert [change.sequence for change in changes[0]] == [1, 2, 3]


def test_a_database_that_is_right_is_left_as_it_is(world: World) -> None:
    before = commits_of(world)
    report = recovered(world)
    assert (report.days, report.unchanged, report.problems, report.notes) == (0, 3, [], [])
    assert commits_of(world) == before


def test_a_dry_run_says_the_same_and_writes_nothing(lost: World) -> None:
    lost.control.migrate()
    dry = recovered(lost, dry_run=True)
    assert list_tables(lost.control) == []
    assert partitions_start(lost.control) is None
    wet = recovered(lost)
    assert (dry.days, dry.rows, dry.exports, dry.projects) == (wet.days, wet.rows, wet.exports, wet.projects)


def test_a_dry_run_on_a_database_that_is_not_there_says_the_same_and_makes_none(lost: World, tmp_path: Path) -> None:
    dry = recovered(lost, dry_run=True)
    assert not (tmp_path / "new").exists()
    wet = recovered(lost)
    assert (dry.days, dry.rows, dry.exports, dry.projects) == (wet.days, wet.rows, wet.exports, wet.projects)
    assert dry.days == 3


def test_an_old_copy_catches_up_and_no_epoch_falls(world: World, tmp_path: Path) -> None:
    with world.control.begin() as connection:
        connection.execute(sa.text(f"UPDATE days SET epoch = 9 WHERE day = '{LAST}'"))
    with world.control.read() as connection:
        old = [dict(row) for row in connection.execute(sa.select(days)).mappings()]
    world.source.rows += rows_of_day(PROJECT, FIRST, 5)
    world.publish(FIRST)
    with world.control.begin() as connection:
        connection.execute(sa.delete(days))
        connection.execute(sa.insert(days), old)
    report = recovered(world)
    assert (report.days, report.unchanged, report.problems) == (1, 2, [])
    assert (record(world, FIRST).epoch, record(world, FIRST).rows) == (2, ROWS + 5)
    assert record(world, LAST).epoch == 9
    assert world.verify().ok


def test_what_the_database_knows_better_stays(world: World) -> None:
    world.source.rows += rows_of_day(PROJECT, FIRST, 5)
    world.publish(FIRST)
    world.delete(world.manifest(FIRST, 2))
    world.delete(world.manifest(LAST, 1))
    report = recovered(world)
    newer, lost_one = (line.partition(": ")[2] for line in report.problems)
    assert newer == (
        "the control database knows a commit of epoch 2, the bucket's newest manifest is of epoch 1; "
        "the record is left as it is"
    )
    assert lost_one == "its commit of epoch 1 has no manifest in the bucket"
    assert record(world, FIRST).commit_epoch == 2
    assert record(world, LAST).commit_epoch == 1


def test_a_day_whose_file_or_manifest_is_damaged_is_exported_again(world: World, lost: World) -> None:
    world.delete(world.data(FIRST))
    world.put(world.manifest(LAST), world.get(world.manifest(LAST)).replace(b'"rows":200', b'"rows":201'))
    report = recovered(lost)
    assert [line.partition(": ")[2] for line in report.problems] == [
        f"its file {world.data(FIRST)} is missing",
        "the manifest was changed after it was written: its sha256 does not match",
    ]
    sync_projects(lost.control, lost.source, lost.settings)
    assert completed_days_of(lost.control, lost.export.export_id) == {EMPTY}
    assert (record(lost, LAST).status, record(lost, LAST).epoch) == ("Failed", 1)
    assert [outcome.epoch for _, outcome in sorted(lost.publish(FIRST, LAST).items())] == [2, 2]
    assert verify_export(lost.export, store=lost.store, control=lost.control).ok


def test_a_damaged_day_is_still_guarded_against_shrinking(world: World, lost: World) -> None:
    world.put(world.manifest(LAST), b"{}")
    world.delete(world.data(FIRST))
    recovered(lost)
    sync_projects(lost.control, lost.source, lost.settings)
    lost.source.rows = lost.source.rows[1:-1]
    for day in (FIRST, LAST):
        request = DayRequest(lost.export, DayWindow(day, Window.of_day(day)), owner="process:test:2")
        with pytest.raises(ShrunkError, match="gives 199 rows, 200 are committed"):
            publish_day(Publisher(control=lost.control, store=lost.store, source=lost.source), request)
    assert completed_days_of(lost.control, lost.export.export_id) == {EMPTY}


def test_of_two_tables_of_a_project_the_one_exported_to_last_is_in_use(world: World, lost: World) -> None:
    first = world.export
    changed = world.settings.model_copy(update={"format_version": "v2_beta"})
    second = standing_table(world.control, find_project(world.control, PROJECT), changed)
    replace(world, settings=changed).publish(LAST)
    report = recovered(lost)
    assert sorted(report.exports) == sorted([first.export_id, second.export_id])
    in_use = {export.export_id: export.superseded_at is None for export in list_tables(lost.control)}
    assert in_use == {first.export_id: False, second.export_id: True}
    assert {export.format_version for export in list_tables(lost.control)} == {"v1", "v2_beta"}


def test_a_table_that_a_lost_database_has_begun_gives_way_to_the_one_in_the_bucket(world: World, lost: World) -> None:
    sync_projects(lost.control, lost.source, lost.settings)
    begun = lost.export
    assert begun.export_id != world.export.export_id
    recovered(lost)
    assert lost.export.export_id == world.export.export_id
    assert [export.superseded_at is None for export in list_tables(lost.control)].count(True) == 1


def test_what_was_changed_stands_in_the_workspace_s_audit_log_once(world: World, lost: World) -> None:
    sync_projects(lost.control, lost.source, lost.settings)
    begun = lost.export
    world.delete(world.data(FIRST))

    def lines() -> list[tuple[str, str, str, Any]]:
        found = read_audit(lost.control, tenant_id=world.export.tenant_id)
        return [(line.actor, line.action, line.subject, line.detail) for line in found if line.actor == "cli"]

    recovered(lost, dry_run=True)
    assert lines() == []
    recovered(lost)
    known = {"new_project": False, "new_export": True, "days": 2, "uncommitted": 1, "rows": ROWS}
    assert sorted(lines(), key=lambda line: line[1]) == [
        ("cli", "export.recover", str(world.export.export_id), known),
        ("cli", "export.supersede", str(begun.export_id), {}),
    ]
    recovered(world)
    found = read_audit(world.control, tenant_id=world.export.tenant_id)
    assert [line.action for line in found if line.actor == "cli"] == ["export.recover"]


def test_a_bulk_export_of_whole_days_does_not_become_a_standing_export(world: World, lost: World) -> None:
    world.put(world.manifest(FIRST), resealed(world.get(world.manifest(FIRST)), export_kind="bulk"))
    world.put(world.manifest(LAST), resealed(world.get(world.manifest(LAST)), export_kind="bulk"))
    report = recovered(lost)
    assert (report.tables, report.exports) == (0, [])
    assert "it is a bulk export" in report.notes[0]


def test_a_day_that_is_being_exported_is_left_alone(world: World) -> None:
    here = sa.and_(days.c.export_id == str(world.export.export_id), days.c.day == FIRST)
    with world.control.begin() as connection:
        until = connection.now_sql + 60_000_000
        connection.execute(
            sa.update(days).where(here).values(lease_until=until, owner="process:x:1", commit_epoch=None, manifest=None)
        )
    report = recovered(world)
    assert [line.partition(": ")[2] for line in report.problems] == [
        "it is being exported by process:x:1; recover again when that has ended"
    ]
    assert record(world, FIRST).commit_epoch is None


def test_recovering_into_postgresql_from_a_store_with_conditional_writes(
    seaweedfs: S3Server, postgres: Any, tmp_path: Path
) -> None:
    world = World.make(seaweedfs, tmp_path, prefix="")
    control = ControlDatabase(postgres.new_database())
    try:
        world.publish()
        lost = replace(world, control=control)
        assert recovered(lost).days == 3
        assert recovered(lost).unchanged == 3
        sync_projects(control, world.source, world.settings)
        assert lost.export.export_id == world.export.export_id
        assert commits_of(lost) == commits_of(world)
        assert {outcome.outcome for outcome in lost.publish(*DAYS).values()} == {"unchanged"}
    finally:
        control.close()
        world.close()
