"""Cancelling and retrying in the control database, at every state of a day."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import ConflictError, NotFoundError
from export_pipeline.exports.bulk.cancel import cancel_bulk_export
from export_pipeline.exports.bulk.records import BulkExport
from export_pipeline.exports.bulk.retry import retry_failed
from export_pipeline.exports.commit.claim import Claim, claim_day
from export_pipeline.exports.commit.intent import Intent
from export_pipeline.exports.control.tables import days
from export_pipeline_tests.exports.bulk.desk import Desk


def cancel(desk: Desk, bulk_id: uuid.UUID) -> BulkExport:
    return cancel_bulk_export(desk.control, bulk_id, tenant_id=desk.tenant, actor="cli")


def claim(desk: Desk, bulk_id: uuid.UUID) -> Claim:
    """What a worker does with the first day."""
    unit = desk.units(bulk_id)[0]
    desk.set_unit(unit.id, status="Running")
    with desk.control.begin() as connection:
        claimed = claim_day(
            connection,
            export_id=unit.export_id,
            day=unit.day,
            owner="process:test:1",
            claim_id=uuid.uuid4(),
            lease_seconds=60,
            launched_at=None,
        )
    assert isinstance(claimed, Claim)
    return claimed


def set_day(desk: Desk, claimed: Claim, **values: Any) -> None:
    with desk.control.begin() as connection:
        connection.execute(sa.update(days).where(days.c.export_id == str(claimed.export_id)).values(**values))


def day_flag(desk: Desk, claimed: Claim) -> bool:
    with desk.control.read() as connection:
        query = sa.select(days.c.cancel_requested).where(days.c.export_id == str(claimed.export_id))
        return bool(connection.execute(query).scalar_one())


def test_a_cancel_before_anything_ran_ends_every_unit_and_is_final(any_desk: Desk) -> None:
    export = any_desk.ask()
    ended = cancel(any_desk, export.id)
    assert (ended.status, ended.finished_at is not None) == ("Cancelled", True)
    assert {unit.status for unit in any_desk.units(export.id)} == {"Cancelled"}
    assert cancel(any_desk, export.id) == ended
    with pytest.raises(ConflictError, match="create a new export"):
        retry_failed(any_desk.control, export.id, tenant_id=any_desk.tenant, settings=any_desk.settings, actor="cli")


def test_a_cancel_while_a_day_is_held_tells_its_worker(any_desk: Desk) -> None:
    export = any_desk.ask()
    claimed = claim(any_desk, export.id)
    cancel(any_desk, export.id)
    assert {unit.status for unit in any_desk.units(export.id)} == {"Cancelled"}
    assert day_flag(any_desk, claimed)


DECIDED = Intent(
    commit_id=uuid.uuid4(), epoch=1, rows=0, manifest_key="day.json", manifest={}, snapshot_at=0, fingerprint={}
).model_dump(mode="json")


def test_a_cancel_after_the_commit_point_leaves_that_day_to_its_worker(any_desk: Desk) -> None:
    export = any_desk.ask()
    set_day(any_desk, claim(any_desk, export.id), intent=DECIDED)
    assert cancel(any_desk, export.id).status == "Cancelled"
    assert [unit.status for unit in any_desk.units(export.id)] == ["Running", "Cancelled", "Cancelled"]


def test_a_worker_that_was_about_to_claim_its_day_finds_it_cancelled(any_desk: Desk) -> None:
    export = any_desk.ask()
    any_desk.set_unit(any_desk.units(export.id)[0].id, status="Running")
    cancel(any_desk, export.id)
    assert claim(any_desk, export.id).cancelled


def test_finished_days_of_a_cancelled_export_stay_listed(any_desk: Desk) -> None:
    export = any_desk.ask()
    any_desk.set_unit(any_desk.units(export.id)[1].id, status="Completed")
    cancel(any_desk, export.id)
    assert [unit.status for unit in any_desk.units(export.id)] == ["Cancelled", "Completed", "Cancelled"]


@pytest.mark.parametrize("status", ["Completed", "Failed", "TimedOut"])
def test_an_export_that_has_ended_otherwise_cannot_be_cancelled(desk: Desk, status: str) -> None:
    export = desk.ask()
    desk.set_export(export.id, status=status)
    with pytest.raises(ConflictError, match=f"as {status}"):
        cancel(desk, export.id)


def test_another_workspace_can_neither_cancel_nor_retry(desk: Desk) -> None:
    export, other = desk.ask(), uuid.uuid4()
    with pytest.raises(NotFoundError):
        cancel_bulk_export(desk.control, export.id, tenant_id=other, actor="cli")
    with pytest.raises(NotFoundError):
        retry_failed(desk.control, export.id, tenant_id=other, settings=desk.settings, actor="cli")


def test_a_cancelled_schedule_leaves_its_children_alone(desk: Desk) -> None:
    schedule = desk.ask(end=None, interval_hours=24)
    child = desk.ask()
    desk.set_export(child.id, source_id=str(schedule.id))
    assert cancel(desk, schedule.id).status == "Cancelled"
    assert desk.export(child.id).status == "Created"


def test_a_retry_by_hand_gives_the_failed_days_all_retries_anew_and_leaves_the_others(any_desk: Desk) -> None:
    export = any_desk.ask()
    failed, completed, timed_out = (unit.id for unit in any_desk.units(export.id))
    any_desk.set_unit(failed, status="Failed", attempt=20, errors={"retry_20": "no"})
    any_desk.set_unit(completed, status="Completed")
    any_desk.set_unit(timed_out, status="TimedOut", attempt=3)
    any_desk.set_export(export.id, status="Failed", error="no", started_at=1, finished_at=2)
    again = retry_failed(
        any_desk.control, export.id, tenant_id=any_desk.tenant, settings=any_desk.settings, actor="cli"
    )
    assert (again.status, again.error, again.started_at, again.finished_at) == ("Created", None, None, None)
    units = any_desk.units(export.id)
    assert [(unit.status, unit.attempt, unit.first_attempt) for unit in units] == [
        ("Created", 21, 21),
        ("Completed", 0, 0),
        ("Created", 4, 4),
    ]
    assert units[0].errors == {"retry_20": "no"}
