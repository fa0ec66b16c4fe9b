"""The demo and dev from beginning to end, over one HOME."""

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from export_pipeline.errors import EmbeddedError, SettingsError
from export_pipeline.exports.control.database import open_control
from export_pipeline.exports.projects.planning import completed_days_of
from export_pipeline.exports.projects.standing import list_tables
from export_pipeline.home import S3_PORTS, embedded_bucket, free_ports, taken_ports
from export_pipeline.local import prepare
from export_pipeline.local.demo import failures, run_demo
from export_pipeline.local.dev import run_dev
from export_pipeline.settings import load_settings
from export_pipeline_tests.clock import half_a_day_away, on_one_day
from export_pipeline_tests.local.screens import Screen
from export_pipeline_tests.servers import wait_for

DAYS = 4


@dataclass(frozen=True)
class Demo:
    """A demo on an empty HOME: what it showed, and the day that was yesterday."""

    home: Path
    screen: Screen
    yesterday: date


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A small one, during which the day has not turned."""

    def run(today: date) -> Demo:
        made = Demo(tmp_path_factory.mktemp("home"), Screen(), today - timedelta(days=1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepare, "DAYS", DAYS)
            patch.setattr(prepare, "RUNS_PER_DAY", 30)
            run_demo(load_settings(home=made.home), made.screen)
        return made

    return on_one_day(run)


def _running(home: Path) -> list[str]:
    """Command lines of processes that work on the HOME."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            environment, command = ((folder / name).read_bytes() for name in ("environ", "cmdline"))
            inside = str(home) in str((folder / "cwd").readlink())
        except OSError:
            continue
        if (inside or str(home).encode() in environment) and command:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.mark.slow
def test_the_demo_exports_checks_and_queries_every_row_and_leaves_nothing_running(demo: Demo) -> None:
    home, first = demo.home, demo.screen
    (columns, bucket), (asked, answer) = first.tables
    assert columns == ["project", "days", ">without rows", ">files", ">rows", ">MB"]
    assert [row[0] for row in bucket] == ["docs-rag", "invoice-extraction", "support-agent"]
    settings = load_settings(home=home).resolved()
    with closing(open_control(settings)) as control:
        for export in list_tables(control):
            assert max(completed_days_of(control, export.export_id)) == demo.yesterday
    with closing(sqlite3.connect(home / "traces.db")) as traces:
        where = (
            "SELECT count(*) FROM runs r JOIN sessions s ON s.id = r.session_id WHERE s.reference_dataset_id IS NULL"
        )
        (stored,) = traces.execute(where).fetchone()
        (calls,) = traces.execute(f"{where} AND run_type = 'llm'").fetchone()
    assert sum(row[4] for row in bucket) == stored  # type: ignore[misc]  # a table's cells are objects
    assert sum(row[asked.index(">calls")] for row in answer) == calls > 0  # type: ignore[misc]
    text = "\n".join(first.lines)
    assert f"{DAYS * 3} days of 3 projects" in text
    assert f"files with {stored:,} rows read back" in text
    assert "GROUP BY ALL" in text
    assert first.seen["days"][-1] == (DAYS * 3, DAYS * 3)
    assert taken_ports(embedded_bucket(home).port, S3_PORTS) == []
    assert _running(home) == []


@pytest.mark.slow
def test_what_a_demo_leaves_in_home_is_nobody_else_s_and_other_files_are_made_as_before(
    demo: Demo, tmp_path: Path
) -> None:
    open_to_others = [path for path in demo.home.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    # SeaweedFS opens some of its files to all, in a folder that nobody else can enter.
    assert [path for path in open_to_others if path.parent != demo.home / "s3"] == []
    made = tmp_path / "file"
    made.touch()
    assert stat.S_IMODE(made.stat().st_mode) & 0o044


@pytest.mark.slow
def test_a_second_demo_uses_what_is_there_and_commits_nothing_anew(demo: Demo) -> None:
    def again(today: date) -> tuple[Screen, date]:
        screen = Screen()
        run_demo(load_settings(home=demo.home), screen)
        return screen, today - timedelta(days=1)

    screen, yesterday = on_one_day(again)
    (columns, bucket), answer = demo.screen.tables
    passed = (yesterday - demo.yesterday).days  # since the first demo: days without rows, and without files
    grown = [
        (name, str(days).replace(str(demo.yesterday), str(yesterday)), int(str(empty)) + passed, *files)
        for name, days, empty, *files in bucket
    ]
    assert "is there already" in screen.lines[0]
    assert screen.tables == [(columns, grown), answer]
    assert [line for line in screen.lines if line.startswith("For example")] == [
        line for line in demo.screen.lines if line.startswith("For example")
    ]


@pytest.mark.slow
def test_dev_shows_the_demos_days_and_ends_at_once_with_all_it_started(demo: Demo) -> None:
    home = demo.home
    url, api_port = f"http://127.0.0.1:{free_ports(1)}", free_ports(1)
    code = (
        "import sys; from export_pipeline.cli import output; from export_pipeline.local.dev import run_dev\n"
        "from export_pipeline.settings import load_settings\nrun_dev(load_settings(), output)"
    )
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        env={
            **os.environ,
            "EXPORT_PIPELINE_HOME": str(home),
            "EXPORT_PIPELINE_DAGSTER_URL": url,
            "EXPORT_PIPELINE_API_PORT": str(api_port),
            "EXPORT_PIPELINE_DAILY_AT": half_a_day_away(),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as dev:
        assert dev.stdout is not None
        reader = Thread(target=lambda: lines.extend(dev.stdout or ()))
        reader.start()
        try:
            wait_for(lambda: any("Ctrl-C" in line for line in lines) or dev.poll() is not None, what="dev", seconds=180)
            assert dev.poll() is None, "".join(lines)
            assert on_one_day(lambda today: _days_shown(url) == _days_there(home, demo, today))
            runs = _ask(url, "{runsOrError {... on Runs {results {jobName status}}}}")["runsOrError"]["results"]
            assert {"jobName": "export_runs", "status": "SUCCESS"} in runs
            _export_through_the_api(home, f"http://127.0.0.1:{api_port}", demo.yesterday)
            other = load_settings(home=home, dagster_url=f"http://127.0.0.1:{free_ports(1)}", api_port=free_ports(1))
            with pytest.raises(EmbeddedError, match="in use, perhaps by another"):
                run_dev(other, Screen())
        finally:
            dev.send_signal(signal.SIGINT)
            assert dev.wait(60) == 0
            reader.join()
    assert lines[-1].strip() == "Ended."
    wait_for(lambda: _running(home) == [], what="the end of everything")
    assert taken_ports(embedded_bucket(home).port, S3_PORTS) == []


def _days_shown(url: str) -> dict[str, tuple[int, int]]:
    """By asset, how many days the Dagster UI shows as exported, of how many."""
    nodes = _ask(url, "{assetNodes {assetKey {path} partitionStats {numMaterialized numPartitions}}}")["assetNodes"]
    stats = {node["assetKey"]["path"][1]: node["partitionStats"] for node in nodes}
    return {name: (found["numMaterialized"], found["numPartitions"]) for name, found in stats.items()}


def _days_there(home: Path, demo: Demo, today: date) -> dict[str, tuple[int, int]]:
    """What it should show: the days that the demos have exported, of all that are over."""
    partitions = (today - demo.yesterday).days + DAYS - 1
    with closing(open_control(load_settings(home=home).resolved())) as control:
        (exported,) = {len(completed_days_of(control, export.export_id)) for export in list_tables(control)}
    assert DAYS <= exported <= partitions
    return dict.fromkeys(("docs_rag", "invoice_extraction", "support_agent"), (exported, partitions))


def _export_through_the_api(home: Path, api: str, day: date) -> None:
    """Asks for a day of a project, without a key, and waits until the daemon has exported them."""
    settings = load_settings(home=home).resolved()
    with closing(sqlite3.connect(home / "traces.db")) as traces:
        session, rows = traces.execute(
            "SELECT session_id, count(*) FROM runs WHERE start_time >= ? AND start_time < ? GROUP BY 1 LIMIT 1",
            (str(day), str(day + timedelta(days=1))),
        ).fetchone()
    assert settings.secret_access_key is not None
    keys = {
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key.get_secret_value(),
    }
    config = {"bucket_name": settings.bucket, "prefix": "bulk", "endpoint_url": settings.endpoint_url}
    exports = f"{api}/api/v1/bulk-exports"
    made = _call(f"{exports}/destinations", {"display_name": "here", "config": config, "credentials": keys})
    window = {"start_time": f"{day}T00:00:00", "end_time": f"{day + timedelta(days=1)}T00:00:00"}
    wish = {"bulk_export_destination_id": made["id"], "session_id": session, **window}
    export = _call(exports, wish)["id"]
    wait_for(lambda: bool(_call(f"{exports}/{export}")["finished_at"]), what="the end of the export", seconds=240)
    done = _call(f"{exports}/{export}")
    assert (done["status"], done["progress"]["rows_written"]) == ("Completed", rows)
    assert _call(f"{api}/ready")["ok"] is True


def _ask(url: str, query: str) -> Any:
    return _call(url + "/graphql", {"query": query})["data"]


def _call(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_a_failed_run_is_explained_by_its_steps_reasons_once_each() -> None:
    log = (
        "2026-11-24 - dagster - ERROR - STEP_FAILURE - Execution of step failed.\n\n"
        "dagster._core.definitions.events.Failure: 1 of 4 days of project 'docs' failed: 2026-11-20: no such bucket\n"
        '\nStack Trace:\n  File "x.py", line 1, in y\n    raise dg.Failure(\n'
        "dagster._core.definitions.events.Failure: 1 of 4 days of project 'docs' failed: 2026-11-20: no such bucket\n"
        "dagster._core.definitions.events.Failure: 2 of 4 days of project 'b' failed\n"
    )
    assert failures(log).splitlines() == [
        "1 of 4 days of project 'docs' failed: 2026-11-20: no such bucket",
        "2 of 4 days of project 'b' failed",
    ]
    assert failures("Traceback …") == ""


def test_the_demo_does_not_touch_settings_of_ones_own(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, source_url="sqlite:///s", control_url="sqlite:///c", bucket="own")
    with pytest.raises(SettingsError, match="unset EXPORT_PIPELINE_SOURCE_URL"):
        run_demo(settings, Screen())
    assert list(tmp_path.iterdir()) == []


def test_without_duckdb_the_demo_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export_pipeline.local.demo.find_spec", lambda _: None)
    with pytest.raises(EmbeddedError, match=r"pip install 'export-pipeline\[demo\]'"):
        run_demo(load_settings(home=tmp_path), Screen())
    assert list(tmp_path.iterdir()) == []


def test_a_dagster_url_that_is_not_here_or_taken_is_refused_by_dev(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="serves on this machine only"):
        run_dev(load_settings(home=tmp_path, dagster_url="https://dagster.example.com"), Screen())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EmbeddedError, match=r"port \d+ is in use, so the Dagster UI"):
            run_dev(load_settings(home=tmp_path, dagster_url=url), Screen())
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=r"port \d+ is in use, so the HTTP API .* set EXPORT_PIPELINE_API_PORT"):
            run_dev(
                load_settings(home=tmp_path, dagster_url=f"http://127.0.0.1:{free_ports(1)}", api_port=port), Screen()
            )
    assert list(tmp_path.iterdir()) == []
