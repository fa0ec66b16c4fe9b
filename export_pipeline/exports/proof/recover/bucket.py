"""Rebuilding the control database's records from the manifests of a bucket.

For a control database that was lost, is empty, or was restored from an old copy. Nothing in the bucket is changed, and
what the control database knows better stays: epochs never fall, and commits that are newer than the bucket's
manifests are left alone and reported.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from export_pipeline.errors import InputError, PermanentError
from export_pipeline.exports.commit.manifest import RETIRE
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.projects.standing import STANDING
from export_pipeline.exports.projects.sync import earliest_start
from export_pipeline.exports.proof.manifests import (
    ManifestIndex,
    TableId,
    export_of_manifest,
    list_manifests,
)
from export_pipeline.exports.proof.recover.day import DayReader, RecoveredDay
from export_pipeline.exports.proof.recover.records import (
    RecoveredTable,
    TableWriter,
    choose_in_use,
    keep_start,
)
from export_pipeline.files.paths import table_folder
from export_pipeline.files.signing import PublicKeys
from export_pipeline.object_store.protocol import ObjectStore
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
    actor: str,
    dry_run: bool = False,
    on_day: OnDay = no_day,
) -> RecoverReport:
    """Brings projects, standing tables, days and commits of the control database to what the manifests say.

    Reads below `settings.prefix` in the bucket of `store`. The database is made or migrated first; a dry run makes none
    and writes nothing. May be repeated: what is right stays as it is. A table goes on under its export id; of several
    of one project the one that was exported to last is in use. Of a day the newest manifest is taken that can be
    believed, is signed where the settings have keys, and whose file is there; those that would stand before it are
    named. A day without such a one counts as not completed, so that it is exported again; its rows go on guarding it
    against shrinking. One bad table leaves the others alone. Projects get their names from the next `projects sync`.
    What is changed stands in the audit logs of the workspaces. `on_day` is told the days' manifests read and those
    there are.
    """
    if not dry_run:
        control.migrate()
    elif _holds_nothing(control):
        with _empty_control() as empty:
            return recover(empty, store=store, settings=settings, actor=actor, dry_run=True, on_day=on_day)
    else:
        control.check_schema()
    report = RecoverReport(dry_run)
    listing = list_manifests(store, settings.prefix)
    report.problems += [f"{ascii(key)[1:-1]} is not a manifest" for key in listing.foreign]
    total, done = sum(len(index.by_day) for index in listing.tables.values()), 0
    tables = _Tables(control, store, settings, report, actor=actor)
    for table, index in sorted(listing.tables.items()):
        try:
            tables.recover(table, index, partial(_move, on_day, done, total))
        except (PermanentError, InputError) as error:
            report.problems.append(f"export {table.export_id} is left out: {error}")
        done += len(index.by_day)
    on_day(total, total)
    _finish(control, settings, min(tables.firsts, default=None), report, actor=actor)
    return report


def _move(on_day: OnDay, done: int, total: int, number: int) -> None:
    on_day(min(done + number, total), total)


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


class _Tables:
    """Brings tables into the control database, one by one; `firsts` are first days that can be partitions."""

    def __init__(
        self, control: ControlDatabase, store: ObjectStore, settings: Settings, report: RecoverReport, *, actor: str
    ) -> None:
        self._control = control
        self._store = store
        self._prefix = settings.prefix
        self._report = report
        self._actor = actor
        self.reader = DayReader(store, settings.prefix, keys=PublicKeys.from_settings(settings))
        self.firsts: list[date] = []

    def recover(self, table: TableId, index: ManifestIndex, on_day: Callable[[int], None]) -> None:
        """One table; what is wrong with it stands in the report."""
        days: list[RecoveredDay] = []
        for number, recovered_day in enumerate(self.reader.days(table, index)):
            on_day(number)
            self._report.problems += [
                f"export {table.export_id}, {passed.day}: {passed.key} is not taken: {passed.why}; "
                + RETIRE.format(key=passed.key)
                for passed in recovered_day.passed
            ]
            if recovered_day.taken is not None:
                days.append(recovered_day.taken)
        recovered = self._table(table, days)
        if recovered is None:
            return
        self._report.tables += 1
        earliest = earliest_start(datetime.now(UTC).date())
        self.firsts += [day.day for day in days if day.manifest is not None and day.day >= earliest][:1]
        _write_table(self._control, recovered, self._report, actor=self._actor)

    def _table(self, table: TableId, days: list[RecoveredDay]) -> RecoveredTable | None:
        """One table, or None where it is no standing table's or no manifest can be read."""
        report = self._report
        manifests = [item.manifest for item in days if item.manifest is not None]
        if not manifests:
            why = next((f": {item.damage}" for item in days), "")
            folder = table_folder(self._prefix, table.export_id, table.tenant_id, table.session_id)
            report.problems.append(
                f"export {table.export_id} has no manifest that can be believed{why}; it is left out. Where it is none "
                f"of yours, {RETIRE.format(key=folder)}"
            )
            return None
        if len({manifest.export_kind for manifest in manifests}) > 1:
            report.problems.append(
                f"export {table.export_id}: its manifests disagree whether it is a standing export or a bulk export; "
                "somebody else has written some of them"
            )
        newest = max(manifests, key=lambda manifest: manifest.committed_at)
        if newest.export_kind != STANDING:
            report.notes.append(
                f"export {table.export_id} is left out: it is a bulk export, whose records are not rebuilt"
            )
            return None
        oldest = min(manifests, key=lambda manifest: manifest.started_at)
        begun = newest.model_copy(update={"started_at": oldest.started_at})
        return RecoveredTable(export_of_manifest(self._store, table, self._prefix, begun), days)


class _DryRunError(Exception):
    """Rolls a transaction back."""


def _write_table(control: ControlDatabase, table: RecoveredTable, report: RecoverReport, *, actor: str) -> None:
    writer = TableWriter(control, table, actor=actor)
    try:
        with control.begin() as transaction:
            writer.write(transaction)
            if report.dry_run:
                raise _DryRunError
    except _DryRunError:
        pass
    result = writer.result
    report.projects += [table.table.session_id] if result.new_project else []
    report.exports += [table.table.export_id] if result.new_export else []
    report.days += result.days
    report.unchanged += result.unchanged
    report.rows += result.rows
    report.problems += result.problems


def _finish(
    control: ControlDatabase, settings: Settings, first: date | None, report: RecoverReport, *, actor: str
) -> None:
    try:
        with control.begin() as transaction:
            choose_in_use(transaction, actor=actor)
            report.partitions_start = keep_start(transaction, settings.start_date or first)
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
