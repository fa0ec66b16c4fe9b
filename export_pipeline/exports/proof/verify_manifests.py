"""The manifests of a bucket: which one is valid for each day, told from keys and contents alone."""

import uuid
from dataclasses import dataclass, field
from datetime import date

from export_pipeline.destinations.store import ObjectMissingError, ObjectStore
from export_pipeline.exports.commit.manifest import microseconds
from export_pipeline.exports.control.records import ExportRecord
from export_pipeline.files.manifest import Manifest, ManifestError
from export_pipeline.files.paths import (
    DayKey,
    EmptyManifestPath,
    ManifestPath,
    manifest_folder,
    manifests_root,
    parse_manifest_key,
)


@dataclass(frozen=True, order=True)
class TableId:
    """One project's table in a bucket."""

    export_id: uuid.UUID
    tenant_id: uuid.UUID
    session_id: uuid.UUID


@dataclass(frozen=True)
class DayManifest:
    """The valid manifest of a day: the one with the greatest epoch, whatever state it is in.

    Either `manifest` or `damage`, which says what is wrong with the object, is there. `misplaced` says what of the
    content disagrees with the key.
    """

    day: date
    key: str
    epoch: int
    manifest: Manifest | None
    damage: str | None = None
    misplaced: str | None = None


@dataclass
class ManifestIndex:
    """What the keys of one table's manifests say: the newest of each day, and those for many empty days."""

    table: TableId
    newest: dict[date, tuple[str, ManifestPath]] = field(default_factory=dict)
    empty: list[tuple[str, EmptyManifestPath]] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """The keys of all manifests that may be valid."""
        return [key for key, _ in self.newest.values()] + [key for key, _ in self.empty]

    def add(self, key: str, path: ManifestPath | EmptyManifestPath) -> None:
        """Takes one more key."""
        if isinstance(path, EmptyManifestPath):
            self.empty.append((key, path))
        elif path.key.day not in self.newest or path.epoch > self.newest[path.key.day][1].epoch:
            self.newest[path.key.day] = (key, path)


@dataclass(frozen=True)
class Listing:
    """All manifests below a folder; `foreign` are keys of objects that are no manifests."""

    tables: dict[TableId, ManifestIndex]
    foreign: list[str]
    objects: int


def list_manifests(store: ObjectStore, prefix: str, export_id: uuid.UUID | None = None) -> Listing:
    """The manifests of one export, or of all exports below the prefix."""
    listing: dict[TableId, ManifestIndex] = {}
    foreign, objects = [], 0
    for item in store.list(manifests_root(prefix, export_id)):
        objects += 1
        path = parse_manifest_key(item.key)
        if path is None or path.prefix != prefix:
            foreign.append(item.key)
        else:
            table = _table_of(path)
            listing.setdefault(table, ManifestIndex(table)).add(item.key, path)
    return Listing(listing, foreign, objects)


class ManifestReader:
    """Reads the valid manifest of each day of a table; those for many empty days are read at once, the others late.

    A manifest for many empty days that is damaged counts for the first and last day, which its key tells.
    """

    def __init__(self, store: ObjectStore, index: ManifestIndex) -> None:
        self._store = store
        self._newest = index.newest
        self._empty: dict[date, DayManifest] = {}
        for key, path in index.empty:
            for found in _read_empty(store, key, path):
                if found.day not in self._empty or found.epoch > self._empty[found.day].epoch:
                    self._empty[found.day] = found

    @property
    def days(self) -> list[date]:
        """The days that have a manifest, oldest first."""
        return sorted(self._newest.keys() | self._empty.keys())

    def read(self, day: date) -> DayManifest | None:
        """The day's valid manifest as it was listed, or None where it has none."""
        return newer(_read_day(self._store, *self._newest[day]) if day in self._newest else None, self._empty.get(day))

    def read_again(self, prefix: str, key: DayKey) -> DayManifest | None:
        """The day's valid manifest as it is now."""
        return newer(_read_newest(self._store, prefix, key), self._empty.get(key.day))


def newer(one: DayManifest | None, other: DayManifest | None) -> DayManifest | None:
    """Of two manifests of a day the valid one."""
    if one is None or other is None:
        return one or other
    return other if other.epoch > one.epoch else one


def exports_in_bucket(store: ObjectStore, prefix: str) -> list[ExportRecord]:
    """The exports that have manifests below the prefix, as far as manifests tell; for a bucket without records.

    The project is named by its session id.
    """
    found = []
    for table, index in sorted(list_manifests(store, prefix).tables.items()):
        manifest = next((loaded for key in reversed(index.keys) if (loaded := _load(store, key)[0]) is not None), None)
        if manifest is not None:
            found.append(export_of_manifest(store, table, prefix, manifest))
    return found


def export_of_manifest(store: ObjectStore, table: TableId, prefix: str, manifest: Manifest) -> ExportRecord:
    """The export that a manifest belongs to, begun when the manifest's attempt began."""
    return ExportRecord(
        export_id=table.export_id,
        kind=manifest.export_kind,
        project=str(table.session_id),
        tenant_key=None,
        untold=True,
        tenant_id=table.tenant_id,
        session_id=table.session_id,
        bucket=store.config.bucket,
        prefix=prefix,
        endpoint_url=store.config.endpoint_url and store.config.endpoint_url.rstrip("/"),
        region=store.config.region,
        format_version=manifest.format_version,
        compression=manifest.compression,
        fields=manifest.fields,
        created_at=microseconds(manifest.started_at),
        superseded_at=None,
        layout_id=table.export_id,
        filter=manifest.filter,
    )


def _table_of(path: ManifestPath | EmptyManifestPath) -> TableId:
    named = path.key if isinstance(path, ManifestPath) else path
    return TableId(named.export_id, named.tenant_id, named.session_id)


def _load(store: ObjectStore, key: str) -> tuple[Manifest | None, str | None]:
    try:
        return Manifest.load(store.read(key)), None
    except (ManifestError, ObjectMissingError) as error:
        return None, str(error)


def _read_newest(store: ObjectStore, prefix: str, key: DayKey) -> DayManifest | None:
    index = ManifestIndex(TableId(key.export_id, key.tenant_id, key.session_id))
    for item in store.list(manifest_folder(prefix, key)):
        path = parse_manifest_key(item.key)
        if path is not None:
            index.add(item.key, path)
    return _read_day(store, *index.newest[key.day]) if key.day in index.newest else None


def _read_day(store: ObjectStore, key: str, path: ManifestPath) -> DayManifest:
    manifest, damage = _load(store, key)
    misplaced = None if manifest is None else _misplaced(manifest, path.key, path.epoch)
    return DayManifest(path.key.day, key, path.epoch, manifest, damage, misplaced)


def _read_empty(store: ObjectStore, key: str, path: EmptyManifestPath) -> list[DayManifest]:
    manifest, damage = _load(store, key)
    if manifest is None:
        return [DayManifest(day, key, 0, None, damage) for day in sorted({path.first, path.last})]
    days = manifest.days or ()
    told = (manifest.export_id, manifest.tenant_id, manifest.session_id, manifest.commit_id, *days[:1], *days[-1:])
    named = (path.export_id, path.tenant_id, path.session_id, path.commit_id, path.first, path.last)
    if told != named:
        return [DayManifest(path.first, key, 0, manifest, misplaced="it belongs under another key")]
    return [DayManifest(day, key, manifest.epoch, manifest) for day in days]


def _misplaced(manifest: Manifest, key: DayKey, epoch: int) -> str | None:
    told = {
        "export_id": (manifest.export_id, key.export_id),
        "tenant_id": (manifest.tenant_id, key.tenant_id),
        "session_id": (manifest.session_id, key.session_id),
        "day": (manifest.day, key.day),
        "epoch": (manifest.epoch, epoch),
    }
    wrong = [f"{name} is {inside}" for name, (inside, outside) in told.items() if inside != outside]
    return ", ".join(wrong) or None
