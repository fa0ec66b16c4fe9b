"""Where things lie in the bucket: every key is built here and taken apart here, and nowhere else.

Below `<prefix>/export_id=…/` lie Parquet files only, because readers glob there. Manifests lie in a sibling tree,
`<prefix>/_export_pipeline/`, attachments in `<prefix>/attachments/`. Keys hold ids, dates, numbers and hashes, never
names: ids are written again from their `UUID`, so nothing that a trace store holds can reach a path.
"""

import re
import uuid
from dataclasses import dataclass
from datetime import date

from export_pipeline.runs.ids import CANONICAL_UUID
from export_pipeline.runs.schema import FormatVersion

DATA_FILE = "part-00000.parquet"
OWN_FOLDER = "_export_pipeline"

_RUNS_FOLDER: dict[FormatVersion, str] = {"v1": "runs", "v2_beta": "resource=runs"}
MAX_EPOCH = 10**10 - 1
"""The greatest that a manifest's key has room for."""
LAST_DAY = date(9999, 12, 30)
"""The next day still exists, so that a day has an end."""
_MAX_KEY_BYTES = 1024

_PROJECT = "/".join(f"{name}_id=(?P<{name}>{CANONICAL_UUID})" for name in ("export", "tenant", "session"))
_DAY = r"year=(?P<year>\d{4})/month=(?P<month>\d{2})/day=(?P<dom>\d{2})"
_ISO_DAY = r"\d{4}-\d{2}-\d{2}"
_PREFIX = r"(?:(?P<prefix>[^=]+)/)?"
_MANIFESTS = f"{OWN_FOLDER}/manifests"
_RETIRED = f"{OWN_FOLDER}/retired"

_DATA_KEY = re.compile(f"{_PREFIX}{_PROJECT}/(?P<folder>runs|resource=runs)/{_DAY}/{re.escape(DATA_FILE)}", re.ASCII)
_MANIFEST_KEY = re.compile(f"{_PREFIX}{_MANIFESTS}/{_PROJECT}/{_DAY}/epoch=(?P<epoch>\\d{{10}})\\.json", re.ASCII)
_EMPTY_KEY = re.compile(
    f"{_PREFIX}{_MANIFESTS}/{_PROJECT}/empty_days/"
    f"(?P<first>{_ISO_DAY})_(?P<last>{_ISO_DAY})_(?P<commit>{CANONICAL_UUID})\\.json",
    re.ASCII,
)


@dataclass(frozen=True, order=True)
class DayKey:
    """One day of one project in one export."""

    export_id: uuid.UUID
    tenant_id: uuid.UUID
    session_id: uuid.UUID
    day: date


@dataclass(frozen=True)
class DataPath:
    """What the key of a data file says."""

    prefix: str
    key: DayKey
    format_version: FormatVersion


@dataclass(frozen=True)
class ManifestPath:
    """What the key of one day's manifest says."""

    prefix: str
    key: DayKey
    epoch: int


@dataclass(frozen=True)
class EmptyManifestPath:
    """What the key of a manifest for many empty days says; `first` and `last` are days of it, not all between."""

    prefix: str
    export_id: uuid.UUID
    tenant_id: uuid.UUID
    session_id: uuid.UUID
    first: date
    last: date
    commit_id: uuid.UUID


def data_key(prefix: str, key: DayKey, format_version: FormatVersion) -> str:
    """The key of the day's one data file."""
    root = project_root(prefix, key.export_id, key.tenant_id, key.session_id, format_version)
    return _checked(f"{root}{day_folder(key.day)}/{DATA_FILE}")


def project_root(
    prefix: str, export_id: uuid.UUID, tenant_id: uuid.UUID, session_id: uuid.UUID, format_version: FormatVersion
) -> str:
    """The folder of a project's data files, ending in "/": where readers anchor."""
    return f"{_project(_base(prefix), export_id, tenant_id, session_id)}/{_RUNS_FOLDER[format_version]}/"


def day_folder(day: date) -> str:
    """A day's folder within that of its table, without slashes at its ends."""
    return f"year={day.year:04}/month={day.month:02}/day={day.day:02}"


def export_root(prefix: str, export_id: uuid.UUID) -> str:
    """The folder of all data files of an export, ending in "/"."""
    return f"{_base(prefix)}export_id={export_id}/"


def manifests_root(prefix: str, export_id: uuid.UUID | None = None) -> str:
    """The folder of all manifests of an export, or of all exports, ending in "/"."""
    root = f"{_base(prefix)}{_MANIFESTS}/"
    return root if export_id is None else f"{root}export_id={export_id}/"


def catalog_key(prefix: str) -> str:
    """The key of the list of standing tables."""
    return _checked(f"{_base(prefix)}{OWN_FOLDER}/projects.json")


def retired_key(prefix: str, key: str) -> str:
    """Where an object that lay among the manifests is moved to."""
    return f"{_base(prefix)}{_RETIRED}/{key.removeprefix(manifests_root(prefix))}"


def table_folder(prefix: str, export_id: uuid.UUID, tenant_id: uuid.UUID, session_id: uuid.UUID) -> str:
    """The folder of all manifests of one project's table, ending in "/"."""
    return f"{_project(manifests_root(prefix), export_id, tenant_id, session_id)}/"


def manifest_folder(prefix: str, key: DayKey) -> str:
    """The folder of the day's manifests, ending in "/"; of the keys in it the greatest is the valid one."""
    return f"{table_folder(prefix, key.export_id, key.tenant_id, key.session_id)}{day_folder(key.day)}/"


def manifest_key(prefix: str, key: DayKey, epoch: int) -> str:
    """The key of the day's manifest of one epoch; keys sort as epochs do."""
    if not 0 <= epoch <= MAX_EPOCH:
        raise ValueError(f"an epoch must lie between 0 and {MAX_EPOCH}, not {epoch}")
    return _checked(f"{manifest_folder(prefix, key)}epoch={epoch:010}.json")


def empty_manifest_key(
    prefix: str,
    export_id: uuid.UUID,
    tenant_id: uuid.UUID,
    session_id: uuid.UUID,
    *,
    first: date,
    last: date,
    commit_id: uuid.UUID,
) -> str:
    """The key of the one manifest that stands for many days without rows, the first and last of which are given."""
    root = _project(manifests_root(prefix), export_id, tenant_id, session_id)
    return _checked(f"{root}/empty_days/{_iso(first)}_{_iso(last)}_{commit_id}.json")


def parse_data_key(key: str) -> DataPath | None:
    """What a key says, or None where it is no data file's key."""
    if (match := _DATA_KEY.fullmatch(key)) is None or (day := _day_key(match)) is None:
        return None
    version: FormatVersion = "v1" if match["folder"] == "runs" else "v2_beta"
    return DataPath(match["prefix"] or "", day, version)


def parse_manifest_key(key: str) -> ManifestPath | EmptyManifestPath | None:
    """What a key says, or None where it is not a manifest's key."""
    if match := _MANIFEST_KEY.fullmatch(key):
        day = _day_key(match)
        return None if day is None else ManifestPath(match["prefix"] or "", day, int(match["epoch"]))
    if match := _EMPTY_KEY.fullmatch(key):
        try:
            first, last = date.fromisoformat(match["first"]), date.fromisoformat(match["last"])
        except ValueError:
            return None
        if max(first, last) > LAST_DAY:
            return None
        export_id, tenant_id, session_id = (uuid.UUID(match[name]) for name in ("export", "tenant", "session"))
        return EmptyManifestPath(
            match["prefix"] or "", export_id, tenant_id, session_id, first, last, uuid.UUID(match["commit"])
        )
    return None


def _day_key(match: re.Match[str]) -> DayKey | None:
    try:
        day = date(int(match["year"]), int(match["month"]), int(match["dom"]))
    except ValueError:
        return None
    if day > LAST_DAY:
        return None
    return DayKey(uuid.UUID(match["export"]), uuid.UUID(match["tenant"]), uuid.UUID(match["session"]), day)


def _base(prefix: str) -> str:
    if not prefix:
        return ""
    if "=" in prefix or any(part in {"", ".", ".."} for part in prefix.split("/")):
        raise ValueError(f"{prefix!r} is not a valid prefix: parts must not be empty, '.' or '..', nor contain '='")
    return f"{prefix}/"


def attachment_key(prefix: str, tenant_id: uuid.UUID, session_id: uuid.UUID, sha256: str) -> str:
    """The key of an attachment of a project's runs, by its content: all days and exports share it."""
    folder = f"{_base(prefix)}attachments/tenant_id={tenant_id}/session_id={session_id}"
    return _checked(f"{folder}/{sha256[:2]}/{sha256}")


def _project(root: str, export_id: uuid.UUID, tenant_id: uuid.UUID, session_id: uuid.UUID) -> str:
    return f"{root}export_id={export_id}/tenant_id={tenant_id}/session_id={session_id}"


def _iso(day: date) -> str:
    return f"{day.year:04}-{day.month:02}-{day.day:02}"


def _checked(key: str) -> str:
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise ValueError(f"the key is longer than the {_MAX_KEY_BYTES} bytes that S3 allows: {key!r}")
    return key
