"""A Dagster instance with the one-machine configuration, and processes that work on it."""

import json
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, suppress
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from cryptography.fernet import Fernet
from dagster._core.scheduler.instigation import InstigatorStatus, ScheduleInstigatorData

from export_pipeline.home import free_ports
from export_pipeline.local.dagster_home import DagsterHome
from export_pipeline.local.processes import Child
from export_pipeline.orchestration.sensors.projects import LOCATION
from export_pipeline.settings import PREFIX
from export_pipeline_tests import quick_daemon
from export_pipeline_tests.orchestration.house import House, instance_of, materialized
from export_pipeline_tests.project.documents import in_the_readme
from export_pipeline_tests.servers import wait_for

PATIENCE = 180.0
SCHEDULE = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION, "scheduleName": "daily_export"}


class Live:
    """The instance over a house, whose code location is the README's example with a downstream asset."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_ports(1)}"
        house.variables[PREFIX + "HOME"] = str(folder)
        self.secret_keys = Fernet.generate_key().decode()
        house.variables[PREFIX + "SECRET_KEYS"] = self.secret_keys
        self._home = DagsterHome(house.settings)
        self._home.prepare()
        quick_daemon.configure(self._home.folder)
        code = in_the_readme("downstream").removeprefix("```python\n").removesuffix("```")
        code = code.replace("support_agent", "chat").replace("2026-11-13", house.start.isoformat())
        (folder / "location.py").write_text(code)
        location = {"python_file": {"relative_path": str(folder / "location.py"), "location_name": LOCATION}}
        self.workspace = folder / "workspace.yaml"
        self.workspace.write_text(json.dumps({"load_from": [location]}))
        self.environment = {
            **self._home.environment(),
            **house.variables,
            PREFIX + "DAGSTER_URL": self.url,
        }
        self.instance = instance_of(self._home.folder)
        self.control = house.control
        self._processes = ExitStack()

    def start_web(self) -> None:
        """The web server, until it answers."""
        port = self.url.rpartition(":")[2]
        self._start(
            "web",
            "export_pipeline.orchestration.web",
            "-h",
            "127.0.0.1",
            "-p",
            port,
            "-w",
            str(self.workspace),
        )
        wait_for(self._answers, what="an answer of the web server", seconds=PATIENCE)

    def start_daemon(self) -> None:
        """The daemon."""
        self.daemon = self._start("daemon", quick_daemon.PROGRAM, "run", "-w", str(self.workspace))

    def code_servers(self) -> list[psutil.Process]:
        """The daemon's code servers; for some seconds after it has loaded the location again there are two."""
        found = []
        for process in psutil.Process(self.daemon).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if {"api", "grpc"} <= set(process.cmdline()):
                    found.append(process)
        return found

    def _start(self, name: str, program: str, *arguments: str) -> int:
        log = self._home.logs / f"{name}.log"
        child = Child(self._home.command(program, *arguments), environment=self.environment, log=log)
        return self._processes.enter_context(child).pid

    def _answers(self) -> bool:
        try:
            return bool(self.ask("{version}"))
        except OSError:
            return False

    def stop(self) -> None:
        """Ends the processes."""
        self._processes.close()
        self.instance.dispose()
        self.control.close()

    def ask(self, query: str, **variables: Any) -> Any:
        """A GraphQL query to the web server."""
        request = urllib.request.Request(
            self.url + "/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def put_the_schedule_back(self, *, days: int) -> None:
        """Makes the daily schedule one that was last looked at so many days ago: the daemon lets it tick at once."""
        # Until it is stopped by hand there is no record of it that could be set back.
        schedule = self.ask(
            "query($of: ScheduleSelector!) {it: scheduleOrError(scheduleSelector: $of) {... on Schedule {id}}}",
            of=SCHEDULE,
        )
        self.ask("mutation($id: String!) {stopRunningSchedule(id: $id) {__typename}}", id=schedule["it"]["id"])
        (state,) = [one for one in self.instance.all_instigator_state() if one.instigator_name == "daily_export"]
        data = state.instigator_data
        assert isinstance(data, ScheduleInstigatorData)
        since = ScheduleInstigatorData(data.cron_schedule, time.time() - days * 86_400)
        self.instance.update_instigator_state(state.with_status(InstigatorStatus.RUNNING).with_data(since))

    def dagster(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Dagster's own command line."""
        return subprocess.run(
            [sys.executable, "-m", "dagster", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def runs(self, tags: dict[str, str]) -> list[dg.DagsterRun]:
        """The runs with these tags, newest first."""
        return list(self.instance.get_runs(dg.RunsFilter(tags=tags)))

    def status(self, run_id: str) -> str:
        """How far a run is."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status.value

    def add_runs(self, name: str, day: date, *, runs: int) -> int:
        """More runs of a project on a day; how many that has now."""
        project = self.house.project(name)
        self.house.add_runs(project, day, runs=runs)
        return self.house.count_runs(project, day)

    def rows(self, name: str, day: date) -> int | None:
        """How many rows Dagster says the newest materialization of a project's day has."""
        found = materialized(self.instance, name).get(day.isoformat())
        return None if found is None else int(found["dagster/partition_row_count"])

    def wait_for_rows(self, name: str, day: date, rows: int) -> None:
        """Waits until Dagster says so."""
        wait_for(lambda: self.rows(name, day) == rows, what=f"{rows} rows of {name} on {day}", seconds=PATIENCE)
