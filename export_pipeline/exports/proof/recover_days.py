"""Choosing, of the manifests of a day in a bucket, the one that its record is rebuilt from.

Whoever can write to the bucket can plant manifests. One is taken only where the day's file is the one that it tells of;
with keys in the settings it must be signed as well, and then a planted one has no chance.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from export_pipeline.errors import DestinationRefusedError
from export_pipeline.exports.proof.recovered_days import FoundFile, RecoveredDay
from export_pipeline.exports.proof.verify_manifests import DayManifest, ManifestIndex, ManifestReader, TableId
from export_pipeline.files.bounded import could_hold
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.parquet import read_footer
from export_pipeline.files.paths import DayKey, data_key, export_root
from export_pipeline.files.signing import PublicKeys
from export_pipeline.object_store.protocol import ObjectMissingError, ObjectStore
from export_pipeline.runs.schema import FORMAT_VERSIONS

Sizes = Mapping[str, int]


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
        for found in candidates:
            if found.flaw is not None:
                passed.append((found, found.flaw.text))
                continue
            damage = None if found.manifest is None else self._file_damage(day, found.manifest, sizes)
            if damage is None:
                taken = RecoveredDay(found.day, found.key, found.epoch, found.manifest, None)
                return DayFound(taken, _named(passed))
            passed.append((found, damage))
        return self._damaged(day, passed, sizes)

    def _damaged(self, day: DayKey, passed: list[tuple[DayManifest, str]], sizes: Sizes) -> DayFound:
        """A day that is to be exported again: by its newest intact manifest, else by one that may have been it."""
        intact = [item for item in passed if item[0].flaw is None]
        others = [item for item in passed if item[0].flaw and item[0].flaw.kind not in {"doubtful", "unreadable"}]
        for found, damage in [*intact, *others][:1]:
            manifest = found.manifest if found.flaw is None else None
            file = self._found_file(day, sizes) if manifest is None and found.epoch else None
            taken = RecoveredDay(found.day, found.key, found.epoch, manifest, damage, file)
            return DayFound(taken, _named([item for item in passed if item[0] is not found]))
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
    return tuple(Passed(found.day, found.key, why) for found, why in passed)
