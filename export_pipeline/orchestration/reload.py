"""Asks the Dagster web server to load this code location again, so that new projects become assets."""

from export_pipeline.dagster_server import DagsterRefusedError, DagsterUnreachableError, ask, unreachable

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


class ReloadFailedError(Exception):
    """The location was not loaded again; `str` says why."""


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
