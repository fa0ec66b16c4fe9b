"""Publishing a day where nothing goes wrong, and where the source or a person says no."""

from export_pipeline_tests.exports.core.bench import DAY, Bench, ids_and_names
from export_pipeline_tests.exports.core.memory_source import MemorySource, rows_of


def test_a_day_is_published_once_whole_and_recorded(any_bench: Bench) -> None:
    source = MemorySource(rows_of(DAY, 25))
    steps: list[str] = []

    outcome = any_bench.publish(source, on_step=steps.append)

    assert (outcome.outcome, outcome.rows, outcome.rejected, outcome.epoch) == ("committed", 25, 0, 1)
    assert any_bench.published() == ids_and_names(source.rows)
    manifest, record = any_bench.manifest(), any_bench.record()
    assert manifest is not None
    assert manifest.file is not None
    assert (manifest.rows, manifest.commit_id, manifest.verified) == (25, outcome.commit_id, "read back")
    assert (record.status, record.rows, record.pending, record.owner) == ("Completed", 25, False, None)
    assert any_bench.sequence() == [(1, DAY, 25)]
    assert any_bench.open_uploads() == []
    assert any_bench.known_uploads() == 0
