"""Asks the running Dagster web server how it is, over GraphQL."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export_pipeline.errors import PermanentError, RetryableError

LOCATION = "export_pipeline"
ANSWER_SECONDS = 10

_QUERY = """
query ExportPipelineStatus {
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  workspaceOrError {
    ... on Workspace { locationEntries { name locationOrLoadError { __typename ... on PythonError { message } } } }
  }
}
"""


class DagsterUnreachableError(RetryableError):
    """The Dagster web server does not answer as one."""


class DagsterRefusedError(PermanentError):
    """The Dagster web server does not do what was asked; the text has its words."""


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
        raise _unreachable(url, "the answer is not Dagster's") from error
    if LOCATION not in states:
        return DagsterHealth(dead, f"there is no code location {LOCATION}")
    state = states[LOCATION]
    if state is None:
        return DagsterHealth(dead, f"the code location {LOCATION} is still being loaded")
    return DagsterHealth(dead, state.get("message") if state["__typename"] == "PythonError" else None)


def ask(url: str, query: str, variables: Mapping[str, Any] | None = None, *, seconds: float = ANSWER_SECONDS) -> Any:
    """The data that the web server at `url` answers a GraphQL query with.

    Raises `DagsterUnreachableError` where nothing answers as Dagster does, `DagsterRefusedError` where it refuses.
    """
    if not url.startswith(("http://", "https://")):
        raise _unreachable(url, "the address must start with http:// or https://")
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url.rstrip("/") + "/graphql",
        data=json.dumps({"query": query, "variables": dict(variables or {})}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
            result = json.load(answer)
        data, errors = result["data"], result.get("errors")
    except urllib.error.HTTPError as error:
        raise _unreachable(url, f"it answers with status {error.code}") from error
    except OSError as error:
        cause = getattr(error, "reason", error)
        raise _unreachable(url, str(getattr(cause, "strerror", None) or cause)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreachable(url, "the answer is not Dagster's") from error
    if errors:
        raise DagsterRefusedError(f"Dagster's web server at {url} refuses: {errors[0].get('message', errors[0])}")
    return data


def _unreachable(url: str, why: str) -> DagsterUnreachableError:
    return DagsterUnreachableError(
        f"Dagster's web server does not answer at {url} ({why}); start it, or correct EXPORT_PIPELINE_DAGSTER_URL"
    )
