"""When a lease is confirmed anew, and when it is enough that it was held a moment ago."""

import time
import uuid

import pytest
import sqlalchemy as sa

from export_pipeline.errors import LeaseLostError
from export_pipeline.exports.commit.claim import Claim
from export_pipeline.exports.commit.lease import Lease, elapsed, wait_for_claim
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import days
from export_pipeline_tests.exports.commit.bench import DAY, new_export

LEASE = 30.0


@pytest.fixture
def claim(control: ControlDatabase) -> Claim:
    """A day that was just taken."""
    export = new_export(control, "bucket")
    taken = wait_for_claim(
        control,
        export_id=export.export_id,
        day=DAY,
        owner="process:test:1",
        launched_at=None,
        lease_seconds=LEASE,
        wait_seconds=0,
        owner_ended=None,
        patience=5,
    )
    assert isinstance(taken, Claim)
    return taken


def ends_at(control: ControlDatabase) -> int:
    with control.read() as connection:
        until: int = connection.execute(sa.select(days.c.lease_until)).scalar_one()
        return until


def lease_of(claim: Claim, control: ControlDatabase, *, age: float) -> Lease:
    """A lease whose clock stands still, `age` seconds after the day was claimed."""
    return Lease(claim, control=control, lease_seconds=LEASE, patience=5, since=-age, clock=lambda: 0.0)


def test_a_day_is_taken_for_one_lease_from_the_time_that_the_claim_names(
    claim: Claim, control: ControlDatabase
) -> None:
    assert (claim.epoch, claim.committed, claim.intent, claim.stale_uploads) == (1, None, None, ())
    assert abs(ends_at(control) - claim.taken_at - LEASE * 1_000_000) < 1_000_000
    assert claim.taken_at <= control.now()


def test_a_young_lease_is_not_renewed_for_a_step_that_does_no_harm(claim: Claim, control: ControlDatabase) -> None:
    taken = ends_at(control)
    lease_of(claim, control, age=0).confirm(lately=True)
    assert ends_at(control) == taken
    lease_of(claim, control, age=LEASE / 30).confirm(lately=True)
    assert ends_at(control) > taken


def test_a_renewed_lease_is_young_again(claim: Claim, control: ControlDatabase) -> None:
    lease = lease_of(claim, control, age=LEASE)
    lease.confirm(lately=True)
    renewed = ends_at(control)
    lease.confirm(lately=True)
    assert ends_at(control) == renewed


def test_any_other_step_renews_it_however_young_it_is(claim: Claim, control: ControlDatabase) -> None:
    taken = ends_at(control)
    lease_of(claim, control, age=0).confirm()
    assert ends_at(control) > taken


def test_a_lost_lease_is_found_out_once_it_is_not_young_any_more(claim: Claim, control: ControlDatabase) -> None:
    with control.begin() as connection:
        connection.execute(sa.update(days).values(epoch=2, claim_id=str(uuid.uuid4())))
    for lately, age in ((False, 0.0), (True, LEASE / 30)):
        with pytest.raises(LeaseLostError, match="another process has taken the day over"):
            lease_of(claim, control, age=age).confirm(lately=lately)


def test_the_clock_goes_on_from_the_claim(claim: Claim, control: ControlDatabase) -> None:
    seconds = iter([10.0, 10.25, 70.0])
    lease = Lease(claim, control=control, lease_seconds=LEASE, patience=5, since=10, clock=lambda: next(seconds))
    assert [lease.now() - claim.taken_at, lease.now() - claim.taken_at] == [250_000, 60_000_000]


def test_the_time_that_a_machine_was_suspended_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    suspended = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    monkeypatch.setattr(time, "clock_gettime", {suspended: 3600.0}.__getitem__)
    assert elapsed() == 3600.0
