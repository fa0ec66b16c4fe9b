"""The audit log: who changed what, written in the transaction of the change itself."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import audit_log
from export_pipeline.exports.control.transaction import Transaction


@dataclass(frozen=True)
class AuditRecord:
    """One change; `at` in control database microseconds, `actor` as "cli", "key:<id>", "schedule" or "settings"."""

    id: uuid.UUID
    at: int
    tenant_id: uuid.UUID
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]


def record(
    transaction: Transaction,
    *,
    at: int,
    tenant_id: uuid.UUID,
    actor: str,
    action: str,
    subject: str | uuid.UUID,
    detail: Mapping[str, Any],
) -> None:
    """Adds a line, in the caller's transaction.

    `action` is a thing and a verb ("destination.create"), `subject` the id of what was changed, `detail` what was
    asked for, in JSON's types or UUIDs, which become text, and without anything secret.
    """
    transaction.execute(
        sa.insert(audit_log).values(
            id=uuid.uuid4(),
            at=at,
            tenant_id=tenant_id,
            actor=actor,
            action=action,
            subject=str(subject),
            detail={name: str(value) if isinstance(value, uuid.UUID) else value for name, value in detail.items()},
        )
    )


def read_audit(
    control: ControlDatabase,
    *,
    tenant_id: uuid.UUID,
    subject: str | uuid.UUID | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[AuditRecord]:
    """The workspace's lines, newest first; with `subject` those about one thing."""
    query = sa.select(audit_log).where(audit_log.c.tenant_id == tenant_id)
    if subject is not None:
        query = query.where(audit_log.c.subject == str(subject))
    query = query.order_by(audit_log.c.at.desc(), audit_log.c.id).limit(limit).offset(offset)
    with control.read() as transaction:
        rows = transaction.execute(query).mappings().all()
    return [AuditRecord(**row) for row in rows]
