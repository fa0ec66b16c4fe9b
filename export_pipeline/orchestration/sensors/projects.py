"""The sensor that keeps the list of projects, and with it the assets, like the trace store."""

from collections.abc import Callable
from contextlib import nullcontext

import dagster as dg

from export_pipeline.dagster_server import DagsterRefusedError, DagsterUnreachableError, ask, unreachable
from export_pipeline.orchestration.assets import KEY_PREFIX
from export_pipeline.orchestration.resources import CONNECTIONS, Connections
from export_pipeline.settings import Settings

LOCATION = "export_pipeline"
"""The name of the code location in workspace.yaml and pyproject.toml."""

_MUTATION = """
mutation Reload($location: String!) {
  reloadRepositoryLocation(repositoryLocationName: $location) {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
    ... on UnauthorizedError { message }
    ... on ReloadNotSupported { message }
    ... on RepositoryLocationNotFound { message }
  }
}
"""


_LOADED = """
query Loaded($location: String!) {
  repositoryOrError(
    repositorySelector: {repositoryName: "__repository__", repositoryLocationName: $location}
  ) {
    __typename
    ... on Repository { assetNodes { assetKey { path } } }
  }
}
"""

SYNC_SECONDS = 300
_MOST_NAMES = 10


class ReloadFailedError(Exception):
    """The location was not loaded again; `str` says why."""


def loaded_assets(url: str, *, location: str = LOCATION) -> set[tuple[str, ...]]:
    """The keys of the assets that the web server at `url` shows of the location; none where it did not load.

    Its code server is not the daemon's: each loads the location when it starts, or is asked to. Raises
    `DagsterUnreachableError` and `DagsterRefusedError`.
    """
    try:
        repositories = ask(url, _LOADED, {"location": location})["repositoryOrError"]
        return {tuple(node["assetKey"]["path"]) for node in repositories.get("assetNodes", ())}
    except (KeyError, TypeError, AttributeError) as error:
        raise unreachable(url, "the answer is not Dagster's") from error


def reload_location(url: str, *, location: str = LOCATION, timeout: float = 30.0) -> None:
    """Has the web server at `url` load the location again; raises `ReloadFailedError` where it does not."""
    try:
        result = ask(url, _MUTATION, {"location": location}, seconds=timeout)["reloadRepositoryLocation"]
        kind, state = result["__typename"], result.get("locationOrLoadError") or {}
    except (DagsterUnreachableError, DagsterRefusedError) as error:
        raise ReloadFailedError(str(error)) from error
    except (KeyError, TypeError) as error:
        raise ReloadFailedError(str(unreachable(url, "the answer is not Dagster's"))) from error
    if kind != "WorkspaceLocationEntry":
        raise ReloadFailedError(str(result.get("message", kind)))
    if state.get("__typename") == "PythonError":
        raise ReloadFailedError(f"the code location does not load: {state['message']}")


def build_project_sensor(settings: Settings, *, reload: Callable[[str], None] = reload_location) -> dg.SensorDefinition:
    """Reads the projects of the trace store every five minutes, and lists their tables in the bucket.

    A failed read fails the tick and changes nothing. Where the list then differs from the assets that the web server
    shows, it is asked to load the location again. The daemon's own code server needs nothing: it starts anew by itself.
    """

    @dg.sensor(
        name="sync_projects",
        minimum_interval_seconds=SYNC_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={CONNECTIONS},
        description="Reads the list of projects from the trace store; loads the location again when it has changed.",
    )
    def sync_projects_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        from export_pipeline.exports.projects.catalog import write_catalogs
        from export_pipeline.exports.projects.registry import list_projects, sync_projects
        from export_pipeline.exports.projects.unassigned import unassigned_rows

        connections: Connections = context.resources.connections
        sync_projects(connections.control, connections.source, settings, count=False)
        unassigned_rows(connections.control, connections.source, settings)
        wanted = {
            project.asset_name for project in list_projects(connections.control, only_assets=True, settings=settings)
        }
        reason = _load_again(wanted, settings, reload)
        for problem in write_catalogs(connections.control, lambda: nullcontext(connections.store)):
            context.log.warning(problem)
        return dg.SkipReason(reason)

    return sync_projects_sensor


def _load_again(wanted: set[str], settings: Settings, reload: Callable[[str], None]) -> str:
    """Has the location loaded again where the web server does not show the wanted assets; what came of it."""
    try:
        keys = loaded_assets(settings.dagster_url)
    except (DagsterUnreachableError, DagsterRefusedError) as error:
        return (
            f"{len(wanted)} projects. What the UI shows is not known ({error}); where it lacks some, load the code "
            "location again by hand, under Deployment"
        )
    loaded = {path[1] for path in keys if len(path) == 2 and path[0] == KEY_PREFIX}
    if wanted == loaded:
        return f"{len(wanted)} projects, as loaded"
    return f"{_difference(wanted, loaded)}; {_reload(settings.dagster_url, reload)}"


def _difference(wanted: set[str], loaded: set[str]) -> str:
    parts = [
        f"{len(names)} {what}: {', '.join(sorted(names)[:_MOST_NAMES])}{', …' if len(names) > _MOST_NAMES else ''}"
        for what, names in (("new", wanted - loaded), ("gone", loaded - wanted))
        if names
    ]
    return "; ".join(parts)


def _reload(url: str, reload: Callable[[str], None]) -> str:
    try:
        reload(url)
    except ReloadFailedError as error:
        return f"load the code location again by hand, in the UI under Deployment ({error})"
    return f"the web server at {url} has loaded the location again"
