"""A day as its bucket tells it, and what its record becomes; pure functions."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from export_pipeline.errors import DestinationRefusedError
from export_pipeline.exports.commit.rules import FAILED
from export_pipeline.exports.commit.transitions import FinishedCommit, rejected_values
from export_pipeline.exports.proof.manifests import DayManifest, ManifestIndex, ManifestReader, TableId
from export_pipeline.files.bounded import could_hold
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.parquet import read_footer
from export_pipeline.files.paths import DayKey, data_key, export_root
from export_pipeline.files.signing import PublicKeys
from export_pipeline.object_store.protocol import ObjectMissingError, ObjectStore
from export_pipeline.runs.schema import FORMAT_VERSIONS
from export_pipeline.runs.times import microseconds

UNKNOWN_HASH = ""
"""The content hash of a file that cannot be trusted: equal to none."""

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class FoundFile:
    """A data file of a day whose manifest cannot be read, as its listing and its footer tell it."""

    key: str
    bytes: int
    commit_id: str
    rows: int


@dataclass(frozen=True)
class RecoveredDay:
    """A day's valid manifest at `key`.

    `damage` says why the day is to be exported again although it was committed. `epoch` is 0 for a damaged manifest of
    many empty days. `file` is there where the manifest cannot be read and the file can.
    """

    day: date
    key: str
    epoch: int
    manifest: Manifest | None
    damage: str | None
    file: FoundFile | None = None


def knows(row: Mapping[Any, Any], manifest: Manifest) -> bool:
    """Whether the record has this commit already, decided on or finished, and not as a damaged one."""
    finished = row["manifest"] if row["completed_at"] is not None else None
    known = [commit["commit_id"] for commit in (finished, row["intent"]) if commit is not None]
    return str(manifest.commit_id) in known


def commit_of(manifest: Manifest, day: RecoveredDay) -> FinishedCommit:
    """The commit that a whole manifest tells of."""
    content = manifest.model_dump(mode="json")
    return FinishedCommit(
        commit_id=manifest.commit_id,
        epoch=day.epoch,
        rows=manifest.rows,
        bytes=manifest.file.bytes if manifest.file else 0,
        key=manifest.file.key if manifest.file else None,
        manifest_key=day.key,
        manifest=content,
        snapshot_at=microseconds(manifest.snapshot_at),
        fingerprint=content["source"],
    )


def damaged_values(day: RecoveredDay, row: Mapping[Any, Any] | None, now: int) -> dict[str, Any]:
    """A commit that is known and not all there: not completed, so that the day is exported again.

    Its rows still guard the day against shrinking. Its content hash is unknown, so that the same rows count as changed
    and are published, and its snapshot is so old that no launch is content with it.
    """
    content = _content(day, row)
    file = content["file"]
    values: dict[str, Any] = {
        "status": FAILED,
        "error": f"recovered from the bucket: {day.damage}",
        "cancel_requested": False,
        "manifest": {**content, "file": file and {**file, "content_hash": UNKNOWN_HASH}},
        "manifest_key": day.key,
        "commit_epoch": day.epoch,
        "rows": content["rows"],
        **rejected_values(content),
        "bytes": file["bytes"] if file else 0,
        "fingerprint": None,
        "snapshot_at": 0,
        "completed_at": None,
        "updated_at": now,
    }
    if row is not None and row["intent"] is not None and row["intent"]["epoch"] <= day.epoch:
        values["intent"] = None
    return values


def _content(day: RecoveredDay, row: Mapping[Any, Any] | None) -> Mapping[str, Any]:
    """What is known of a damaged commit: from its manifest, its record, or its file."""
    if day.manifest is not None:
        return day.manifest.model_dump(mode="json")
    if row is not None and row["commit_epoch"] == day.epoch and row["manifest"] is not None:
        recorded: Mapping[str, Any] = row["manifest"]
        return recorded
    file = day.file
    return {
        "kind": "day",
        "commit_id": file.commit_id if file else str(uuid.UUID(int=0)),
        "rows": file.rows if file else 0,
        "file": file and {"key": file.key, "bytes": file.bytes, "rows": file.rows},
    }


@dataclass(frozen=True)
class Passed:
    """A manifest that was passed over, and why."""

    day: date
    key: str
    why: str


@dataclass(frozen=True)
class DayFound:
    """What a bucket tells of a day; `taken` is None where nothing of it can be believed."""

    taken: RecoveredDay | None
    passed: tuple[Passed, ...]


class DayReader:
    """Reads the days of tables in one bucket."""

    def __init__(self, store: ObjectStore, prefix: str, *, keys: PublicKeys) -> None:
        self._store = store
        self._prefix = prefix
        self._keys = keys

    def days(self, table: TableId, index: ManifestIndex) -> Iterator[DayFound]:
        """The days of one table, oldest first, as manifests and files tell them."""
        reader = ManifestReader(self._store, index, keys=self._keys)
        sizes = {item.key: item.size for item in self._store.list(export_root(self._prefix, table.export_id))}
        for day in reader.days:
            key = DayKey(table.export_id, table.tenant_id, table.session_id, day)
            yield self._day(key, reader.newest_first(day), sizes)

    def _day(self, day: DayKey, candidates: Iterator[DayManifest], sizes: Sizes) -> DayFound:
        passed: list[tuple[DayManifest, str]] = []
        for manifest in candidates:
            if manifest.flaw is not None:
                passed.append((manifest, manifest.flaw.text))
                continue
            damage = None if manifest.manifest is None else self._file_damage(day, manifest.manifest, sizes)
            if damage is None:
                taken = RecoveredDay(manifest.day, manifest.key, manifest.epoch, manifest.manifest, None)
                return DayFound(taken, _named(passed))
            passed.append((manifest, damage))
        return self._damaged(day, passed, sizes)

    def _damaged(self, day: DayKey, passed: list[tuple[DayManifest, str]], sizes: Sizes) -> DayFound:
        """A day that is to be exported again: by its newest intact manifest, else by one that may have been it."""
        intact = [item for item in passed if item[0].flaw is None]
        others = [item for item in passed if item[0].flaw and item[0].flaw.kind not in {"doubtful", "unreadable"}]
        for day_manifest, damage in [*intact, *others][:1]:
            manifest = day_manifest.manifest if day_manifest.flaw is None else None
            file = self._found_file(day, sizes) if manifest is None and day_manifest.epoch else None
            taken = RecoveredDay(day_manifest.day, day_manifest.key, day_manifest.epoch, manifest, damage, file)
            return DayFound(taken, _named([item for item in passed if item[0] is not day_manifest]))
        return DayFound(None, _named(passed))

    def _file_damage(self, day: DayKey, manifest: Manifest, sizes: Sizes) -> str | None:
        """Why the day's file is not the one that its manifest tells of."""
        file, own = manifest.file, data_key(self._prefix, day, manifest.format_version)
        if file is None:
            there = [key for version in FORMAT_VERSIONS if (key := data_key(self._prefix, day, version)) in sizes]
            return f"it says that the day has no rows, and {there[0]} is there" if there else None
        if file.key != own:
            return f"it names another file than the day's own, {own}"
        size = sizes.get(own)
        if size is None:
            return f"its file {own} is missing"
        if size != file.bytes:
            return f"its file {own} has {size:,} bytes, not {file.bytes:,}"
        expected = FoundFile(own, size, str(manifest.commit_id), file.rows)
        return None if self._footer(own, size) == expected else f"its file {own} is not the one of this commit"

    def _found_file(self, day: DayKey, sizes: Sizes) -> FoundFile | None:
        """A day's file as its footer tells it, where there is one that can be read."""
        for version in FORMAT_VERSIONS:
            key = data_key(self._prefix, day, version)
            if (size := sizes.get(key)) is not None:
                return self._footer(key, size)
        return None

    def _footer(self, key: str, size: int) -> FoundFile | None:
        try:
            footer = read_footer(lambda start, end: self._store.read(key, start, end), size)
            rows = int(footer["rows"])
            return FoundFile(key, size, str(uuid.UUID(footer["commit_id"])), rows) if could_hold(size, rows) else None
        except (ValueError, KeyError, ObjectMissingError, DestinationRefusedError):
            return None


def _named(passed: list[tuple[DayManifest, str]]) -> tuple[Passed, ...]:
    return tuple(Passed(manifest.day, manifest.key, why) for manifest, why in passed)
