"""Which mapping a store is read with, from what its tables are."""

from pathlib import Path

import pytest
import yaml

from export_pipeline.errors import SettingsError, SourceUnusableError
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.mapping import DEFAULT_MAPPING, Mapping, load_mapping
from export_pipeline.sources.presets.choose import choose, text_of
from export_pipeline.sources.presets.known import PRESETS
from export_pipeline.sources.presets.store import Preset, Tables
from export_pipeline_tests.sources.stores import Store

RUNS = {
    "runs": frozenset({"id", "session_id", "name", "run_type", "start_time"}),
    "sessions": frozenset({"id", "name"}),
}
each_preset = pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.file)


def tables_of(preset: Preset, *, version: str | None = None, without: str = "") -> Tables:
    found = {name: preset.marks.get(name, frozenset()) | preset.needs.get(name, frozenset()) for name in named(preset)}
    table, _, column = without.partition(".")
    if column:
        found[table] -= {column}
    elif table:
        del found[table]
    return Tables(preset.database, found, version or next(iter(preset.versions), None))


def named(preset: Preset) -> set[str]:
    return {*preset.marks, *preset.needs}


@each_preset
def test_a_store_is_known_by_its_tables_and_read_with_its_own_mapping(preset: Preset) -> None:
    choice = choose(None, tables_of(preset))
    assert choice.mapping == Mapping.model_validate(yaml.safe_load(text_of(preset.name, preset.database)))
    assert choice.kind.startswith(preset.kind)
    assert "found by the tables" in choice.kind
    assert choice.warnings == ()


@each_preset
def test_a_preset_is_a_mapping_file_as_a_user_may_write_one(preset: Preset, tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(text_of(preset.name, preset.database))
    assert load_mapping(path) == choose(preset.kind, tables_of(preset)).mapping


@each_preset
def test_an_unknown_version_is_told_in_one_sentence_and_read(preset: Preset) -> None:
    if not preset.versions:
        return
    choice = choose(preset.kind, tables_of(preset, version="0123456789ab"))
    (warning,) = choice.warnings
    assert "0123456789ab" in warning
    assert preset.label in warning


@each_preset
def test_a_version_without_a_column_that_is_read_is_refused_with_its_name(preset: Preset) -> None:
    for table, columns in preset.needs.items():
        column = min(columns)
        with pytest.raises(SourceUnusableError, match=rf"lacks {table}\.{column}"):
            choose(preset.kind, tables_of(preset, without=f"{table}.{column}"))
    with pytest.raises(SourceUnusableError, match="cannot be read as"):
        choose(preset.kind, Tables(preset.database, RUNS))


def test_tables_of_the_products_own_form_are_read_as_they_are() -> None:
    assert choose(None, Tables("sqlite", RUNS)).mapping is DEFAULT_MAPPING
    assert choose("runs", tables_of(PRESETS[0])).mapping is DEFAULT_MAPPING
    unknown = choose(None, Tables("sqlite", {}))
    assert unknown.mapping is DEFAULT_MAPPING
    assert "not those of a known store" in unknown.kind


def test_tables_of_two_stores_are_not_guessed_between(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = PRESETS[0], Preset("otel", "sqlite", "none", "another", {"spans": frozenset({"id"})}, {})
    monkeypatch.setattr("export_pipeline.sources.presets.choose.PRESETS", (one, other))
    with pytest.raises(SettingsError, match=rf"has the tables of {one.kind} and otel; say in .*SOURCE_KIND"):
        choose(None, tables_of(one))


def test_a_kind_that_the_database_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="SOURCE_KIND is opik, which is not read from sqlite; there are phoenix"):
        choose("opik", Tables("sqlite", RUNS))


def test_there_is_no_mapping_of_an_unknown_store() -> None:
    with pytest.raises(SettingsError, match="no mapping of nothing; there are phoenix"):
        text_of("nothing")


def test_a_mapping_beside_another_kind_is_refused(sqlite_store: Store) -> None:
    path = sqlite_store.folder / "mapping.yaml"
    path.write_text("epoch_unit: ms\n")
    given = {"source_url": sqlite_store.url, "control_url": "sqlite:///control.db", "bucket": "bucket", "mapping": path}
    with pytest.raises(SettingsError, match=r"MAPPING takes the place of .*SOURCE_KIND=phoenix; set one of them"):
        open_source(load_settings(**given, source_kind="phoenix"))
    assert open_source(load_settings(**given, source_kind="runs")).epoch_unit == "ms"


def test_source_check_says_which_kind_and_why(store: Store) -> None:
    store.runs()
    source = store.source()
    assert source.check().extra["kind"] == "runs, found by the table runs"
    source.close()


@pytest.mark.parametrize(
    ("columns", "mapping", "told"),
    [
        ({"modified_at": "{time}"}, None, "changed ones by column modified_at"),
        ({}, "runs:\n  digest: name\n", "changed ones by a digest of column name, others not"),
        ({}, None, "changed ones are not seen; runs.modified_at or runs.digest in the mapping names"),
    ],
)
def test_source_check_says_by_what_changed_rows_are_seen(
    store: Store, columns: dict[str, str], mapping: str | None, told: str
) -> None:
    store.runs(columns)
    source = store.source(mapping)
    assert told in source.check().extra["late changes"]
    source.close()
