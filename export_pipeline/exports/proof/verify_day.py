"""One day of an export: what manifest, data file, record and trace store say, and where they disagree."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from export_pipeline.destinations.store import ObjectInfo, ObjectMissingError, ObjectStore
from export_pipeline.exports.control.records import DayRecord, ExportRecord
from export_pipeline.exports.proof.verify_file import FileCheck, Found, check_file
from export_pipeline.exports.proof.verify_manifests import DayManifest
from export_pipeline.exports.proof.verify_report import Counts, Problem, What
from export_pipeline.exports.proof.verify_source import compare_with_source
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.paths import data_key
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.sources.protocol import RunSource


@dataclass(frozen=True)
class DayState:
    """One day as three places tell it; `recorded_commit` is the commit that the record names."""

    day: date
    manifest: DayManifest | None
    file: ObjectInfo | None
    record: DayRecord | None
    recorded_commit: uuid.UUID | None

    @property
    def versions(self) -> tuple[object, ...]:
        """What changes when the day does."""
        return (
            self.manifest and self.manifest.key,
            self.file and (self.file.etag, self.file.size),
            self.record and (self.record.epoch, self.record.updated_at),
        )


@dataclass
class DayCheck:
    """What one look at a day found.

    `without_rows`: the trace store should have none for this part of it either. `rejected`: rows set aside, by reason.
    """

    problems: list[Problem] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    without_rows: DayWindow | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)


class DayVerifier:
    """Looks at days of one export; `records` says whether there is a control database to compare with."""

    def __init__(self, export: ExportRecord, *, store: ObjectStore, records: bool, source: RunSource | None) -> None:
        self._export = export
        self._store = store
        self._records = records
        self._source = source

    def check(self, state: DayState) -> DayCheck:
        """Everything that is wrong with a day."""
        check = DayCheck(counts=Counts(days=1))
        self._check(check, state)
        return check

    def _check(self, check: DayCheck, state: DayState) -> None:
        record, found, file = state.record, state.manifest, state.file
        if record is not None and record.pending:
            text = record.error or "the next export of the day finishes it"
            self._note(check, state, (What.UNFINISHED, None, text))
            return
        if found is None:
            if file is not None:
                self._note(check, state, (What.FILE_WITHOUT_MANIFEST, None, None), key=file.key)
            if record is not None and record.committed:
                self._note(check, state, (What.MANIFEST_MISSING, None, None), key=record.manifest_key)
            return
        if found.manifest is None or found.misplaced is not None:
            what = What.MANIFEST_DAMAGED if found.manifest is None else What.MANIFEST_MISPLACED
            self._note(check, state, (what, None, found.damage or found.misplaced), key=found.key)
            return
        manifest = found.manifest
        for wrong in _form(manifest, self._export, state.day):
            self._note(check, state, wrong, key=found.key)
        for wrong in self._record(manifest, found.key, state):
            self._note(check, state, wrong, key=found.key)
        self._contents(check, state, manifest)

    def _contents(self, check: DayCheck, state: DayState, manifest: Manifest) -> None:
        looked = FileCheck()
        told, there = manifest.file, state.file
        check.counts.rows += manifest.rows
        check.counts.rejected += manifest.rejected.count
        check.rejected = manifest.rejected.by_reason
        if told is None:
            check.counts.empty_days += 1
            if manifest.rows_source == 0:
                whole = Window.of_day(state.day)
                told_of = Window(max(whole.start, manifest.window.start), min(whole.end, manifest.window.end))
                check.without_rows = DayWindow(state.day, told_of)
            if there is not None:
                self._note(check, state, (What.FILE_OF_EMPTY_DAY, None, f"{there.size:,} bytes"), key=there.key)
        elif there is None:
            self._note(check, state, (What.FILE_MISSING, f"{told.bytes:,} bytes", None), key=told.key)
        else:
            check.counts.files += 1
            check.counts.bytes += there.size
            try:
                looked = check_file(self._store, manifest, told.model_copy(update={"key": there.key}), size=there.size)
            except ObjectMissingError:
                looked.problems.append((What.FILE_MISSING, f"{told.bytes:,} bytes", None))
            for wrong in looked.problems:
                self._note(check, state, wrong, key=there.key)
        readable = told is None or looked.ids is not None or "id" not in manifest.fields
        if self._source is not None and readable and check.without_rows is None:
            check.counts.days_compared_with_source += 1
            for wrong in compare_with_source(self._source, self._export, manifest, ids=looked.ids, file=looked.file):
                self._note(check, state, wrong)

    def _record(self, manifest: Manifest, key: str, state: DayState) -> list[Found]:
        if not self._records:
            return []
        record = state.record
        if record is None or not record.committed:
            return [(What.RECORD_MISSING, f"commit {manifest.commit_id} of epoch {manifest.epoch}", None)]
        told: Mapping[str, tuple[object, object]] = {
            "epoch": (manifest.epoch, record.commit_epoch),
            "commit": (manifest.commit_id, state.recorded_commit or manifest.commit_id),
            "rows": (manifest.rows, record.rows),
            "bytes": (manifest.file.bytes if manifest.file else 0, record.bytes),
            "manifest": (key, record.manifest_key),
        }
        wrong = {name: pair for name, pair in told.items() if pair[0] != pair[1]}
        if not wrong:
            return []
        bucket, recorded = (", ".join(f"{name} {pair[side]}" for name, pair in wrong.items()) for side in (0, 1))
        return [(What.RECORD_DIFFERS, bucket, recorded)]

    def _note(self, check: DayCheck, state: DayState, found: Found, *, key: str | None = None) -> None:
        what, expected, was = found
        check.problems.append(Problem(self._export.export_id, state.day, what, expected, was, key))


def _form(manifest: Manifest, export: ExportRecord, day: date) -> list[Found]:
    """Where a manifest is not of this export's form, or covers more than its day."""
    whole = Window.of_day(day)
    told: dict[str, tuple[object, object]] = {
        "format_version": (export.format_version, manifest.format_version),
        "compression": (export.compression, manifest.compression),
        "fields": (export.fields, manifest.fields),
        "filter": (export.filter, manifest.filter),
    }
    if manifest.file is not None:
        told["key"] = (data_key(export.prefix, export.key(day), export.format_version), manifest.file.key)
    wrong: list[Found] = [
        (What.MANIFEST_FORM, f"{name} {expected}", f"{found}")
        for name, (expected, found) in told.items()
        if expected != found
    ]
    window = manifest.window
    inside = whole.start <= window.start and window.end <= whole.end
    if manifest.kind == "day" and not inside:
        wrong.append((What.MANIFEST_FORM, f"a window within {whole}", str(Window(window.start, window.end))))
    return wrong
