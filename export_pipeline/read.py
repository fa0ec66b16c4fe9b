"""Exported runs in a notebook: `runs("support-agent", "2026-11-01", "2026-11-14")` is a Polars LazyFrame.

Needs the bucket that `EXPORT_PIPELINE_BUCKET` and its neighbours name, and the right to read and list it; neither the
control database, nor the trace store, nor Dagster. What the frame holds is proven by the bucket's manifests.
"""

import difflib
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING

from export_pipeline.errors import InputError, SettingsError, UnknownProjectError
from export_pipeline.exports.proof.manifests import (
    NOTHING_KNOWN,
    DayManifests,
    ManifestReader,
    TableId,
    choose,
    list_manifests,
)
from export_pipeline.exports.proof.scan import AT_ONCE, CommittedFile, empty_frame, scan_committed
from export_pipeline.files.catalog import MAX_CATALOG_BYTES, CatalogError, CatalogTable, read_catalog
from export_pipeline.files.manifest import MAX_TEXT, Manifest, ManifestError
from export_pipeline.files.paths import DayKey, catalog_key, data_key
from export_pipeline.files.signing import PublicKeys
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.protocol import ObjectMissingError, ObjectStore
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.runs.ids import parse_uuid
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import PREFIX, Settings, load_bucket_settings

if TYPE_CHECKING:
    import polars as pl

_PATIENCE = 20.0
_MOST_NAMED = 10


def runs(
    project: str,
    first: date | str | None = None,
    last: date | str | None = None,
    *,
    fields: Sequence[str] | None = None,
    export_id: uuid.UUID | str | None = None,
    settings: Settings | None = None,
) -> "pl.LazyFrame":
    """The exported runs of a project's UTC days from `first` to `last`, both included; None: from or to where days end.

    Only the files of these days are looked at, and rows are read when the frame is collected. Days without rows, and
    days that were not exported, add none: a frame without rows has the same columns. `fields` are the columns to have,
    by default all of the table. `settings` are those of the environment unless given.

    `project` is a name, or an id where several projects have the name. Without `export_id` it is the project's current
    table; with it another one: a former table, or that of a bulk export in this bucket and prefix.

    Raises `UnknownProjectError`, and `InputError` where several tables are meant; `ManifestError` for a day whose
    manifests cannot be believed, `ForeignCommitError` where a file is not the one that was committed.
    """
    start, end = _day(first), _day(last)
    if start is not None and end is not None and end < start:
        raise InputError(f"the last day, {end}, lies before the first one, {start}")
    settings = _bucket_settings(settings)
    keys = PublicKeys.from_settings(settings)
    config, credentials = DestinationConfig.from_settings(settings), Credentials.from_settings(settings)
    with closing(S3Store(config, credentials, patience=_PATIENCE)) as store:
        bucket = _Bucket(store, settings.prefix, keys)
        table = bucket.table(project, None if export_id is None else _export_id(export_id))
        if unknown := sorted(set(fields or ()) - set(table.fields)):
            raise InputError(f"the table has no fields {', '.join(unknown)}; it has {', '.join(table.fields)}")
        frame = bucket.scan(table, start or date.min, end or date.max)
    return frame if fields is None else frame.select(fields)


@dataclass(frozen=True)
class _Table:
    id: TableId
    format_version: FormatVersion
    fields: tuple[str, ...]

    @classmethod
    def of_catalog(cls, entry: CatalogTable) -> "_Table":
        id_ = TableId(entry.export_id, entry.tenant_id, entry.session_id)
        return cls(id_, entry.format_version, entry.fields)


@dataclass(frozen=True)
class _Bucket:
    store: ObjectStore
    prefix: str
    keys: PublicKeys

    def table(self, project: str, export_id: uuid.UUID | None) -> _Table:
        """The one table that is meant."""
        listed = self._catalog()
        tables = _named(listed or (), project)
        if export_id is not None:
            return self._of_export(project, export_id, tables)
        if listed is None:
            raise InputError(
                f"there is no {self._url(catalog_key(self.prefix))}, which has the projects' names; "
                "`export-pipeline projects sync` writes it. Without it give the project's id and an export_id"
            )
        if not tables:
            raise UnknownProjectError(_unknown(project, listed))
        current = [entry for entry in tables if entry.current]
        if len(current) != 1:
            what = f"{len(current)} current tables are" if current else "no current table is"
            raise InputError(
                f"{what} named {project!r}; give a project's id, or an export_id: {_shown(current or tables)}"
            )
        return _Table.of_catalog(current[0])

    def scan(self, table: _Table, first: date, last: date) -> "pl.LazyFrame":
        """The rows of a table's days, those that the manifests in force say have any."""
        reader = self._reader(table.id)
        if reader is None:
            return empty_frame(table.fields, table.format_version)
        days = [day for day in reader.days if first <= day <= last]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="manifest") as pool:
            read = zip(days, pool.map(lambda day: choose(reader.newest_first(day)), days), strict=True)
            told = {day: _manifest_of(day, chosen) for day, chosen in read}
        id_ = table.id
        with_rows = [day for day, manifest in told.items() if manifest.file is not None]
        keys = {day: DayKey(id_.export_id, id_.tenant_id, id_.session_id, day) for day in with_rows}
        return scan_committed(
            self.store,
            {day: data_key(self.prefix, key, table.format_version) for day, key in keys.items()},
            partial(self._file, reader, keys, told),
            export_id=id_.export_id,
            fields=table.fields,
            format_version=table.format_version,
        )

    def _file(
        self, reader: ManifestReader, keys: dict[date, DayKey], read: dict[date, Manifest], day: date
    ) -> CommittedFile | None:
        """What a day's manifest says of its file: as it was read, and when it is asked for again, as it is then."""
        manifest = read.pop(day, None)
        if manifest is None:
            manifest = _manifest_of(day, choose(reader.listed_again(self.prefix, keys[day], NOTHING_KNOWN)))
        file = manifest.file
        return None if file is None else CommittedFile(file.bytes, file.etag, file.sha256)

    def _of_export(self, project: str, export_id: uuid.UUID, named: Sequence[CatalogTable]) -> _Table:
        if known := [entry for entry in named if entry.export_id == export_id]:
            return _Table.of_catalog(known[0])
        sessions = {entry.session_id for entry in named} | {parse_uuid(project)}
        listed = list_manifests(self.store, self.prefix, export_id).tables
        tables = [id_ for id_ in listed if id_.session_id in sessions]
        if len(tables) != 1:
            held = ", ".join(sorted({str(id_.session_id) for id_ in listed})[:_MOST_NAMED]) or "none"
            raise InputError(
                f"export {export_id} has no single table of {project!r} below {self._url('')}; its projects are {held}"
            )
        reader = ManifestReader(self.store, listed[tables[0]], keys=self.keys)
        newest = reader.days[-1]
        manifest = _manifest_of(newest, choose(reader.newest_first(newest)))
        return _Table(tables[0], manifest.format_version, manifest.fields)

    def _reader(self, id_: TableId) -> ManifestReader | None:
        index = list_manifests(self.store, self.prefix, id_.export_id).tables.get(id_)
        return None if index is None else ManifestReader(self.store, index, keys=self.keys)

    def _catalog(self) -> tuple[CatalogTable, ...] | None:
        key = catalog_key(self.prefix)
        try:
            return read_catalog(self.store.read(key, 0, MAX_CATALOG_BYTES + 1)).tables
        except ObjectMissingError:
            return None
        except CatalogError as error:
            raise type(error)(f"{self._url(key)} cannot be read: {error}") from None

    def _url(self, key: str) -> str:
        return f"s3://{self.store.config.bucket}/{key or self.prefix}"


def _named(listed: Sequence[CatalogTable], project: str) -> list[CatalogTable]:
    """The tables of the project with this id, else of those with this name, of which the catalog has the begin."""
    as_uuid = parse_uuid(project)
    by_id = [entry for entry in listed if entry.project_id == project or entry.session_id == as_uuid]
    return by_id or [entry for entry in listed if entry.name == project[:MAX_TEXT]]


def _manifest_of(day: date, chosen: DayManifests) -> Manifest:
    """The manifest in force, which must be signed where there are keys."""
    manifest = chosen.valid
    if manifest is not None and manifest.manifest is not None and manifest.flaw is None:
        return manifest.manifest
    why = next(
        (each.flaw.text for each in (manifest, *chosen.flawed) if each is not None and each.flaw is not None), "none"
    )
    raise ManifestError(f"{day}: no manifest can be believed: {why}; `export-pipeline verify` names each")


def _bucket_settings(settings: Settings | None) -> Settings:
    settings = settings or load_bucket_settings()
    if settings.bucket is None and not (settings.embedded and settings.home.exists()):
        raise SettingsError(f"{PREFIX}BUCKET is not set: it names the bucket that is to be read")
    return settings.resolved()


def _day(value: date | str | None) -> date | None:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise InputError(f"{value!r} is not a day: write it as 2026-11-01") from None
    if isinstance(value, datetime):
        raise InputError(f"{value} is a time, not a day: give its UTC date")
    return value


def _export_id(value: uuid.UUID | str) -> uuid.UUID:
    export_id = value if isinstance(value, uuid.UUID) else parse_uuid(value)
    if export_id is None:
        raise InputError(f"{value!r} is not an export id")
    return export_id


def _shown(tables: Sequence[CatalogTable]) -> str:
    listed = "; ".join(
        f"{entry.name!r:.200} (id {entry.project_id!r:.100}, workspace {entry.tenant_id}, export_id {entry.export_id})"
        for entry in tables[:_MOST_NAMED]
    )
    return listed + ("; …" if len(tables) > _MOST_NAMED else "")


def _unknown(project: str, listed: Sequence[CatalogTable]) -> str:
    names = sorted({entry.name for entry in listed})
    close = difflib.get_close_matches(project, names, n=3, cutoff=0.5) or names[:_MOST_NAMED]
    return f"unknown project {project!r}; there are {', '.join(f'{name!r:.200}' for name in close) or 'none'}"
