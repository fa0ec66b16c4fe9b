"""Rows of the trace store that belong to no project: counted now and then, recorded, and told of.

Counting reads every project id of the store, so everybody looks at the recorded count while it is young.
"""

import hashlib
import json
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import facts
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.watch.notices import add_notice
from export_pipeline.runs.times import SECOND
from export_pipeline.settings import Settings
from export_pipeline.sources.protocol import RunSource, UnassignedRows

YOUNG_MICROSECONDS = 6 * 3600 * SECOND
_FACT = "unassigned_rows"


def count_unassigned(control: ControlDatabase, source: RunSource, settings: Settings) -> UnassignedRows:
    """Counts the rows of no project and records the count, with a notice where they are not exported.

    A notice is sent once for the same projects that are missing. Raises what the source raises.
    """
    rows = source.unassigned()

    def write(transaction: Transaction) -> None:
        at = transaction.now()
        value = json.dumps({**asdict(rows), "counted_at": at})
        transaction.insert_missing(facts, {"name": _FACT, "value": value})
        transaction.execute(sa.update(facts).where(facts.c.name == _FACT).values(value=value))
        if rows.missing(exported_as=settings.unassigned_project):
            add_notice(
                transaction,
                "rows.unassigned",
                subject=_subject(rows),
                text=rows.sentence(exported_as=settings.unassigned_project),
                detail=asdict(rows),
                at=at,
            )

    control.run(write)
    return rows


def unassigned_rows(control: ControlDatabase, source: RunSource, settings: Settings) -> UnassignedRows:
    """The recorded count of rows of no project, or a new one where that is more than six hours old."""
    with control.read() as transaction:
        recorded = transaction.execute(sa.select(facts.c.value).where(facts.c.name == _FACT)).scalar()
        now = transaction.now()
    value: dict[str, Any] = {} if recorded is None else json.loads(recorded)
    if now - value.pop("counted_at", 0) > YOUNG_MICROSECONDS:
        return count_unassigned(control, source, settings)
    lists = {name: tuple((id_, rows) for id_, rows in value.get(name, ())) for name in ("ids", "tenants")}
    return UnassignedRows(**{**value, **lists})


def _subject(rows: UnassignedRows) -> str:
    missing = [bool(rows.without_id), rows.unknown_ids, sorted(id_ for id_, _ in rows.ids)]
    missing += [sorted(tenant for tenant, _ in rows.tenants)] if rows.foreign else []
    return hashlib.sha256(json.dumps(missing).encode()).hexdigest()
