"""The real Dagster daemon as a process, over a house of its own."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg

from export_pipeline.local.dagster_home import DagsterHome
from export_pipeline.local.processes import Child
from export_pipeline_tests import quick_daemon
from export_pipeline_tests.orchestration.house import House, instance_of


class Daemon:
    """Starts, kills and ends the daemon of one Dagster home, which has the packaged configuration of one machine."""

    def __init__(self, house: House, folder: Path) -> None:
        self._house = house
        self._home = DagsterHome(house.settings, folder=folder)
        self._home.prepare()
        quick_daemon.configure(self._home.folder)
        self._child: Child | None = None
        self._starts = 0
        self._killed: list[Child] = []

    @property
    def folder(self) -> Path:
        """The Dagster home."""
        return self._home.folder

    def start(self) -> None:
        """Starts the daemon; the next sensor tick is a few seconds away."""
        self._starts += 1
        command = self._home.command(
            quick_daemon.PROGRAM, "run", "-w", str(self._home.workspace), "--log-level", "warning"
        )
        environment = {**os.environ, **self._home.environment(), **self._house.variables}
        self._child = Child(command, environment=environment, log=self._home.logs / f"daemon-{self._starts}.log")
        self._child.__enter__()

    def kill(self) -> None:
        """Kills the daemon alone: its code server and the runs' workers are left to themselves."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.wait(60)
        self._killed.append(self._child)
        self._child = None

    def stop(self) -> None:
        """Ends it with everything that it, or one that was killed, has started."""
        if self._child is not None:
            self._child.__exit__(None, None, None)
            self._child = None
        for child in self._killed:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.__exit__(None, None, None)
        self._killed.clear()

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's records, seen from the test."""
        with instance_of(self.folder) as instance:
            yield instance
