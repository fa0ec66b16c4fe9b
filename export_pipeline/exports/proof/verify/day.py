"""One day of an export: what manifest, data file, record and trace store say, and where they disagree.

The control database holds the content of the manifest that it has committed. Where that is of the same commit as the
one in the bucket, it is what the file is compared with: a manifest can be sealed anew by whoever can write to the
bucket.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from export_pipeline.errors import DestinationRefusedError
from export_pipeline.exports.control.records import DayRecord, TableRecord
from export_pipeline.exports.proof.manifests import DayManifest, DayManifests, FlawKind
from export_pipeline.exports.proof.verify.file import FileCheck, Found, check_file
from export_pipeline.exports.proof.verify.report import Counts, Problem, What
from export_pipeline.exports.proof.verify.source import MOST_NAMED, compare_with_source
from export_pipeline.files.manifest import Manifest, StoredManifest
from export_pipeline.files.paths import data_key
from export_pipeline.object_store.protocol import ObjectInfo, ObjectMissingError, ObjectStore
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.sources.protocol import RunSource

_FLAWS: Mapping[FlawKind, What] = {
    "unreadable": What.MANIFEST_UNREADABLE,
    "damaged": What.MANIFEST_DAMAGED,
    "misplaced": What.MANIFEST_MISPLACED,
    "doubtful": What.MANIFEST_DOUBTFUL,
    "unsigned": What.MANIFEST_UNSIGNED,
    "refused": What.MANIFEST_SIGNATURE,
}


@dataclass(frozen=True)
class DayState:
    """One day as three places tell it.

    `recorded_commit` is the commit that the record names, `recorded` the content of its manifest.
    """

    day: date
    manifests: DayManifests
    file: ObjectInfo | None
    record: DayRecord | None
    recorded_commit: uuid.UUID | None
    recorded: Mapping[str, Any] | None

    @property
    def versions(self) -> tuple[object, ...]:
        """What changes when the day does."""
        return (
            self.manifests.valid and self.manifests.valid.key,
            tuple(manifest.key for manifest in self.manifests.flawed),
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

    def __init__(self, table: TableRecord, *, store: ObjectStore, records: bool, source: RunSource | None) -> None:
        self._export = table
        self._store = store
        self._records = records
        self._source = source

    def check(self, state: DayState) -> DayCheck:
        """Everything that is wrong with a day."""
        check = DayCheck(counts=Counts(days=1))
        self._check(check, state)
        return check

    def _check(self, check: DayCheck, state: DayState) -> None:
        record, valid, file = state.record, state.manifests.valid, state.file
        if record is not None and record.pending:
            text = record.error or "the next export of the day finishes it"
            self._note(check, state, (What.UNFINISHED, None, text))
            return
        for flawed in state.manifests.flawed:
            self._flaw(check, state, flawed)
        if (
            valid is None
            and record is not None
            and record.manifest_key in {each.key for each in state.manifests.flawed}
        ):
            return
        if valid is None or valid.stored is None:
            if file is not None and not state.manifests.flawed:
                self._note(check, state, (What.FILE_WITHOUT_MANIFEST, None, None), key=file.key)
            if record is not None and record.committed:
                self._note(check, state, (What.MANIFEST_MISSING, None, None), key=record.manifest_key)
            return
        if valid.flaw is not None:
            self._flaw(check, state, valid)
        manifest = valid.stored.manifest
        for wrong in _form(manifest, self._export, state.day):
            self._note(check, state, wrong, key=valid.key)
        for wrong in self._record(manifest, valid.key, state):
            self._note(check, state, wrong, key=valid.key)
        if state.recorded is not None and state.recorded.get("commit_id") == str(manifest.commit_id):
            for wrong in _replaced(valid.stored, state.recorded):
                self._note(check, state, wrong, key=valid.key)
            manifest = Manifest.model_validate(state.recorded)
        self._contents(check, state, manifest)

    def _flaw(self, check: DayCheck, state: DayState, manifest: DayManifest) -> None:
        if manifest.flaw is not None:
            self._note(check, state, (_FLAWS[manifest.flaw.kind], None, manifest.flaw.text), key=manifest.key)

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
            except DestinationRefusedError as error:
                looked.problems.append((What.FILE_UNREADABLE, None, str(error)))
            for wrong in looked.problems:
                self._note(check, state, wrong, key=there.key)
        for what, expected, found, key in looked.attachments.problems(
            self._export, self._store, deep=self._source is not None
        ):
            self._note(check, state, (what, expected, found), key=key)
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

    def _note(self, check: DayCheck, state: DayState, finding: Found, *, key: str | None = None) -> None:
        what, expected, was = finding
        check.problems.append(Problem(self._export.export_id, state.day, what, expected, was, key))


def _replaced(stored: StoredManifest, recorded: Mapping[str, Any]) -> list[Found]:
    """Where the manifest in the bucket says something else than the one that was committed; its signature stands apart.

    Keys that one of the two lacks, because an older version wrote it, count with their defaults.
    """
    told, known = _flat(stored.content), _flat(recorded)
    if told == known:
        return []
    told = {**_flat(stored.manifest.model_dump(mode="json")), **told}
    known = {**_flat(Manifest.model_validate(recorded).model_dump(mode="json")), **known}
    wrong = [name for name in sorted(told.keys() | known.keys()) if told.get(name) != known.get(name)]
    if not wrong:
        return []
    sides = (known, told)
    was, now = (", ".join(f"{name} {side.get(name)}" for name in wrong[:MOST_NAMED]) for side in sides)
    return [(What.MANIFEST_REPLACED, was, now)]


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The content with the keys of inner objects as `file.rows`."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif prefix or name != "signature":
            flat[prefix + name] = value
    return {name: value for name, value in flat.items() if not name.startswith("signature.")}


def _form(manifest: Manifest, table: TableRecord, day: date) -> list[Found]:
    """Where a manifest is not of this export's form."""
    told: dict[str, tuple[object, object]] = {
        "format_version": (table.format_version, manifest.format_version),
        "compression": (table.compression, manifest.compression),
        "fields": (table.fields, manifest.fields),
        "filter": (table.filter, manifest.filter),
    }
    if manifest.file is not None:
        told["key"] = (data_key(table.prefix, table.key(day), table.format_version), manifest.file.key)
    wrong: list[Found] = [
        (What.MANIFEST_FORM, f"{name} {expected}", f"{actual}")
        for name, (expected, actual) in told.items()
        if expected != actual
    ]
    return wrong
