"""Asks the Dagster web server to load this code location again, so that new projects become assets."""

import json
import urllib.error
import urllib.request

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
    if not url.startswith(("http://", "https://")):
        raise ReloadFailedError(f"EXPORT_PIPELINE_DAGSTER_URL must start with http:// or https://, not {url!r}")
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url.rstrip("/") + "/graphql",
        data=json.dumps({"query": _MUTATION, "variables": {"location": location}}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 - the scheme was checked
            result = json.load(answer)["data"]["reloadRepositoryLocation"]
            kind, state = result["__typename"], result.get("locationOrLoadError") or {}
    except OSError as error:
        raise ReloadFailedError(f"no answer from the web server at {url}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReloadFailedError(f"what answers at {url} is not Dagster's web server") from error
    if kind != "WorkspaceLocationEntry":
        raise ReloadFailedError(str(result.get("message", kind)))
    if state.get("__typename") == "PythonError":
        raise ReloadFailedError(f"the code location does not load: {state['message']}")
