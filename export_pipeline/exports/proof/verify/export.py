"""Verifying an export: what its bucket holds, read back and compared with its manifests.

The bucket alone is enough. With the control database its records are compared too, with the trace store its ids.
"""

import dataclasses
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import DestinationRefusedError, InputError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import DayRecord, TableRecord, read_commit, read_day, read_days
from export_pipeline.exports.control.tables import commits, exports
from export_pipeline.exports.proof.manifests import (
    Known,
    ManifestIndex,
    ManifestReader,
    TableId,
    choose,
    exports_in_bucket,
    list_manifests,
)
from export_pipeline.exports.proof.verify.day import DayCheck, DayState, DayVerifier
from export_pipeline.exports.proof.verify.report import Counts, Problem, VerifyReport, What
from export_pipeline.files.paths import data_key, export_root, parse_data_key
from export_pipeline.files.signing import PublicKeys
from export_pipeline.object_store.protocol import ObjectInfo, ObjectStore
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.sources.protocol import RunSource

__all__ = ["Problem", "VerifyReport", "What", "exports_in_bucket", "verify_export"]

OnDay = Callable[[int, int], None]

NO_KEYS = PublicKeys(())
"""Manifests need no signature."""
_LOOKS = 3
"""How often a day is looked at when it changes meanwhile."""


def no_day(done: int, total: int) -> None:
    """The progress that nobody follows."""


def verify_export(
    table: TableRecord,
    *,
    store: ObjectStore,
    control: ControlDatabase | None = None,
    source: RunSource | None = None,
    keys: PublicKeys = NO_KEYS,
    deep: bool = False,
    abort_uploads: bool = False,
    on_day: OnDay = no_day,
) -> VerifyReport:
    """Reads everything of an export back from its bucket and lists what is wrong.

    With `control` each manifest is compared whole with the one that was committed, with `keys` its signature is
    checked. `deep` compares each day's ids and values with those of `source`, which is read whole once more.
    `abort_uploads` aborts uploads of days that nobody exports and no commit waits for, and notes that in place of the
    problem; it needs the control database. `on_day` is told the days done and the days there are.

    A day that is being exported is left out; one that changes meanwhile is looked at again. Memory stays bounded
    whatever the size of the files. Raises `InputError` where `store` is another bucket than the export's, and errors of
    bucket, database and trace store as they are.
    """
    if store.config.bucket != table.bucket:
        raise InputError(f"export {table.export_id} lies in bucket {table.bucket!r}, not {store.config.bucket!r}")
    if deep and source is None:
        raise InputError("ids can be compared only with a trace store to compare them with")
    if abort_uploads and control is None:
        raise InputError("uploads are aborted only with the control database, which knows those that are in use")
    verification = _Verification(
        table, store=store, control=control, source=source if deep else None, keys=keys, abort_uploads=abort_uploads
    )
    return verification.run(on_day)


class _Verification:
    def __init__(
        self,
        table: TableRecord,
        *,
        store: ObjectStore,
        control: ControlDatabase | None,
        source: RunSource | None,
        keys: PublicKeys,
        abort_uploads: bool,
    ) -> None:
        self._export = table
        self._keys = keys
        self._abort_uploads = abort_uploads
        self._store = store
        self._control = control
        self._source = source
        self._verifier = DayVerifier(table, store=store, records=control is not None, source=source)
        self._problems: list[Problem] = []
        self._counts = Counts()
        self._being_exported: list[date] = []
        self._notes: list[str] = []
        self._rejected: dict[str, Mapping[str, int]] = {}
        self._without_rows: list[DayWindow] = []
        self._siblings = _siblings(control, table)

    def run(self, on_day: OnDay) -> VerifyReport:
        # Records first, then manifests, then files: what is written meanwhile makes a day look newer, never lost.
        records = self._records()
        manifests = ManifestReader(self._store, self._manifests(), keys=self._keys)
        files = self._files()
        committed = {day for day, (record, _) in records.items() if record.committed or record.pending}
        days = sorted(committed.union(manifests.days, files))
        for number, day in enumerate(days):
            on_day(number, len(days))
            record, commit_id = records.get(day, (None, None))
            manifests_of_day = choose(manifests.newest_first(day, _known(record)), _known(record))
            self._verify(
                DayState(day, manifests_of_day, files.get(day), record, commit_id, self._recorded(record)), manifests
            )
        self._days_without_rows()
        self._open_uploads()
        on_day(len(days), len(days))
        return VerifyReport(
            export_id=self._export.export_id,
            problems=tuple(self._problems),
            counts=self._counts,
            being_exported=tuple(self._being_exported),
            rejected=self._rejected,
            notes=tuple(self._notes),
        )

    def _verify(self, state: DayState, manifests: ManifestReader) -> None:
        check = DayCheck()
        for _ in range(_LOOKS):
            if self._held(state.record):
                self._being_exported.append(state.day)
                return
            check = self._verifier.check(state)
            if not check.problems:
                break
            before, state = state, self._look_again(state.day, manifests)
            if state.versions == before.versions:
                break
        self._problems += check.problems
        for item in dataclasses.fields(Counts):
            setattr(self._counts, item.name, getattr(self._counts, item.name) + getattr(check.counts, item.name))
        if check.rejected:
            self._rejected[state.day.isoformat()] = check.rejected
        if check.without_rows is not None:
            self._without_rows.append(check.without_rows)

    def _held(self, record: DayRecord | None) -> bool:
        if record is None or record.lease_until is None or self._control is None:
            return False
        return record.lease_until > self._control.now()

    def _look_again(self, day: date, manifests: ManifestReader) -> DayState:
        table = self._export
        record, commit_id = self._records(day).get(day, (None, None))
        known = _known(record)
        chosen = choose(manifests.listed_again(table.prefix, table.key(day), known), known)
        file = self._store.stat(data_key(table.prefix, table.key(day), table.format_version))
        return DayState(day, chosen, file, record, commit_id, self._recorded(record))

    def _recorded(self, record: DayRecord | None) -> Mapping[str, Any] | None:
        """The content of the manifest that was committed; of a damaged one `recover` records what it has found."""
        if self._control is None or record is None or record.completed_at is None:
            return None
        with self._control.read() as transaction:
            return read_commit(transaction, self._export.export_id, record.day)

    def _records(self, day: date | None = None) -> dict[date, tuple[DayRecord, uuid.UUID | None]]:
        """The records of all days or of one, with the commit that each names."""
        if self._control is None:
            return {}
        query = sa.select(commits.c.day, commits.c.epoch, commits.c.commit_id).where(
            commits.c.export_id == self._export.export_id
        )
        if day is not None:
            query = query.where(commits.c.day == day)
        with self._control.read() as transaction:
            ids = {(row.day, row.epoch): row.commit_id for row in transaction.execute(query)}
            records = read_days(transaction, self._export.export_id, first=day, last=day)
        return {record.day: (record, ids.get((record.day, record.commit_epoch or -1))) for record in records}

    def _manifests(self) -> ManifestIndex:
        export = self._export
        table = TableId(export.layout_id, export.tenant_id, export.session_id)
        listing = list_manifests(self._store, export.prefix, export.layout_id)
        self._counts.manifests = listing.objects - len(listing.foreign)
        self._foreign(listing.foreign)
        for other, index in listing.tables.items():
            if other == table:
                continue
            if self._is_sibling(other.session_id):
                self._counts.manifests -= len(index.keys)
            else:
                self._foreign(index.keys)
        return listing.tables.get(table, ManifestIndex(table))

    def _files(self) -> dict[date, ObjectInfo]:
        """The data files by day; everything else below the export's folder is reported."""
        table, files = self._export, {}
        for item in self._store.list(export_root(table.prefix, table.layout_id)):
            path = parse_data_key(item.key)
            day = None if path is None else path.key.day
            if path is not None and self._is_sibling(path.key.session_id):
                continue
            if day is not None and item.key == data_key(table.prefix, table.key(day), table.format_version):
                files[day] = item
            else:
                self._foreign([item.key])
        return files

    def _is_sibling(self, session_id: uuid.UUID) -> bool:
        """Whether this is another project of the same bulk export, which shares the folder."""
        return session_id in self._siblings

    def _foreign(self, keys: Iterable[str]) -> None:
        self._problems += [Problem(self._export.export_id, None, What.FOREIGN_OBJECT, key=key) for key in keys]

    def _days_without_rows(self) -> None:
        """Asks the trace store once whether the days that were committed as empty still are."""
        if self._source is None or not self._without_rows:
            return
        window = Window(self._without_rows[0].window.start, self._without_rows[-1].window.end)
        counted = self._source.days(self._export.project_key, window, filter=self._export.tree)
        self._counts.days_compared_with_source += len(self._without_rows)
        self._problems += [
            Problem(self._export.export_id, day, What.SOURCE_ROWS, "0", f"{counted[day].rows:,}")
            for day in (empty.day for empty in self._without_rows)
            if day in counted and counted[day].rows
        ]

    def _open_uploads(self) -> None:
        table = self._export
        try:
            uploads = list(self._store.uploads_below(export_root(table.prefix, table.layout_id)))
        except DestinationRefusedError as error:
            self._notes.append(f"open uploads could not be listed: {error}")
            return
        for upload in uploads:
            path = parse_data_key(upload.key)
            day = None if path is None else path.key.day
            if path is not None and self._is_sibling(path.key.session_id):
                continue
            if day is not None and self._may_have_upload(day):
                continue
            begun = f"begun {upload.initiated.isoformat(timespec='seconds')}, id {upload.upload_id}"
            problem = Problem(table.export_id, day, What.OPEN_UPLOAD, found=begun, key=upload.key)
            if day is not None and self._abort_uploads:
                self._store.abort(upload.key, upload.upload_id)
                self._notes.append(f"{problem}; it was aborted")
            else:
                self._problems.append(problem)

    def _may_have_upload(self, day: date) -> bool:
        """Whether the day is being exported, or a commit that was decided on is still to complete its upload."""
        if self._control is None:
            return False
        with self._control.read() as transaction:
            record = read_day(transaction, self._export.export_id, day)
        return self._held(record) or (record is not None and record.pending)


def not_verified(export_id: uuid.UUID, why: str) -> VerifyReport:
    """The report of an export that could not be looked at."""
    return VerifyReport(export_id, (Problem(export_id, None, What.NOT_VERIFIED, found=why),), Counts())


def _known(record: DayRecord | None) -> Known:
    return Known() if record is None else Known(record.commit_epoch, record.manifest_key)


def _siblings(control: ControlDatabase | None, table: TableRecord) -> set[uuid.UUID]:
    """The other projects whose tables lie under the same id."""
    if control is None or table.bulk_id is None:
        return set()
    query = sa.select(exports.c.session_id).where(
        exports.c.bulk_id == table.bulk_id, exports.c.export_id != table.export_id
    )
    with control.read() as transaction:
        return set(transaction.execute(query).scalars())
