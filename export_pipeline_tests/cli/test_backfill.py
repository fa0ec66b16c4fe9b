"""`export-pipeline backfill`: what it refuses, and a real one on a web server and a daemon."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import pytest

from export_pipeline.errors import InputError
from export_pipeline.exports.control.database import open_control
from export_pipeline.exports.projects.backfill import plan_backfill
from export_pipeline.exports.projects.registry import sync_projects
from export_pipeline.home import free_ports
from export_pipeline.local.dagster_home import DagsterHome
from export_pipeline.local.processes import Child
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline_tests import quick_daemon
from export_pipeline_tests.cli.command import Ended, run, run_process
from export_pipeline_tests.clock import on_one_day
from export_pipeline_tests.servers import Rclone, wait_for
from export_pipeline_tests.small_store import FIRST_DAY, NAME, settings_of, write_store


@pytest.fixture
def settings(tmp_path: Path, rclone: Rclone) -> dict[str, str]:
    """Settings over a store with one project, whose days begin on `FIRST_DAY`."""
    write_store(tmp_path / "traces.db")
    found = settings_of(tmp_path, rclone, rclone.new_bucket()) | {"DAGSTER_URL": "http://127.0.0.1:9"}
    made = load_settings(**{name.lower(): value for name, value in found.items()})
    control, source = open_control(made), open_source(made)
    sync_projects(control, source, made, count=False)
    control.close()
    source.close()
    return found


CASES = {
    "nothing": ([], "", "name the projects to be exported, or take every one with --all"),
    "no project": ([], "--from 2026-03-01", "name the projects to be exported, or take every one with --all"),
    "a project beside all": ([NAME], "--all --from 2026-03-01", "--all is every project: name none beside it"),
    "a misspelt project": (["suport bot"], "--from 2026-03-01", f"did you mean '{NAME}'"),
    "a day before the first": ([NAME], "--from 2026-02-28", "2026-02-28 is before the first day 2026-03-01"),
    "today": ([NAME], "--from 2026-03-01 --to TODAY", "TODAY is not over yet (UTC)"),
    "the future": ([NAME], "--from 2026-03-01 --to 2999-01-01", "2999-01-01 lies in the future"),
    "days that end before they begin": ([NAME], "--from 2026-03-02 --to 2026-03-01", "end before they begin"),
    "a server that is away": (
        [NAME],
        "--from 2026-03-01 --to 2026-03-02",
        "does not answer at http://127.0.0.1:9 (Connection refused); start it, or correct EXPORT_PIPELINE_DAGSTER_URL",
    ),
    "a server that is away when cancelling": ([], "--cancel abcdefgh", "does not answer at http://127.0.0.1:9"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_queued_is_refused_in_a_sentence(case: str, settings: dict[str, str], tmp_path: Path) -> None:
    projects, options, sentence = CASES[case]

    def command(today: date) -> tuple[str, Ended]:
        words = options.replace("TODAY", str(today)).split()
        ended = run("backfill", *projects, *words, folder=tmp_path, settings=settings)
        return sentence.replace("TODAY", str(today)), ended

    expected, ended = on_one_day(command)
    assert ended.status == 1
    assert expected in ended.err
    assert ended.out == ""


@pytest.mark.parametrize("options", ["--cancel a --all", "--cancel a --follow b", "--all --from yesterday"])
def test_wrong_usage_ends_with_2(options: str, settings: dict[str, str], tmp_path: Path) -> None:
    assert run("backfill", *options.split(), folder=tmp_path, settings=settings).status == 2


def test_a_dry_run_says_what_would_be_queued_and_asks_nobody(settings: dict[str, str], tmp_path: Path) -> None:
    words = ("backfill", "--all", "--from", str(FIRST_DAY), "--dry-run")

    def command(*more: str) -> tuple[date, Ended]:
        return on_one_day(lambda today: (today, run(*words, *more, folder=tmp_path, settings=settings)))

    today, ended = command()
    days, last = (today - FIRST_DAY).days, today - timedelta(days=1)
    assert ended.out == f"Would queue {days} days ({FIRST_DAY} to {last}) of 1 projects: runs/support_bot\n"
    today, ended = command("--json")
    answer = json.loads(ended.out)
    assert answer == {
        "backfill_id": None,
        "assets": ["runs/support_bot"],
        "first_day": str(FIRST_DAY),
        "last_day": str(today - timedelta(days=1)),
        "days": (today - FIRST_DAY).days,
    }


def test_a_project_named_twice_is_taken_once_and_an_excluded_one_is_refused(
    settings: dict[str, str], tmp_path: Path
) -> None:
    made = load_settings(**{name.lower(): value for name, value in settings.items()})
    with_control = open_control(made)
    names = [NAME, "support_bot", "runs/support_bot"]
    plan = plan_backfill(with_control, made, names, every=False, first=FIRST_DAY, last=date(2026, 3, 3))
    assert [project.name for project in plan.projects] == [NAME]
    assert plan.dates == [date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)]
    without = made.model_copy(update={"projects_exclude": ("*",)})
    with pytest.raises(InputError, match="'support bot' has no asset"):
        plan_backfill(with_control, without, [NAME], every=False, first=FIRST_DAY, last=None)
    with pytest.raises(InputError, match="there are no projects"):
        plan_backfill(with_control, without, [], every=True, first=FIRST_DAY, last=None)
    with_control.close()


@pytest.fixture
def dagster(settings: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings whose web server and daemon run."""
    port = free_ports(1)
    named = settings | {"DAGSTER_URL": f"http://127.0.0.1:{port}"}
    resolved = load_settings(**{name.lower(): value for name, value in named.items()}, home=tmp_path).resolved()
    home = DagsterHome(resolved)
    home.prepare()
    quick_daemon.configure(home.folder)
    environment = {**home.environment(), **{f"EXPORT_PIPELINE_{name}": value for name, value in named.items()}}
    workspace = ["-w", str(home.workspace)]
    with ExitStack() as stack:
        first = Child(home.command("dagster", "instance", "info"), environment=environment, log=home.logs / "info")
        with first:
            assert first.wait(120) == 0, first.last_words()
        commands = {
            "daemon": home.command(quick_daemon.PROGRAM, "run", *workspace),
            "web": home.command("dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *workspace),
        }
        children = [
            stack.enter_context(Child(command, environment=environment, log=home.logs / name))
            for name, command in commands.items()
        ]
        for child in children:
            stack.callback(child.interrupt)
        wait_for(lambda: _is_well(tmp_path, named), what="a web server and a daemon that are well", seconds=180)
        yield named


def _is_well(folder: Path, settings: dict[str, str]) -> bool:
    checks = json.loads(run("status", "--json", folder=folder, settings=settings).out)["checks"]
    return any(check["part"] == "Dagster" and check["ok"] for check in checks)


@pytest.mark.slow
def test_a_real_backfill_is_queued_followed_left_and_cancelled(dagster: dict[str, str], tmp_path: Path) -> None:
    def command(*words: str) -> Ended:
        return run_process("backfill", *words, folder=tmp_path, settings=dagster)

    queued = command(NAME, "--from", str(FIRST_DAY), "--to", "2026-03-02", "--json")
    assert queued.status == 0, queued.err
    first_id = json.loads(queued.out)["backfill_id"]

    everything = ("--all", "--from", str(FIRST_DAY), "--wait")
    process = subprocess.Popen(
        [sys.executable, "-c", "from export_pipeline.cli.app import main; main()", "backfill", *everything],
        cwd=tmp_path,
        env={**os.environ, **{f"EXPORT_PIPELINE_{name}": value for name, value in dagster.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Queued as backfill ")
    process.stdout.readline()
    backfill_id = line.split()[3].rstrip(":")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"Backfill {backfill_id} goes on." in said
    assert f"`export-pipeline backfill --cancel {backfill_id}` cancels it" in said

    assert command("--cancel", backfill_id).status == 0
    done = command("--follow", first_id, "--json")
    assert done.status == 0, done.err
    state = json.loads(done.out)
    assert (state["ok"], state["status"]) == (True, "COMPLETED_SUCCESS")
    assert state["assets"] == [{"asset": "runs/support_bot", "days": 2, "under_way": 0, "done": 2, "failed": 0}]
    followed = command("--follow", backfill_id, "--json")
    assert (followed.status, json.loads(followed.out)["status"]) == (1, "CANCELED")
    again = command("--cancel", backfill_id, "--json")
    assert (again.status, json.loads(again.out)["status"]) == (0, "CANCELED")

    unknown = command("--follow", "nosuchid")
    assert (unknown.status, unknown.out) == (1, "")
    assert "knows no backfill 'nosuchid'" in unknown.err
