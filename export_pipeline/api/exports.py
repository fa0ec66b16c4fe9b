"""The calls on bulk exports and their runs."""

import uuid
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Response

from export_pipeline.api.context import GetCaller, GetContext
from export_pipeline.api.export_answers import changes_answer, export_answer, run_answer
from export_pipeline.api.export_bodies import (
    BulkExport,
    BulkExportChanges,
    BulkExportCreate,
    BulkExportRun,
    BulkExportUpdate,
)
from export_pipeline.api.failures import REFUSED
from export_pipeline.api.guard import GuardedRoute
from export_pipeline.api.wire import Limit, Offset, offset_within
from export_pipeline.exports.bulk import read
from export_pipeline.exports.bulk.cancel import cancel_bulk_export as cancel
from export_pipeline.exports.bulk.create import create_bulk_export as create
from export_pipeline.exports.bulk.dagster_runs import end_dagster_runs
from export_pipeline.exports.bulk.read import read_run_manifest, run_details
from export_pipeline.exports.bulk.retry import retry_failed
from export_pipeline.exports.proof.changes import bulk_changes_since
from export_pipeline.files.manifest import Manifest

router = APIRouter(prefix="/bulk-exports", tags=["bulk-exports"], route_class=GuardedRoute)


@router.get("")
def get_bulk_exports(
    context: GetContext, caller: GetCaller, limit: Limit | None = None, offset: Offset = 0
) -> list[BulkExport]:
    """The workspace's exports, schedules and what they spawned too, the newest first."""
    records = read.list_bulk_exports(
        context.control, tenant_id=caller.tenant_id, limit=limit, offset=offset_within(offset)
    )
    return [export_answer(record) for record in records]


@router.post("", responses=REFUSED)
def create_bulk_export(body: BulkExportCreate, context: GetContext, caller: GetCaller) -> BulkExport:
    """Ask for an export, or with `interval_hours` for one every so many hours."""
    record = create(
        context.control,
        body.parsed(),
        tenant_id=caller.tenant_id,
        settings=context.settings,
        actor=caller.actor,
    )
    return export_answer(record)


@router.get("/runs")
def get_bulk_export_runs_filtered(
    context: GetContext,
    caller: GetCaller,
    source_bulk_export_id: uuid.UUID,
    limit: Limit | None = None,
    offset: Offset = 0,
) -> list[BulkExportRun]:
    """The runs of all exports that a schedule has spawned."""
    units = read.list_child_units(
        context.control,
        source_bulk_export_id,
        tenant_id=caller.tenant_id,
        limit=limit,
        offset=offset_within(offset),
    )
    return [run_answer(details) for details in run_details(context.control, units)]


@router.get("/{bulk_export_id}")
def get_bulk_export(bulk_export_id: uuid.UUID, context: GetContext, caller: GetCaller) -> BulkExport:
    """One export, with its progress."""
    record = read.get_bulk_export(context.control, bulk_export_id, tenant_id=caller.tenant_id)
    return export_answer(record, read.progress_of(context.control, bulk_export_id, tenant_id=caller.tenant_id))


@router.patch("/{bulk_export_id}", responses=REFUSED)
def cancel_bulk_export(
    bulk_export_id: uuid.UUID,
    _body: BulkExportUpdate,
    context: GetContext,
    caller: GetCaller,
    after_answer: BackgroundTasks,
) -> BulkExport:
    """Cancel an export for good; what is committed stays."""
    record = cancel(context.control, bulk_export_id, tenant_id=caller.tenant_id, actor=caller.actor)
    after_answer.add_task(end_dagster_runs, context.settings.dagster_url, bulk_export_id)
    return export_answer(record)


@router.post("/{bulk_export_id}/retry", responses=REFUSED)
def retry_bulk_export(bulk_export_id: uuid.UUID, context: GetContext, caller: GetCaller) -> BulkExport:
    """Try the days of a failed export again that are not done."""
    record = retry_failed(
        context.control,
        bulk_export_id,
        tenant_id=caller.tenant_id,
        settings=context.settings,
        actor=caller.actor,
    )
    return export_answer(record)


@router.get("/{bulk_export_id}/runs")
def get_bulk_export_runs(
    bulk_export_id: uuid.UUID,
    context: GetContext,
    caller: GetCaller,
    limit: Limit | None = None,
    offset: Offset = 0,
) -> list[BulkExportRun]:
    """The runs of an export, by day."""
    units = read.list_units(
        context.control, bulk_export_id, tenant_id=caller.tenant_id, limit=limit, offset=offset_within(offset)
    )
    return [run_answer(details) for details in run_details(context.control, units)]


@router.get("/{bulk_export_id}/runs/{run_id}")
def get_bulk_export_run(
    bulk_export_id: uuid.UUID, run_id: uuid.UUID, context: GetContext, caller: GetCaller
) -> BulkExportRun:
    """One run of an export."""
    unit = read.get_unit(context.control, bulk_export_id, run_id, tenant_id=caller.tenant_id)
    return run_answer(run_details(context.control, [unit])[0])


@router.get("/{bulk_export_id}/runs/{run_id}/manifest", response_model=Manifest)
def get_bulk_export_run_manifest(
    bulk_export_id: uuid.UUID, run_id: uuid.UUID, context: GetContext, caller: GetCaller
) -> Response:
    """The manifest of a run's commit, to the byte as it lies in the bucket: counts, checksums, rejected rows."""
    content = read_run_manifest(context.control, bulk_export_id, run_id, tenant_id=caller.tenant_id)
    return Response(Manifest.model_validate(content).seal(), media_type="application/json")


@router.get("/{bulk_export_id}/changes")
def get_bulk_export_changes(
    bulk_export_id: uuid.UUID,
    context: GetContext,
    caller: GetCaller,
    cursor: Annotated[str, Query(max_length=100)] | None = None,
    limit: Limit = 1000,
    *,
    current: bool = False,
) -> BulkExportChanges:
    """What an export, or what a schedule spawned, has committed since a cursor; with `current` one commit a day."""
    changes, after = bulk_changes_since(
        context.control, bulk_export_id, tenant_id=caller.tenant_id, cursor=cursor, limit=limit, current=current
    )
    return changes_answer(changes, after)
