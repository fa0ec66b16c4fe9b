"""The calls on destinations."""

import uuid

from fastapi import APIRouter

from export_pipeline.api.context import GetCaller, GetContext
from export_pipeline.api.destination_bodies import (
    BulkExportDestination,
    BulkExportDestinationCheck,
    BulkExportDestinationCreate,
    BulkExportDestinationUpdate,
    check_answer,
    destination_answer,
)
from export_pipeline.api.failures import REFUSED
from export_pipeline.api.guard import GuardedRoute
from export_pipeline.api.wire import Limit, Offset, offset_within
from export_pipeline.exports.destinations import stored as service

router = APIRouter(prefix="/bulk-exports/destinations", tags=["bulk-exports"], route_class=GuardedRoute)


@router.get("")
def get_bulk_export_destinations(
    context: GetContext, caller: GetCaller, limit: Limit | None = None, offset: Offset = 0
) -> list[BulkExportDestination]:
    """The workspace's destinations, the newest first."""
    records = service.list_destinations(
        context.control, tenant_id=caller.tenant_id, limit=limit, offset=offset_within(offset)
    )
    return [destination_answer(record) for record in records]


@router.post("", responses=REFUSED)
def create_bulk_export_destination(
    body: BulkExportDestinationCreate, context: GetContext, caller: GetCaller
) -> BulkExportDestination:
    """Check a destination by a test write, and store it."""
    new = service.NewDestination(
        display_name=body.display_name,
        config=body.config.parsed(aws_role_arn=body.aws_role_arn),
        credentials=None if body.credentials is None else body.credentials.parsed(),
    )
    with context.places.take(caller.tenant_id):
        record = service.create_destination(
            context.control, new, tenant_id=caller.tenant_id, settings=context.settings, actor=caller.actor
        )
    return destination_answer(record)


@router.get("/{destination_id}")
def get_bulk_export_destination(
    destination_id: uuid.UUID, context: GetContext, caller: GetCaller
) -> BulkExportDestination:
    """One destination."""
    return destination_answer(service.get_destination(context.control, destination_id, tenant_id=caller.tenant_id))


@router.patch("/{destination_id}", responses=REFUSED)
def update_bulk_export_destination(
    destination_id: uuid.UUID, body: BulkExportDestinationUpdate, context: GetContext, caller: GetCaller
) -> BulkExportDestination:
    """Check new credentials, or a role, and put them in the place of the former ones."""
    with context.places.take(caller.tenant_id):
        record = service.rotate_credentials(
            context.control,
            destination_id,
            tenant_id=caller.tenant_id,
            credentials=None if body.credentials is None else body.credentials.parsed(),
            aws_role_arn=body.aws_role_arn,
            settings=context.settings,
            actor=caller.actor,
        )
    return destination_answer(record)


@router.delete("/{destination_id}", responses=REFUSED)
def delete_bulk_export_destination(
    destination_id: uuid.UUID, context: GetContext, caller: GetCaller
) -> BulkExportDestination:
    """Forget a destination that no unfinished export uses; answers what it was."""
    record = service.get_destination(context.control, destination_id, tenant_id=caller.tenant_id)
    service.delete_destination(
        context.control,
        destination_id,
        tenant_id=caller.tenant_id,
        settings=context.settings,
        actor=caller.actor,
    )
    return destination_answer(record)


@router.get("/{destination_id}/check", openapi_extra={"x-scope": "bulk-exports:manage"})
def check_bulk_export_destination(
    destination_id: uuid.UUID, context: GetContext, caller: GetCaller
) -> BulkExportDestinationCheck:
    """Check a stored destination anew by a test write."""
    with context.places.take(caller.tenant_id):
        checked = service.check_stored(
            context.control,
            destination_id,
            tenant_id=caller.tenant_id,
            settings=context.settings,
            actor=caller.actor,
        )
    return check_answer(checked)
