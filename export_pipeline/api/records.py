"""The audit log: who changed what, when."""

import uuid
from typing import Any

from fastapi import APIRouter

from export_pipeline.api.context import GetCaller, GetContext
from export_pipeline.api.guard import GuardedRoute
from export_pipeline.api.wire import Body, Limit, Offset, Time, offset_within
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.runs.times import instant

router = APIRouter(prefix="/audit-log", tags=["audit"], route_class=GuardedRoute)


class AuditLine(Body):
    """One change, or a refusal (`refused.…`, with how many calls it tells of).

    `actor` is "key:<id>", "cli", "schedule" or "single-user".
    """

    id: uuid.UUID
    at: Time
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


@router.get("", openapi_extra={"x-scope": "bulk-exports:manage"})
def get_audit_log(context: GetContext, caller: GetCaller, limit: Limit = 100, offset: Offset = 0) -> list[AuditLine]:
    """The workspace's changes, the newest first."""
    records = read_audit(context.control, tenant_id=caller.tenant_id, limit=limit, offset=offset_within(offset))
    return [
        AuditLine(
            id=line.id,
            at=instant(line.at),
            actor=line.actor,
            action=line.action,
            subject=line.subject,
            detail=dict(line.detail),
        )
        for line in records
    ]
