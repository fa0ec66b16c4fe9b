"""Asks the Dagster web server which assets it has loaded of this code location, and to load it again."""

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


class ReloadFailedError(Exception):
    """The location was not loaded again; `str` says why."""


def loaded_assets(url: str, *, location: str = LOCATION) -> set[tuple[str, ...]]:
    """The keys of the assets that the web server at `url` shows of the location; none where it did not load.

    Its code server is not the daemon's: each loads the location when it starts, or is asked to. Raises
    `DagsterUnreachableError` and `DagsterRefusedError`.
    """
    try:
        found = ask(url, _LOADED, {"location": location})["repositoryOrError"]
        return {tuple(node["assetKey"]["path"]) for node in found.get("assetNodes", ())}
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
