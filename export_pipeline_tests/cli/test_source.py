"""`export-pipeline source`: which mapping a trace store is read with."""

from pathlib import Path

import pytest

from export_pipeline.sources.presets.known import PRESETS
from export_pipeline.sources.presets.store import Preset
from export_pipeline_tests.cli.command import run


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.file)
def test_the_mapping_of_a_known_store_is_printed_as_it_comes(preset: Preset, tmp_path: Path) -> None:
    ended = run("source", "mapping", "--kind", preset.kind, "--database", preset.database, folder=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert "projects:" in ended.out
    assert f"/{preset.file}.yaml" not in ended.out
    path = tmp_path / "mapping.yaml"
    path.write_text(ended.out)
    settings = {
        "SOURCE_URL": "sqlite:///nowhere.db",
        "CONTROL_URL": "sqlite:///control.db",
        "BUCKET": "bucket",
        "MAPPING": str(path),
    }
    refused = run("source", "check", folder=tmp_path, settings=settings)
    assert "does not exist" in refused.err, "the file itself is read without a complaint"


def test_an_unknown_store_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    ended = run("source", "mapping", "--kind", "jaeger", folder=tmp_path)
    assert ended.status != 0
    assert "there is no mapping of jaeger; there are phoenix (sqlite" in " ".join(ended.err.split())
