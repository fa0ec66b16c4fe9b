"""Puts the Dagster location together: one function, in which every part can be replaced."""

import logging
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.errors import ControlSchemaError, ControlUnreachableError
from export_pipeline.orchestration.assets import STANDING_RETRIES, build_project_assets
from export_pipeline.orchestration.io_manager import IO_MANAGER, DayFiles
from export_pipeline.orchestration.jobs import build_bulk_job, build_export_job
from export_pipeline.orchestration.resources import CONNECTIONS, S3, Connections, StandingS3
from export_pipeline.orchestration.schedules import build_daily_schedule
from export_pipeline.orchestration.sensors.bulk_exports import build_bulk_sensor
from export_pipeline.orchestration.sensors.changed_days import build_changed_days_sensor
from export_pipeline.orchestration.sensors.changed_exports import build_changed_exports_sensor
from export_pipeline.orchestration.sensors.notices import build_notice_sensor
from export_pipeline.orchestration.sensors.projects import build_project_sensor
from export_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from export_pipeline.exports.control.records import ProjectRecord

log = logging.getLogger("dagster.export_pipeline")


def build_definitions(
    settings: Settings | None = None,
    *,
    projects: "Sequence[ProjectRecord] | None" = None,
    start: date | None = None,
    retry_policy: dg.RetryPolicy = STANDING_RETRIES,
    resources: dict[str, object] | None = None,
    extra_assets: Sequence[Any] = (),
) -> dg.Definitions:
    """Assets, job, schedule, sensors and resources.

    Without `projects` and `start` they are read from the control database, and nothing else is: the trace store and
    the bucket are not touched, so that the location loads while those are down. Without a usable control database, or
    before the first sync, it loads without assets and says so in the log. `resources` replaces resources by key;
    `extra_assets` are assets of your own, downstream of the projects.

    Raises `SettingsError` where settings are missing or wrong.
    """
    settings = (load_settings() if settings is None else settings).resolved()
    if projects is None:
        projects, start, placed = _recorded_projects(settings)
    else:
        placed = settings
    made = {**_resources(settings), **(resources or {})}
    bulk_job = build_bulk_job()
    sensors = [
        build_project_sensor(settings),
        build_notice_sensor(),
        build_bulk_sensor(),
        build_changed_exports_sensor(),
    ]
    if not projects or start is None:
        return dg.Definitions(
            assets=list(extra_assets),
            jobs=[bulk_job],
            sensors=sensors,
            resources=made,
            executor=dg.in_process_executor,
        )
    assets = build_project_assets(projects, start=start, settings=placed, retry_policy=retry_policy)
    job = build_export_job()
    return dg.Definitions(
        assets=[*assets, *extra_assets],
        jobs=[job, bulk_job],
        schedules=[build_daily_schedule(job, projects=projects, start=start, settings=settings)],
        sensors=[*sensors, build_changed_days_sensor(job, projects=projects, start=start)],
        resources=made,
        executor=dg.in_process_executor,
    )


def _resources(settings: Settings) -> dict[str, object]:
    # At launch: fully configured, a resource that another one depends on would be made twice in a run.
    connections = Connections.configure_at_launch(settings=settings)
    return {
        CONNECTIONS: connections,
        IO_MANAGER: DayFiles(connections=connections),
        S3: StandingS3(settings=settings),
    }


def _recorded_projects(settings: Settings) -> "tuple[Sequence[ProjectRecord], date | None, Settings]":
    """The projects, the first partition, and the settings with the place of a stored destination."""
    from export_pipeline.exports.control.database import open_control
    from export_pipeline.exports.projects.registry import list_projects, partitions_start
    from export_pipeline.exports.projects.standing_place import with_place

    control = open_control(settings)
    try:
        control.check_schema()
        projects, start = list_projects(control, only_assets=True, settings=settings), partitions_start(control)
        with control.read() as transaction:
            placed = with_place(transaction, settings)
    except (ControlUnreachableError, ControlSchemaError) as error:
        log.warning("export-pipeline loads without assets: %s", error)
        return [], None, settings
    finally:
        control.close()
    if not projects:
        log.warning(
            "export-pipeline loads without assets: no project is known yet; run `export-pipeline projects sync`"
        )
    elif start is None:
        log.warning("export-pipeline loads without assets: no project has had a row yet, so there is no first day")
    return projects, start, placed
