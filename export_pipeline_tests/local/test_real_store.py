"""The demo with a real Phoenix and a real MLflow, whose servers are started and whose own SDKs send the traces."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from export_pipeline.errors import EmbeddedError
from export_pipeline.local import prepare, send_traces
from export_pipeline.local.demo import run_demo
from export_pipeline.local.real_store import Name, spans_of
from export_pipeline.settings import load_settings
from export_pipeline_tests.local.screens import Screen
from export_pipeline_tests.sources.presets.known_stores import PYTHON

CALLS = len(send_traces.PROJECTS) * send_traces.DAYS * send_traces.TRACES_A_DAY
FAILED = {
    "phoenix": "SELECT count(*) FROM spans WHERE status_code = 'ERROR'",
    "mlflow": "SELECT count(*) FROM spans WHERE status = 'ERROR'",
}


@pytest.mark.slow
@pytest.mark.parametrize("store", ["phoenix", "mlflow"])
def test_what_a_real_store_was_sent_by_its_own_sdk_is_exported(tmp_path: Path, store: Name) -> None:
    screen = Screen()

    run_demo(load_settings(home=tmp_path), screen, store=store, python=str(PYTHON))

    (columns, bucket), (asked, answer) = screen.tables
    rows = {str(row[0]): row[columns.index(">rows")] for row in bucket if row[columns.index(">files")]}
    assert rows == dict.fromkeys(send_traces.PROJECTS, CALLS // 2 * send_traces.SPANS_A_TRACE)
    assert {row[0] for row in answer} == set(send_traces.MODELS)
    assert sum(int(str(row[asked.index(">calls")]).replace(",", "")) for row in answer) == CALLS
    traces = tmp_path / store / "traces.db"
    with closing(sqlite3.connect(traces)) as connection:
        assert connection.execute(FAILED[store]).fetchone()[0] > 0
    assert spans_of(traces) == CALLS * send_traces.SPANS_A_TRACE
    assert any("Nothing is left running" in line and store in line for line in screen.lines)
    kept = Screen()
    prepare.write_traces(load_settings(home=tmp_path / store).resolved(), kept)
    assert ["is there already and is used as it is" in line for line in kept.lines] == [True]


def test_a_store_that_is_not_installed_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"MLflow is not installed for .*: make it an environment of its own"):
        run_demo(load_settings(home=tmp_path), Screen(), store="mlflow", python=sys.executable)
    with pytest.raises(EmbeddedError, match="cannot be run: No such file"):
        run_demo(load_settings(home=tmp_path), Screen(), store="phoenix", python=str(tmp_path / "python"))
