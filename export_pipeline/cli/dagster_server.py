"""Asks the running Dagster web server how it is."""

from dataclasses import dataclass

from export_pipeline.dagster_server import DagsterUnreachableError, ask, unreachable

__all__ = ["DagsterHealth", "DagsterUnreachableError", "ask_health"]

LOCATION = "export_pipeline"

_QUERY = """
query ExportPipelineStatus {
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  workspaceOrError {
    ... on Workspace { locationEntries { name locationOrLoadError { __typename ... on PythonError { message } } } }
  }
}
"""


@dataclass(frozen=True)
class DagsterHealth:
    """The daemons that should run and do not, and why the code location did not load (None where it did)."""

    dead_daemons: tuple[str, ...]
    load_error: str | None

    @property
    def ok(self) -> bool:
        """Whether days are exported by themselves."""
        return not self.dead_daemons and self.load_error is None


def ask_health(url: str) -> DagsterHealth:
    """The health of the instance behind the web server at `url`; raises `DagsterUnreachableError`."""
    data = ask(url, _QUERY)
    try:
        daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
        entries = data["workspaceOrError"].get("locationEntries", [])
        dead = tuple(sorted(item["daemonType"] for item in daemons if item["required"] and not item["healthy"]))
        states = {entry["name"]: entry["locationOrLoadError"] for entry in entries}
    except (KeyError, TypeError, AttributeError) as error:
        raise unreachable(url, "the answer is not Dagster's") from error
    if LOCATION not in states:
        return DagsterHealth(dead, f"there is no code location {LOCATION}")
    state = states[LOCATION]
    if state is None:
        return DagsterHealth(dead, f"the code location {LOCATION} is still being loaded")
    return DagsterHealth(dead, state.get("message") if state["__typename"] == "PythonError" else None)
