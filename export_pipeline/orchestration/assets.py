"""One asset per project, whose partitions are the UTC days."""

import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.exports.projects.planning import LONGEST_RANGE
from export_pipeline.orchestration.asset_checks import check_results, check_specs
from export_pipeline.orchestration.failure import as_failure
from export_pipeline.orchestration.instance.run_records import launched_at
from export_pipeline.orchestration.io_manager import IO_MANAGER, ProjectDays
from export_pipeline.orchestration.partitions import daily_partitions, days_of_run
from export_pipeline.orchestration.resources import CONNECTIONS, Connections
from export_pipeline.orchestration.text import code, one_line
from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE, FormatVersion, Kind, RunField, select_fields
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    from export_pipeline.exports.control.records import ProjectRecord

KEY_PREFIX = "runs"

STANDING_RETRIES = dg.RetryPolicy(max_retries=3, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""When the asset and the IO manager run again, where that may help; days that were committed are not repeated."""

_TYPES: dict[Kind, str] = {
    Kind.ID: "string (UUID)",
    Kind.TEXT: "string",
    Kind.TIME: "timestamp[us, UTC]",
    Kind.JSON: "string (JSON)",
    Kind.STRINGS: "list<string>",
    Kind.COUNT: "int64",
    Kind.COST: f"decimal({COST_PRECISION}, {COST_SCALE})",
    Kind.FLAG: "bool",
}


class DayOptions(dg.Config):
    """What can be chosen when an asset is launched."""

    allow_shrink: bool = False
    """Lets a day be replaced by fewer rows than are committed, after rows were purged on purpose."""


def asset_key(asset_name: str) -> dg.AssetKey:
    """The key of a project's asset; given once, it never changes."""
    return dg.AssetKey([KEY_PREFIX, asset_name])


def build_project_assets(
    projects: Iterable["ProjectRecord"],
    *,
    start: date,
    settings: Settings,
    retry_policy: dg.RetryPolicy = STANDING_RETRIES,
) -> list[dg.AssetsDefinition]:
    """An asset for each project, all with the same partitions, so that they can be backfilled together."""
    partitions = daily_partitions(start)
    schema = table_schema(select_fields(), settings.format_version)
    options = DayOptions.to_config_schema()  # once: reading it off each asset's signature takes an eighth of the load
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of backfill_policy, once for each asset
        return [
            _project_asset(
                project,
                partitions=partitions,
                start=start,
                schema=schema,
                options=options,
                settings=settings,
                retry_policy=retry_policy,
            )
            for project in projects
        ]


def _project_asset(
    project: "ProjectRecord",
    *,
    partitions: dg.DailyPartitionsDefinition,
    start: date,
    schema: dg.TableSchema,
    options: Any,
    settings: Settings,
    retry_policy: dg.RetryPolicy,
) -> dg.AssetsDefinition:
    key = asset_key(project.asset_name)

    @dg.asset(
        key=key,
        group_name=project.group_name,
        description=_description(project, settings),
        kinds={"polars", "parquet", "s3"},
        owners=settings.owners,
        tags={
            "export_pipeline/project": str(project.session_id),
            "export_pipeline/workspace": str(project.tenant_id),
        },
        metadata={
            "dagster/column_schema": schema,
            "dagster/table_name": f"{KEY_PREFIX}.{project.asset_name}",
            "dagster/uri": _bucket_uri(settings),
            "project": one_line(project.name),
            "project_id": one_line(project.project),
        },
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(LONGEST_RANGE),
        io_manager_key=IO_MANAGER,
        required_resource_keys={CONNECTIONS},
        check_specs=check_specs(key),
        config_schema=options,
    )
    def runs_of_project(context: dg.AssetExecutionContext) -> Iterator[Any]:
        connections: Connections = context.resources.connections
        left = context.retry_number < retry_policy.max_retries
        retry_in = retry_policy.calculate_delay(context.retry_number + 1) if left else None
        with as_failure(retry_in=retry_in):
            connections.control.check_schema()
            value = ProjectDays(
                project,
                days_of_run(context.run.tags, start=start, today=datetime.now(UTC).date()),
                launched_at=launched_at(context.instance, context.run, now=connections.control.now()),
                allow_shrink=context.op_execution_context.op_config["allow_shrink"],
                retry_in=retry_in,
            )
        yield dg.Output(value)
        yield from check_results(connections, project, start=start, asset_key=key)

    return runs_of_project


def _bucket_uri(settings: Settings) -> str:
    if settings.bucket is None:  # a stored destination that was not looked up
        return f"destination:{settings.destination_id}"
    return f"s3://{settings.bucket}/{settings.prefix}".rstrip("/")


def _description(project: "ProjectRecord", settings: Settings) -> str:
    return (
        f"The runs of the project {code(project.name)}, one Parquet file for each UTC day, "
        f"in `{_bucket_uri(settings)}`.\n\n"
        "A day is published whole or not at all. Days without rows have no file."
    )


def table_schema(fields: Iterable[RunField], format_version: FormatVersion) -> dg.TableSchema:
    """The columns of the files with their types, descriptions and constraints."""
    return dg.TableSchema(columns=[_column(field, format_version) for field in fields])


def _column(field: RunField, format_version: FormatVersion) -> dg.TableColumn:
    kind = Kind.JSON if field.kind is Kind.STRINGS and format_version == "v1" else field.kind
    return dg.TableColumn(
        name=field.name,
        type=_TYPES[kind],
        description=field.description,
        constraints=dg.TableColumnConstraints(nullable=not field.required, unique=field.name == "id"),
    )
