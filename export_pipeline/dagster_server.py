"""Asks the running Dagster web server over GraphQL, for those that do without Dagster itself."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from export_pipeline.errors import PermanentError, RetryableError

ANSWER_SECONDS = 10


class DagsterUnreachableError(RetryableError):
    """The Dagster web server does not answer as one."""


class DagsterRefusedError(PermanentError):
    """The Dagster web server does not do what was asked; the text has its words."""


def ask(url: str, query: str, variables: Mapping[str, Any] | None = None, *, seconds: float = ANSWER_SECONDS) -> Any:
    """The data that the web server at `url` answers a GraphQL query with.

    Raises `DagsterUnreachableError` where nothing answers as Dagster does, `DagsterRefusedError` where it refuses.
    """
    if not url.startswith(("http://", "https://")):
        raise unreachable(url, "the address must start with http:// or https://")
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
        raise unreachable(url, f"it answers with status {error.code}") from error
    except OSError as error:
        cause = getattr(error, "reason", error)
        raise unreachable(url, str(getattr(cause, "strerror", None) or cause)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreachable(url, "the answer is not Dagster's") from error
    if errors:
        raise DagsterRefusedError(f"Dagster's web server at {url} refuses: {errors[0].get('message', errors[0])}")
    return data


def unreachable(url: str, why: str) -> DagsterUnreachableError:
    """The error that says so."""
    return DagsterUnreachableError(
        f"Dagster's web server does not answer at {url} ({why}); start it, or correct EXPORT_PIPELINE_DAGSTER_URL"
    )
