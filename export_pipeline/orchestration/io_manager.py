"""The S3 IO manager: publishes the days of a project, and gives them to downstream assets as a Polars LazyFrame."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

from export_pipeline.errors import ExportPipelineError, InputError
from export_pipeline.orchestration.bundled_log import BundledLog
from export_pipeline.orchestration.failure import DaysFailedError, as_failure
from export_pipeline.orchestration.instance.run_records import owner_has_ended, owner_of
from export_pipeline.orchestration.resources import Connections
from export_pipeline.orchestration.text import one_line
from export_pipeline.runs.reasons import describe_rejected
from export_pipeline.runs.window import DayWindow, Window

if TYPE_CHECKING:
    import polars as pl

    from export_pipeline.exports.commit.day import DayOutcome
    from export_pipeline.exports.control.records import DayRecord, ProjectRecord, TableRecord
    from export_pipeline.exports.proof.scan import CommittedFile

DayMetadata = Mapping[str, Any]
_TOLD = ("id", "start_time", "reason")

IO_MANAGER = "day_files"
ALLOW_MISSING = "allow_missing_partitions"


@dataclass(frozen=True)
class ProjectDays:
    """What a project's asset returns: not rows, but the days that the IO manager is to publish.

    `launched_at`, control database microseconds: days that were committed from a later snapshot are left alone.
    `allow_shrink` lets a day be replaced by fewer rows. `retry_in`: after how many seconds another attempt begins, None
    for the last one.
    """

    project: "ProjectRecord"
    days: tuple[date, ...]
    launched_at: int
    allow_shrink: bool = False
    retry_in: float | None = None


class DayReports(Protocol):
    """Where what becomes of a run's days is told; Dagster's `OutputContext`, behind `_Reports`."""

    def materialized(self, day: date, metadata: DayMetadata) -> None:
        """Attaches metadata to the day's materialization, which Dagster records when the whole step succeeds."""

    def record(self, day: date, metadata: DayMetadata) -> None:
        """Records a materialization at once, whatever comes after."""

    def log(self, line: str) -> None:
        """A line for people."""


@dataclass(frozen=True)
class _Reports:
    context: dg.OutputContext

    def materialized(self, day: date, metadata: DayMetadata) -> None:
        # OutputContext.add_output_metadata would repeat the same values on every day of a range.
        self.context.step_context.add_asset_metadata(metadata, self.context.asset_key, day.isoformat())

    def record(self, day: date, metadata: DayMetadata) -> None:
        self.context.log_event(
            dg.AssetMaterialization(self.context.asset_key, partition=day.isoformat(), metadata=metadata)
        )

    def log(self, line: str) -> None:
        self.context.log.info(line)


def report_days(
    results: "Iterable[tuple[date, DayOutcome | ExportPipelineError]]",
    *,
    project: str,
    days: Collection[date],
    reports: DayReports,
) -> None:
    """Reports each day as it ends; one bad day does not stop the others.

    Raises `DaysFailedError` when all are through and some failed. Whatever ends the work, an interruption included,
    the days committed until then are recorded, so that only the others count as missing.
    """
    done: dict[date, DayOutcome] = {}
    failed: dict[date, ExportPipelineError] = {}
    complete = False
    try:
        with BundledLog(reports.log) as log:
            for day, result in results:
                if isinstance(result, ExportPipelineError):
                    failed[day] = result
                    log.add(f"{day} failed: {str(result).removeprefix(f'{day}: ')}")
                else:
                    done[day] = result
                    reports.materialized(day, day_metadata(result))
                    if result.rows or result.rejected or result.superseded:
                        log.add(f"{day}: {describe(result)}")
        if missing := set(days) - done.keys() - failed.keys():
            raise RuntimeError(f"nothing came back for the days {sorted(map(str, missing))}")
        if failed:
            raise DaysFailedError(project, failed, len(days))
        complete = True
    finally:
        if not complete:
            for day, outcome in done.items():
                reports.record(day, day_metadata(outcome))


def day_metadata(outcome: "DayOutcome") -> dict[str, Any]:
    """What Dagster shows of a published day."""
    metadata: dict[str, Any] = {
        "outcome": outcome.outcome,
        "dagster/partition_row_count": outcome.rows,
        "dagster/size_bytes": outcome.bytes,
        "rejected_rows": outcome.rejected,
        "superseded_rows": outcome.superseded,
        "replaced_cells": outcome.replaced,
        "seconds": round(outcome.seconds, 3),
        "epoch": outcome.epoch,
    }
    if outcome.rejected:
        metadata["rejected_rows_by_reason"] = dict(outcome.reasons)
        metadata["first_rejected_rows"] = dg.MetadataValue.table(
            [dg.TableRecord({name: row[name] or "–" for name in _TOLD}) for row in outcome.first_rejected],
            dg.TableSchema([dg.TableColumn(name, "string") for name in _TOLD]),
        )
    if outcome.uri is not None:
        metadata["dagster/uri"] = outcome.uri
    if outcome.manifest_uri is not None:
        metadata["manifest"] = outcome.manifest_uri
    return metadata


def describe(outcome: "DayOutcome") -> str:
    """A published day in a few words."""
    text = f"{outcome.outcome}, {outcome.rows:,} rows, {outcome.bytes:,} bytes, {outcome.seconds:.2f} s"
    if outcome.rejected:
        text += f", {describe_rejected(outcome.reasons)}"
    return text + (f", {outcome.superseded:,} older versions set aside" if outcome.superseded else "")


def publish_project_days(
    value: ProjectDays, connections: Connections, *, owner: str, owner_ended: Callable[[str], bool]
) -> "Iterator[tuple[date, DayOutcome | ExportPipelineError]]":
    """Takes (or begins) the project's standing table and publishes the days; yields each as it ends."""
    from export_pipeline.exports.commit.day import DayRequest
    from export_pipeline.exports.commit.publish_days import publish_days
    from export_pipeline.exports.commit.publisher import Publisher, PublishLimits
    from export_pipeline.exports.projects.standing import standing_table
    from export_pipeline.files.signing import Signer

    settings = connections.settings
    table = standing_table(connections.control, value.project, settings)
    connections.note_table(table.prefix)
    publisher = Publisher(
        control=connections.control,
        store=connections.store,
        source=connections.source,
        limits=PublishLimits.from_settings(settings),
        owner_ended=owner_ended,
        signer=Signer.from_settings(settings),
    )
    return publish_days(
        publisher,
        [
            DayRequest(table, DayWindow(day, Window.of_day(day)), owner, value.launched_at, value.allow_shrink)
            for day in value.days
        ],
    )


def committed_frame(
    connections: Connections, *, asset_name: str, days: Sequence[date], allow_missing: bool = False
) -> "pl.LazyFrame":
    """A LazyFrame over the committed files of a project's days; no row is read before it is collected.

    Days without rows have no file and add none; where no day has any the frame is empty, with the columns of the
    export. Raises `InputError` that names the days that were never exported, unless `allow_missing`, and for an
    asset that is no project's; `ForeignCommitError` where a file is not the one that was committed.
    """
    from export_pipeline.exports.proof.scan import empty_frame, scan_committed
    from export_pipeline.files.paths import data_key
    from export_pipeline.runs.schema import DEFAULT_FIELDS

    table, records = _committed(connections, asset_name, days)
    if table is None or (missing := [day for day in days if day not in records]):
        if not allow_missing:
            raise InputError(_never_exported(asset_name, days if table is None else missing))
        if table is None:
            return empty_frame(DEFAULT_FIELDS, connections.settings.format_version)
    keys = {
        day: data_key(table.prefix, table.key(day), table.format_version)
        for day in sorted(records)
        if records[day].rows
    }
    return scan_committed(
        connections.store,
        keys,
        partial(_file_of, connections, table),
        export_id=table.export_id,
        fields=table.fields,
        format_version=table.format_version,
    )


def _file_of(connections: Connections, table: "TableRecord", day: date) -> "CommittedFile | None":
    from export_pipeline.exports.control.records import read_commit
    from export_pipeline.exports.proof.scan import CommittedFile

    with connections.control.read() as transaction:
        commit = read_commit(transaction, table.export_id, day)
    file = None if commit is None else commit["file"]
    return None if file is None else CommittedFile(file["bytes"], file["etag"], file["sha256"])


def _committed(
    connections: Connections, asset_name: str, days: Sequence[date]
) -> "tuple[TableRecord | None, dict[date, DayRecord]]":
    from export_pipeline.exports.control.records import read_days
    from export_pipeline.exports.projects.registry import list_projects
    from export_pipeline.exports.projects.standing import current_table

    connections.control.check_schema()
    known = {
        p.asset_name: p for p in list_projects(connections.control, only_assets=False, settings=connections.settings)
    }
    if asset_name not in known:
        raise InputError(f"there is no project with the asset runs/{asset_name}")
    table = current_table(connections.control, known[asset_name], connections.settings)
    if table is None or not days:
        return table, {}
    with connections.control.read() as transaction:
        records = read_days(transaction, table.export_id, first=min(days), last=max(days))
    wanted = set(days)
    return table, {record.day: record for record in records if record.committed and record.day in wanted}


def _never_exported(asset_name: str, days: Sequence[date]) -> str:
    shown = ", ".join(str(day) for day in sorted(days)[:10]) + (", …" if len(days) > 10 else "")
    return f"{len(days)} days of runs/{asset_name} were never exported: {shown}; materialize them first"


class DayFiles(dg.ConfigurableIOManager):
    """Publishes each day through `exports.commit`, for one day and for ranges.

    Writing takes what a project's asset returns and nothing else. Reading gives one LazyFrame over the files of the
    mapped days; a day without rows adds none, a day that was never exported is an error, unless the input's metadata
    has `allow_missing_partitions` set to true.
    """

    connections: dg.ResourceDependency[Connections]

    def handle_output(self, context: dg.OutputContext, obj: ProjectDays) -> None:
        """Publishes the days; ends in `dagster.Failure` that names each bad day, with the others recorded."""
        if not isinstance(obj, ProjectDays):
            raise dg.Failure(
                f"{context.asset_key.to_user_string()} gave a {type(obj).__name__} to the IO manager of the day files, "
                "which takes the days of a project; give assets of your own another io_manager_key",
                allow_retries=False,
            )
        owner = owner_of(context.run_id)
        with as_failure(retry_in=obj.retry_in):
            ended = owner_has_ended(context.step_context.instance, me=owner)
            report_days(
                publish_project_days(obj, self.connections, owner=owner, owner_ended=ended),
                project=f"project {one_line(obj.project.name)!r}",
                days=obj.days,
                reports=_Reports(context),
            )

    def load_input(self, context: dg.InputContext) -> "pl.LazyFrame":
        """The rows of the upstream project's mapped days, read from the bucket when the frame is collected."""
        days = [date.fromisoformat(key) for key in context.asset_partition_keys]
        with as_failure():
            return committed_frame(
                self.connections,
                asset_name=context.asset_key.path[-1],
                days=days,
                allow_missing=bool(context.definition_metadata.get(ALLOW_MISSING, False)),
            )
