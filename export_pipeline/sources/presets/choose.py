"""Which mapping a trace store is read with: the user's own, that of a known store, or the default one."""

from dataclasses import dataclass
from importlib.resources import files

import yaml

from export_pipeline.errors import SettingsError, SourceUnusableError
from export_pipeline.settings import PREFIX, SourceKind
from export_pipeline.sources.mapping import DEFAULT_MAPPING, Mapping
from export_pipeline.sources.presets.known import PRESETS
from export_pipeline.sources.presets.store import Preset, Tables, columns

_RUNS = columns(runs="id session_id start_time")
NAMES = frozenset(
    name for preset in PRESETS for tables in (_RUNS, preset.marks, preset.needs, preset.newer) for name in tables
)
"""The tables that a choice is made by."""


@dataclass(frozen=True)
class Choice:
    """The mapping, and for `source check` the kind of the store with the reason, and what there is to say about it.

    `store` is the known store that the mapping was made for, with the indexes that it has.
    """

    mapping: Mapping
    kind: str
    warnings: tuple[str, ...] = ()
    store: str | None = None


def of_mapping(mapping: Mapping) -> Choice:
    """The user's own mapping."""
    return Choice(mapping, f"runs, because {PREFIX}MAPPING is set")


def choose(kind: SourceKind | None, tables: Tables) -> Choice:
    """The mapping for these tables; `kind` is the setting SOURCE_KIND.

    Raises `SettingsError` where the kind is no kind of this database or several would fit, `SourceUnusableError` where
    the store lacks what the mapping reads.
    """
    if kind == "runs":
        return Choice(DEFAULT_MAPPING, f"runs, because {PREFIX}SOURCE_KIND says so")
    if kind is not None:
        return _chosen(_named(kind, tables), tables, why=f"because {PREFIX}SOURCE_KIND says so")
    fitting = [preset for preset in PRESETS if preset.database == tables.database and not tables.missing(preset.marks)]
    if not tables.missing(_RUNS):
        return Choice(DEFAULT_MAPPING, "runs, found by the table runs")
    if len({preset.kind for preset in fitting}) > 1:
        kinds = " and ".join(dict.fromkeys(preset.kind for preset in fitting))
        raise SettingsError(f"the trace store has the tables of {kinds}; say in {PREFIX}SOURCE_KIND which to export")
    if not fitting:
        return Choice(DEFAULT_MAPPING, f"runs, because the tables are not those of a known store ({_kinds(tables)})")
    return _chosen(fitting[0], tables, why=f"found by the tables {', '.join(fitting[0].marks)}")


def text_of(kind: str, database: str | None = None) -> str:
    """The YAML of a preset, as a user may change it; raises `SettingsError` where there is none."""
    of_kind = [preset for preset in PRESETS if kind in {preset.kind, preset.name}]
    candidates = [preset for preset in of_kind if database in {None, preset.database}]
    if not candidates:
        where = "" if database is None else f" in {database}"
        raise SettingsError(f"there is no mapping of {kind}{where}; there are {presets_there_are()}")
    return _text(candidates[0])


def presets_there_are() -> str:
    """The kinds, each with its databases."""
    by_kind: dict[str, list[str]] = {}
    for preset in PRESETS:
        by_kind.setdefault(preset.kind, []).append(preset.database)
    return ", ".join(f"{kind} ({', '.join(dict.fromkeys(databases))})" for kind, databases in by_kind.items())


def _kinds(tables: Tables) -> str:
    kinds = dict.fromkeys(preset.kind for preset in PRESETS if preset.database == tables.database)
    return ", ".join(kinds) or f"none is known in {tables.database}"


def _named(kind: SourceKind, tables: Tables) -> Preset:
    """The kind's preset whose tables are there; else the first, so that the error names what it lacks."""
    candidates = [preset for preset in PRESETS if preset.kind == kind and preset.database == tables.database]
    if not candidates:
        raise SettingsError(
            f"{PREFIX}SOURCE_KIND is {kind}, which is not read from {tables.database}; there are {presets_there_are()}"
        )
    return next((preset for preset in candidates if not tables.missing(preset.marks)), candidates[0])


def _chosen(preset: Preset, tables: Tables, *, why: str) -> Choice:
    if missing := list(dict.fromkeys((*tables.missing(preset.marks), *tables.missing(preset.needs)))):
        named = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise SourceUnusableError(
            f"the trace store cannot be read as {preset.kind}: it lacks {named}, which {preset.label} has, or the user "
            "of the URL may not read them; upgrade the store, grant SELECT, name another "
            f"{PREFIX}SOURCE_KIND, or describe the tables in {PREFIX}MAPPING (export-pipeline source mapping --kind "
            f"{preset.name} prints one to begin with)"
        )
    if newer := sorted(preset.newer & tables.columns.keys()):
        raise SourceUnusableError(
            f"the trace store cannot be read as {preset.label}: {newer[0]} is of a newer version, which goes on in "
            "tables that are not there, or that the user of the URL may not read; grant SELECT on all its tables"
        )
    warnings = []
    if preset.versions and tables.version not in preset.versions:
        warnings.append(
            f"this release has not been tested with the tables' version {tables.version or 'without a name'} (it knows "
            f"{preset.label}); the columns that it reads are there; compare a day with the store before relying on it"
        )
    version = f", version {tables.version}" if tables.version else ""
    mapping = Mapping.model_validate(yaml.safe_load(_text(preset)))
    return Choice(mapping, f"{preset.kind}{version}, {why}", (*warnings,), preset.label)


def _text(preset: Preset) -> str:
    return files("export_pipeline.sources.presets").joinpath(f"{preset.file}.yaml").read_text("utf-8")
