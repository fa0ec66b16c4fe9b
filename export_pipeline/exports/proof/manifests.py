"""The manifests of a bucket: which one is valid for each day, told from keys and contents alone."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from export_pipeline.exports.commit.manifest import (
    MAX_EPOCH_STEP,
    ManifestUnreadableError,
    believable,
    doubt,
    load_manifest,
    misplaced,
)
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.files.manifest import Manifest, ManifestError, StoredManifest
from export_pipeline.files.paths import (
    DayKey,
    EmptyManifestPath,
    ManifestPath,
    manifest_folder,
    manifests_root,
    parse_manifest_key,
)
from export_pipeline.files.signing import PublicKeys
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.runs.times import microseconds

FlawKind = Literal["unreadable", "damaged", "misplaced", "doubtful", "unsigned", "refused"]
"""The store does not give it; it is none, or was changed; it disagrees with its key; it cannot be true; it has no
signature although signatures are asked for; it has one that does not count."""


@dataclass(frozen=True, order=True)
class TableId:
    """One project's table in a bucket."""

    export_id: uuid.UUID
    tenant_id: uuid.UUID
    session_id: uuid.UUID


@dataclass(frozen=True)
class Flaw:
    """Why a manifest is not to be believed."""

    kind: FlawKind
    text: str


@dataclass(frozen=True)
class DayManifest:
    """One manifest of a day; `stored` is there unless it cannot be read."""

    day: date
    key: str
    epoch: int
    stored: StoredManifest | None = None
    flaw: Flaw | None = None

    @property
    def manifest(self) -> Manifest | None:
        """What it says."""
        return None if self.stored is None else self.stored.manifest


@dataclass(frozen=True)
class Known:
    """What the control database knows of a day's last commit."""

    epoch: int | None = None
    key: str | None = None


NOTHING_KNOWN = Known()


@dataclass
class ManifestIndex:
    """What the keys of one table's manifests say: those of each day, and those for many empty days."""

    table: TableId
    by_day: dict[date, dict[int, str]] = field(default_factory=dict)
    empty: list[tuple[str, EmptyManifestPath]] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """All keys, the newest of a day last."""
        return [epochs[epoch] for epochs in self.by_day.values() for epoch in sorted(epochs)] + [
            key for key, _ in self.empty
        ]

    def add(self, key: str, path: ManifestPath | EmptyManifestPath) -> None:
        """Takes one more key."""
        if isinstance(path, EmptyManifestPath):
            self.empty.append((key, path))
        else:
            self.by_day.setdefault(path.key.day, {})[path.epoch] = key


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
    """Reads the manifests of each day of a table; those for many empty days are read at once, the others late.

    `keys` are those whose signatures count; without any a manifest needs none.
    """

    def __init__(self, store: ObjectStore, index: ManifestIndex, *, keys: PublicKeys) -> None:
        self._store = store
        self._table = index.table
        self._keys = keys
        self._by_day = index.by_day
        self._empty: dict[date, list[DayManifest]] = {}
        for key, path in index.empty:
            for manifest in self._read_empty(key, path):
                self._empty.setdefault(manifest.day, []).append(manifest)

    @property
    def days(self) -> list[date]:
        """The days that have a manifest, oldest first."""
        return sorted(self._by_day.keys() | self._empty.keys())

    def newest_first(self, day: date, known: Known = NOTHING_KNOWN) -> Iterator[DayManifest]:
        """The day's manifests as they were listed, each read when it is asked for."""
        return self._in_order(day, self._by_day.get(day, {}), known)

    def listed_again(self, prefix: str, key: DayKey, known: Known) -> Iterator[DayManifest]:
        """The same as they are now."""
        index = ManifestIndex(self._table)
        for item in self._store.list(manifest_folder(prefix, key)):
            path = parse_manifest_key(item.key)
            if path is not None:
                index.add(item.key, path)
        return self._in_order(key.day, index.by_day.get(key.day, {}), known)

    def _in_order(self, day: date, keys: dict[int, str], known: Known) -> Iterator[DayManifest]:
        led_to = believable(keys, known=known.epoch or 0)
        most = max([*led_to, known.epoch or 0]) + MAX_EPOCH_STEP
        empty = self._empty.get(day, [])
        for epoch in sorted({*keys, *(manifest.epoch for manifest in empty)}, reverse=True):
            if epoch in keys:
                manifest = self._read_day(keys[epoch], day, epoch)
                yield manifest if epoch in led_to else self._too_far(manifest)
            for manifest in empty:
                if manifest.epoch == epoch:
                    yield self._too_far(manifest) if epoch > most else manifest

    def _too_far(self, manifest: DayManifest) -> DayManifest:
        text = f"no number of attempts has led to epoch {manifest.epoch:,}"
        return DayManifest(manifest.day, manifest.key, manifest.epoch, manifest.stored, Flaw("doubtful", text))

    def _read_day(self, key: str, day: date, epoch: int) -> DayManifest:
        stored, flaw = self._load(key)
        if stored is not None and flaw is None:
            table = self._table
            here = DayKey(table.export_id, table.tenant_id, table.session_id, day)
            flaw = self._judged(stored, misplaced(stored.manifest, here, epoch))
        return DayManifest(day, key, epoch, stored, flaw)

    def _read_empty(self, key: str, path: EmptyManifestPath) -> list[DayManifest]:
        """One that cannot be read counts for the first and the last day, which its key tells."""
        stored, flaw = self._load(key)
        if stored is None:
            return [DayManifest(day, key, 0, None, flaw) for day in sorted({path.first, path.last})]
        manifest = stored.manifest
        days = manifest.days or ()
        told = (manifest.export_id, manifest.tenant_id, manifest.session_id, manifest.commit_id, *days[:1], *days[-1:])
        named = (path.export_id, path.tenant_id, path.session_id, path.commit_id, path.first, path.last)
        if told != named:
            return [DayManifest(path.first, key, 0, stored, Flaw("misplaced", "it belongs under another key"))]
        flaw = self._judged(stored, None)
        return [DayManifest(day, key, manifest.epoch, stored, flaw) for day in days]

    def _load(self, key: str) -> tuple[StoredManifest | None, Flaw | None]:
        try:
            return load_manifest(self._store, key), None
        except ManifestUnreadableError as error:
            return None, Flaw("unreadable", str(error))
        except ManifestError as error:
            return None, Flaw("damaged", str(error))

    def _judged(self, stored: StoredManifest, elsewhere: str | None) -> Flaw | None:
        if elsewhere is not None:
            return Flaw("misplaced", elsewhere)
        if doubts := doubt(stored.manifest):
            return Flaw("doubtful", doubts)
        if not self._keys:
            return None
        if stored.manifest.signature is None:
            return Flaw("unsigned", "it has no signature")
        refusal = stored.refusal(self._keys)
        return None if refusal is None else Flaw("refused", refusal)


@dataclass(frozen=True)
class DayManifests:
    """The valid manifest of a day, where it has one, and those that would stand before it if they were believed.

    A valid one may lack a signature, where no other is signed either, or where the control database knows it.
    """

    valid: DayManifest | None
    flawed: tuple[DayManifest, ...]


def choose(candidates: Iterator[DayManifest], known: Known = NOTHING_KNOWN) -> DayManifests:
    """Of a day's manifests, newest first, the one to go by."""
    flawed: list[DayManifest] = []
    for manifest in candidates:
        if manifest.flaw is None or (manifest.flaw.kind == "unsigned" and manifest.key == known.key):
            return DayManifests(manifest, tuple(flawed))
        flawed.append(manifest)
    for manifest in flawed:
        if manifest.flaw is not None and manifest.flaw.kind == "unsigned":
            return DayManifests(manifest, tuple(other for other in flawed if other.epoch > manifest.epoch))
    return DayManifests(None, tuple(flawed))


def exports_in_bucket(
    store: ObjectStore, prefix: str, *, keys: PublicKeys
) -> tuple[list[TableRecord], list[tuple[TableId, str]]]:
    """The exports that have manifests below the prefix, as far as manifests tell; for a bucket without records.

    The project is named by its session id. The others are tables of which no manifest can be believed, and why.
    """
    tables: list[TableRecord] = []
    others: list[tuple[TableId, str]] = []
    for table, index in sorted(list_manifests(store, prefix).tables.items()):
        reader = ManifestReader(store, index, keys=keys)
        chosen = (choose(reader.newest_first(day)) for day in reversed(reader.days))
        told, why = None, "it has no manifest"
        for day in chosen:
            if day.valid is not None and day.valid.manifest is not None:
                told = day.valid.manifest
                break
            why = next((item.flaw.text for item in day.flawed if item.flaw is not None), why)
        if told is None:
            others.append((table, why))
        else:
            tables.append(export_of_manifest(store, table, prefix, told))
    return tables, others


def export_of_manifest(store: ObjectStore, table: TableId, prefix: str, manifest: Manifest) -> TableRecord:
    """The export that a manifest belongs to, begun when the manifest's attempt began."""
    return TableRecord(
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
