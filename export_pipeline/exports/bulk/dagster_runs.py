"""The Dagster runs of a bulk export, as they are known without Dagster: by tag, and over its web server."""

import uuid

from export_pipeline.dagster_server import ask
from export_pipeline.errors import ExportPipelineError

EXPORT_TAG = "export_pipeline/bulk_export"
WORKSPACE_TAG = "export_pipeline/workspace"
CLEAN_TAG = "export_pipeline/clean"
_SECONDS = 5.0

# A run that is starting is not among them: Dagster calls it failed when it is ended then, and it finds nothing to do.
_RUNS = """
query RunsOfExport($tags: [ExecutionTag!]!) {
  runsOrError(filter: {tags: $tags, statuses: [QUEUED, STARTED]}) {
    ... on Runs { results { runId tags { key value } } }
  }
}
"""
_TERMINATE = """
mutation EndRunsOfExport($runs: [String!]!) {
  terminateRuns(runIds: $runs, terminatePolicy: SAFE_TERMINATE) { __typename }
}
"""


def end_dagster_runs(url: str, bulk_id: uuid.UUID) -> None:
    """Has the web server at `url` end an export's runs, queued and running ones, but for those that clean up.

    It is only the quicker way: where the server does not answer or refuses, the next round of the sensor ends them.
    """
    try:
        answer = ask(url, _RUNS, {"tags": [{"key": EXPORT_TAG, "value": str(bulk_id)}]}, seconds=_SECONDS)
        results = answer["runsOrError"].get("results", [])
        runs = [run["runId"] for run in results if CLEAN_TAG not in {tag["key"] for tag in run["tags"]}]
        if runs:
            ask(url, _TERMINATE, {"runs": runs}, seconds=_SECONDS)
    except (ExportPipelineError, KeyError, TypeError, AttributeError):
        return
