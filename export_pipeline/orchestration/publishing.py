"""Puts together what a project's asset returns: the requests for its days and the ways to report them."""

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from export_pipeline.orchestration.launch import launched_at, owner_has_ended, owner_of
from export_pipeline.orchestration.parts import Parts
from export_pipeline.orchestration.project_days import DayMetadata, ProjectDays
from export_pipeline.orchestration.text import one_line
from export_pipeline.runs.window import DayWindow, Window

if TYPE_CHECKING:
    from export_pipeline.exports.control.records import ProjectRecord


def project_days(
    context: dg.AssetExecutionContext,
    *,
    project: "ProjectRecord",
    days: tuple[date, ...],
    parts: Parts,
    allow_shrink: bool,
    retry_in: float | None,
) -> ProjectDays:
    """The days of one project, ready to be published by the IO manager.

    Takes (or begins) the project's standing export; reads and uploads nothing yet. Raises `ExportPipelineError`.
    """
    from export_pipeline.exports.commit.breaker import Breaker
    from export_pipeline.exports.commit.job import PublishLimits
    from export_pipeline.exports.commit.publish import DayRequest
    from export_pipeline.exports.commit.publish_days import publish_days
    from export_pipeline.exports.projects.standing import standing_export
    from export_pipeline.files.signing import Signer

    parts.control.check_schema()
    export = standing_export(parts.control, project, parts.settings)
    parts.prefixes.add(export.prefix)
    owner = owner_of(context.run.run_id)
    breaker = Breaker()
    launched = launched_at(context.instance, context.run, now=parts.control.now())
    requests = [
        DayRequest(
            export=export,
            day=DayWindow(day, Window.of_day(day)),
            owner=owner,
            launched_at=launched,
            allow_shrink=allow_shrink,
        )
        for day in days
    ]
    return ProjectDays(
        project=f"project {one_line(project.name)!r}",
        days=days,
        publish=partial(
            publish_days,
            requests,
            control=parts.control,
            store=parts.store,
            source=parts.source,
            limits=PublishLimits.from_settings(parts.settings),
            owner_ended=owner_has_ended(context.instance, me=owner),
            on_start=lambda _: breaker.check(),
            signer=Signer.from_settings(parts.settings),
        ),
        report=_report(context),
        record=_record(context),
        log=context.log.info,
        note=breaker.note,
        retry_in=retry_in,
    )


def _report(context: dg.AssetExecutionContext) -> Callable[[date, DayMetadata], None]:
    def report(day: date, metadata: DayMetadata) -> None:
        context.add_asset_metadata(metadata, partition_key=day.isoformat())

    return report


def _record(context: dg.AssetExecutionContext) -> Callable[[date, DayMetadata], None]:
    def record(day: date, metadata: DayMetadata) -> None:
        event = dg.AssetMaterialization(context.asset_key, partition=day.isoformat(), metadata=metadata)
        context.log_event(event)

    return record
