"""The daemon's last tick, as those can see it who do not know Dagster."""

import contextlib

import sqlalchemy as sa

from export_pipeline.errors import ControlUnreachableError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import facts
from export_pipeline.runs.times import SECOND

LATE_SECONDS = 180
"""A tick that is older says that no daemon runs: sensors tick every 30 seconds."""

_NAME = "daemon_tick"


def beat(control: ControlDatabase) -> None:
    """Notes that a sensor is ticking; where that cannot be written, the tick goes on."""
    with contextlib.suppress(ControlUnreachableError), control.begin() as transaction:
        now = str(transaction.now())
        here = facts.c.name == _NAME
        if not transaction.execute(sa.update(facts).where(here).values(value=now)).rowcount:
            transaction.execute(sa.insert(facts).values(name=_NAME, value=now))


def seconds_since_tick(control: ControlDatabase) -> float | None:
    """How long ago a sensor last ticked, None where none ever has."""
    with control.read() as transaction:
        value = transaction.execute(sa.select(facts.c.value).where(facts.c.name == _NAME)).scalar_one_or_none()
        now = transaction.now()
    return None if value is None else max(0.0, (now - int(value)) / SECOND)
