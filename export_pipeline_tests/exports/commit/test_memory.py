"""Publishing a day of huge rows keeps the worker's memory bounded."""

import subprocess
import sys
from pathlib import Path

import pytest

from export_pipeline_tests.exports.commit.bench import Bench, new_export
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
ROWS = 30

PROGRAM = """
import sys, uuid
from datetime import date
from pathlib import Path
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.commit.day import DayRequest
from export_pipeline.exports.commit.publish import publish_day
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.exports.projects.standing import find_table
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source

url, control_url, export_id, day, endpoint, region, key, secret = sys.argv[1:]
control, day = ControlDatabase(control_url), date.fromisoformat(day)
export = find_table(control, uuid.UUID(export_id))
config = DestinationConfig(bucket=export.bucket, region=region, endpoint_url=endpoint, allow_private=True)
source = open_source(load_settings(source_url=url, control_url="sqlite:///c", bucket="any"))
request = DayRequest(export, DayWindow(day, Window.of_day(day)), owner="process:test:1")
store = S3Store(config, Credentials(key, secret))
outcome = publish_day(Publisher(control=control, store=store, source=source), request)
# Not getrusage: its maximum counts what the parent held when it started this process.
status = Path("/proc/self/status").read_text()
peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
print(outcome.rows, outcome.bytes, int(peak.split()[1]) * 1024)
"""


def test_a_day_of_rows_of_ten_megabytes_is_never_in_memory_at_once(bench: Bench, tmp_path: Path) -> None:
    store = Store("sqlite", f"sqlite:///{tmp_path}/traces.db", tmp_path)
    store.runs({"inputs": "TEXT", "outputs": "TEXT"}, unique=True)
    for number in range(ROWS):
        store.add(number, f"{DAY} 10:00:{number:02}+00:00")
    store.run("UPDATE runs SET inputs = hex(randomblob(2500000)), outputs = hex(randomblob(2500000))")
    store.close()
    export = new_export(bench.control, bench.export.bucket, project=PROJECT)
    control_url = bench.control.url.render_as_string(hide_password=False)
    place = [bench.server.endpoint_url, bench.server.region, *bench.server.identity("admin")]
    command = [sys.executable, "-c", PROGRAM, store.url, control_url, str(export.export_id), str(DAY), *place]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows, size, peak = map(int, done.stdout.split())
    assert (rows, size > 140_000_000) == (ROWS, True)
    assert peak < 500 * MIB, f"{peak // MIB} MiB"  # 408 when this was written; all rows at once would add 300
