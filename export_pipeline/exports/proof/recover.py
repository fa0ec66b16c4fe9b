"""Rebuilding the control database's records from the manifests of a bucket.

For a control database that was lost, is empty, or was restored from an old copy. Nothing in the bucket is changed, and
what the control database knows better stays: epochs never fall, and commits that are newer than the bucket's
manifests are left alone and reported.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from export_pipeline.destinations.store import ObjectStore
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.projects.standing import STANDING
from export_pipeline.exports.proof.recover_records import (
    RecoveredTable,
    TableWriter,
    choose_in_use,
    keep_start,
)
from export_pipeline.exports.proof.recovered_days import FoundFile, RecoveredDay
from export_pipeline.exports.proof.verify_manifests import (
    ManifestIndex,
    ManifestReader,
    TableId,
    export_of_manifest,
    list_manifests,
)
from export_pipeline.files.parquet import read_footer
from export_pipeline.files.paths import DayKey, data_key, export_root
from export_pipeline.runs.schema import FORMAT_VERSIONS
from export_pipeline.settings import Settings

OnDay = Callable[[int, int], None]


@dataclass
class RecoverReport:
    """What was rebuilt, or would be in a dry run.

    `projects` and `exports` are those that were unknown. Of days, `days` were written and `unchanged` were right.
    `problems` are sentences: what could not be recovered, and where the control database knows more than the bucket.
    `notes` are what to know or do next.
    """

    dry_run: bool
    tables: int = 0
    projects: list[uuid.UUID] = field(default_factory=list)
    exports: list[uuid.UUID] = field(default_factory=list)
    days: int = 0
    unchanged: int = 0
    rows: int = 0
    partitions_start: date | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything in the bucket is in the records now."""
        return not self.problems


def no_day(done: int, total: int) -> None:
    """The progress that nobody follows."""


def recover(
    control: ControlDatabase,
    *,
    store: ObjectStore,
    settings: Settings,
    dry_run: bool = False,
    on_day: OnDay = no_day,
) -> RecoverReport:
    """Brings projects, standing exports, days and commits of the control database to what the manifests say.

    Reads below `settings.prefix` in the bucket of `store`. The database is made or migrated first; a dry run makes none
    and writes nothing. May be repeated: what is right stays as it is. A table goes on under its export
    id; of several of one project the one that was exported to last is in use. A day whose manifest cannot be read, or
    whose file is missing or of another size, counts as not completed, so that it is exported again; its rows go on
    guarding it against shrinking. Projects get their names from the next `projects sync`. `on_day` is told the days'
    manifests read and those there are.
    """
    if not dry_run:
        control.migrate()
    elif _holds_nothing(control):
        with _empty_control() as empty:
            return recover(empty, store=store, settings=settings, dry_run=True, on_day=on_day)
    else:
        control.check_schema()
    report = RecoverReport(dry_run)
    listing = list_manifests(store, settings.prefix)
    report.problems += [f"{key} is no manifest" for key in listing.foreign]
    total, done = sum(len(index.newest) for index in listing.tables.values()), 0
    firsts = []
    for table, index in sorted(listing.tables.items()):
        days = []
        for number, day in enumerate(_read_days(store, settings.prefix, table, index)):
            days.append(day)
            on_day(min(done + number, total), total)
        done += len(index.newest)
        found = _table(store, settings.prefix, table, days, report)
        if found is not None:
            report.tables += 1
            firsts.append(days[0].day)
            _write_table(control, found, report)
    on_day(total, total)
    _finish(control, settings, min(firsts, default=None), report)
    return report


def _holds_nothing(control: ControlDatabase) -> bool:
    is_missing = control.is_sqlite and not Path(control.url.database or "").exists()
    return is_missing or control.schema_version() is None


@contextmanager
def _empty_control() -> Iterator[ControlDatabase]:
    """A control database that holds nothing, for as long as a dry run takes."""
    with (
        TemporaryDirectory(prefix="export-pipeline-") as folder,
        closing(ControlDatabase(f"sqlite:///{folder}/control.db")) as control,
    ):
        control.migrate()
        yield control


class _DryRunError(Exception):
    """Rolls a transaction back."""


def _write_table(control: ControlDatabase, found: RecoveredTable, report: RecoverReport) -> None:
    writer = TableWriter(control, found)
    try:
        with control.begin() as connection:
            writer.write(connection)
            if report.dry_run:
                raise _DryRunError
    except _DryRunError:
        pass
    result = writer.result
    report.projects += [found.export.session_id] if result.new_project else []
    report.exports += [found.export.export_id] if result.new_export else []
    report.days += result.days
    report.unchanged += result.unchanged
    report.rows += result.rows
    report.problems += result.problems


def _finish(control: ControlDatabase, settings: Settings, first: date | None, report: RecoverReport) -> None:
    try:
        with control.begin() as connection:
            choose_in_use(connection, control)
            report.partitions_start = keep_start(connection, settings.start_date or first)
            if report.dry_run:
                raise _DryRunError
    except _DryRunError:
        pass
    start = report.partitions_start
    if first is not None and start is not None and first < start:
        report.notes.append(
            f"the bucket holds days from {first} on, but the partitions start on {start}, which was recorded before"
        )
    if report.projects:
        report.notes.append("run `export-pipeline projects sync`: manifests do not hold the names of projects")


def _read_days(store: ObjectStore, prefix: str, table: TableId, index: ManifestIndex) -> Iterator[RecoveredDay]:
    """The days of one table, oldest first, as manifests and the listing of its files tell them."""
    reader = ManifestReader(store, index)
    sizes = {item.key: item.size for item in store.list(export_root(prefix, table.export_id))}
    for day in reader.days:
        found = reader.read(day)
        if found is None:
            continue
        damage, file = found.damage or found.misplaced, None
        manifest = None if damage else found.manifest
        if manifest is not None and manifest.file is not None:
            damage = _file_damage(manifest.file.key, manifest.file.bytes, sizes.get(manifest.file.key))
        if manifest is None and found.epoch:
            key = DayKey(table.export_id, table.tenant_id, table.session_id, day)
            file = _found_file(store, key, prefix, sizes)
        yield RecoveredDay(day, found.key, found.epoch, manifest, damage, file)


def _table(
    store: ObjectStore, prefix: str, table: TableId, days: list[RecoveredDay], report: RecoverReport
) -> RecoveredTable | None:
    """One table, or None where it is no standing export's or no manifest can be read."""
    manifests = [item.manifest for item in days if item.manifest is not None]
    if not manifests:
        report.problems.append(f"export {table.export_id} has no manifest that can be read; it is left out")
        return None
    newest = max(manifests, key=lambda manifest: manifest.committed_at)
    if newest.export_kind != STANDING:
        report.notes.append(f"export {table.export_id} is left out: it is a bulk export, whose records are not rebuilt")
        return None
    oldest = min(manifests, key=lambda manifest: manifest.started_at)
    export = export_of_manifest(store, table, prefix, newest.model_copy(update={"started_at": oldest.started_at}))
    return RecoveredTable(export, days)


def _found_file(store: ObjectStore, day: DayKey, prefix: str, sizes: Mapping[str, int]) -> FoundFile | None:
    """A day's file as its footer tells it, where there is one that can be read."""
    for version in FORMAT_VERSIONS:
        key = data_key(prefix, day, version)
        if (size := sizes.get(key)) is not None:
            try:
                footer = read_footer(lambda start, end, key=key: store.read(key, start, end), size)  # type: ignore[misc]
                return FoundFile(key, size, footer["commit_id"], int(footer["rows"]))
            except (ValueError, KeyError):
                return None
    return None


def _file_damage(key: str, expected: int, found: int | None) -> str | None:
    if found is None:
        return f"its file {key} is missing"
    return None if found == expected else f"its file {key} has {found:,} bytes, not {expected:,}"
