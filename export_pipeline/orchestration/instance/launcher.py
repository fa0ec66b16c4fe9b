"""Dagster's default run launcher, which also notices a lost worker when the code server that started it is gone too."""

import json
import time
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

_STARTED = "Started process for run"
_GRPC_INFO = ".dagster/grpc_info"
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
PATIENCE = 90.0
"""Seconds for which a process must be away. By then the daemon, which looks once a minute, has a code server again:
without one Dagster gives up at once when it tries the run again."""

_CLOCK_SECONDS = 60.0
"""How much later than its own first event a process may seem to have started."""


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """For one machine: Dagster's run monitoring looks for the worker's process at each of its rounds.

    The code server reports the end of the workers that it started. Where it was killed with them, or the machine was
    restarted, nobody else would, and their runs would keep their days and their places in the queue for a day.
    """

    def __init__(self, inst_data: Any = None) -> None:
        """Dagster passes what it has read from `dagster.yaml`."""
        super().__init__(inst_data)
        self._away_since: dict[str, float] = {}

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's process is there; one that cannot be told counts as running."""
        worker = self._worker(run) if _on_this_machine(run) else None
        if worker is None or _is_there(*worker):
            self._away_since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        now = time.monotonic()
        if now < self._away_since.setdefault(run.run_id, now) + PATIENCE:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        del self._away_since[run.run_id]
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {worker[0]} has ended without a word")

    def _worker(self, run: dg.DagsterRun) -> tuple[int, float] | None:
        """Process id of the worker and the time of its first event."""
        for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            event = entry.dagster_event
            if event is not None and (event.message or "").startswith(_STARTED):
                return int(str(event.engine_event_data.metadata["pid"].value)), entry.timestamp
        return None


def _on_this_machine(run: dg.DagsterRun) -> bool:
    """Whether its code server was one that the daemon had started, and not one elsewhere."""
    return json.loads(run.tags.get(_GRPC_INFO, "{}")).get("host") in _THIS_MACHINE


def _is_there(pid: int, since: float) -> bool:
    """Whether the process that had this id then still runs; after a restart the id may be another one's."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < since + _CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return False
