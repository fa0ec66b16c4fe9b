"""The notebook of the examples: its outputs are what it gives over the sample traces, and are what the traces hold."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.local.prepare import DAYS, RUNS_PER_DAY, SEED
from export_pipeline.settings import PREFIX
from export_pipeline_sample.write import write_sample
from export_pipeline_tests.orchestration.house import House, materialize
from export_pipeline_tests.project.documents import in_the_readme
from export_pipeline_tests.servers import Weed

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "examples" / "runs_in_a_notebook.ipynb"
LAST = date(2026, 11, 26)
NEEDED = ("BUCKET", "ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ALLOW_PRIVATE_ENDPOINTS")
RESULTS = ("spend", "errors", "slowest", "feedback")

EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
told = nbformat.v4.new_code_cell(sys.argv[3])
notebook.cells.append(told)
NotebookClient(notebook, kernel_name="python3", record_timing=False, timeout=None, startup_timeout=600).execute()
notebook.cells.remove(told)
notebook.metadata.pop("language_info")
nbformat.write(notebook, sys.argv[2])
print(told.outputs[0]["text"])
"""
TELL = f"""
assert not [name for name in __import__("sys").modules if name.split(".")[0] == "dagster"]
print(json.dumps([frame.rows() for frame in ({", ".join(RESULTS)})], default=str))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Weed) -> House:
    """The demo's traces of one project, exported through Dagster."""
    folder = tmp_path_factory.mktemp("notebook")
    traces = f"sqlite:///{folder / 'sample.db'}"
    made: dict[str, Any] = {"seed": SEED, "days": DAYS, "runs_per_day": RUNS_PER_DAY, "last_day": LAST}
    report = write_sample(traces, projects=1, experiments=0, **made)
    house = House(folder, seaweedfs, start=report.first_day)
    house.variables[PREFIX + "SOURCE_URL"] = traces
    house.sync()
    (project,) = house.projects()
    with dg.DagsterInstance.ephemeral() as instance:
        done = materialize(house.definitions(), instance, project.asset_name, first=house.start, last=LAST)
        assert done.success
    return house


@pytest.fixture(scope="module")
def executed(house: House) -> tuple[Path, dict[str, Any]]:
    """The notebook as it was executed with the right to the bucket alone, and the rows of its results."""
    written = house.folder / NOTEBOOK.name
    own = {name: str(house.folder / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, NOTEBOOK, written, TELL],
        env={**os.environ, **own, **{PREFIX + name: house.variables[PREFIX + name] for name in NEEDED}},
        cwd=house.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return written, dict(zip(RESULTS, json.loads(done.stdout), strict=True))


def outputs(notebook: Path) -> list[list[dict[str, Any]]]:
    return [cell["outputs"] for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def asked(house: House, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(house.folder / "sample.db")) as traces:
        return traces.execute(query).fetchall()


def test_the_outputs_are_those_of_the_sample_traces(executed: tuple[Path, dict[str, Any]]) -> None:
    written, _ = executed
    assert outputs(NOTEBOOK) == outputs(written), f"{written} is what it gives now: copy it where that is meant"
    assert all(outputs(NOTEBOOK))


def test_the_outputs_carry_nothing_of_a_machine() -> None:
    text = json.dumps(outputs(NOTEBOOK))
    assert not re.search(r"/(home|root|tmp|work|Users|private)/|://|\d+\.\d+\.\d+\.\d+|export_id", text)
    assert json.loads(NOTEBOOK.read_text())["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }


def test_tokens_and_cost_by_model_and_day_equal_the_trace_store(
    house: House, executed: tuple[Path, dict[str, Any]]
) -> None:
    expected = asked(
        house,
        """SELECT substr(start_time, 1, 10), json_extract(extra, '$.metadata.ls_model_name'), count(*),
           sum(total_tokens), sum(CAST(round(total_cost * 1e12) AS INTEGER))
           FROM runs WHERE run_type = 'llm' GROUP BY 1, 2 ORDER BY 1, 2""",
    )
    found = [(*row[:4], int(Decimal(row[4]) * 10**12)) for row in executed[1]["spend"]]
    assert found == expected
    assert len({row[1] for row in expected}) == 4


def test_the_readme_s_lines_give_what_the_trace_store_holds(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (lines,) = re.findall(r"^```python\n(.*?)^```$", in_the_readme("notebook"), re.DOTALL | re.MULTILINE)
    for name in NEEDED:
        monkeypatch.setenv(PREFIX + name, house.variables[PREFIX + name])
    found: dict[str, Any] = {}
    exec(lines, found)
    assert found["answer"].rows() == asked(
        house,
        """SELECT run_type, count(*), coalesce(sum(total_tokens), 0) FROM runs WHERE start_time < '2026-11-15'
           GROUP BY 1 ORDER BY 1""",
    )


def test_errors_slowest_traces_and_feedback_equal_the_trace_store(
    house: House, executed: tuple[Path, dict[str, Any]]
) -> None:
    results = executed[1]
    assert sorted(tuple(row[:4]) for row in results["errors"]) == asked(
        house,
        """SELECT name, run_type, count(*), sum(status = 'error') FROM runs GROUP BY 1, 2
           HAVING sum(status = 'error') > 0 ORDER BY 1, 2""",
    )
    roots = asked(
        house, "SELECT trace_id, start_time, end_time FROM runs WHERE parent_run_id IS NULL AND end_time IS NOT NULL"
    )
    took = {id_: datetime.fromisoformat(end) - datetime.fromisoformat(start) for id_, start, end in roots}
    slowest = sorted(took, key=lambda id_: took[id_], reverse=True)[:5]
    assert [(row[0], row[3]) for row in results["slowest"]] == [
        (id_, took[id_] // timedelta(milliseconds=1) / 1000) for id_ in slowest
    ]
    assert [tuple(row) for row in results["feedback"]] == asked(
        house, "SELECT key, count(*), round(avg(CAST(score AS REAL)), 3) FROM feedbacks GROUP BY key ORDER BY key"
    )
