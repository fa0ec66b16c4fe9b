"""What `source check` says of a Langfuse behind its API."""

from datetime import UTC, datetime, timedelta

from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.runs.window import Window
from export_pipeline.sources.http.source import shown
from export_pipeline.sources.langfuse_cloud.api import LangfuseApi, Query
from export_pipeline.sources.langfuse_cloud.rows import ORIGINS, groups
from export_pipeline.sources.protocol import ColumnReport, Project, SourceReport

_LOOK_BACK = timedelta(days=7)
"""In which a sample row is looked for."""


def report(api: LangfuseApi) -> SourceReport:
    """Where each field comes from, and an observation of the last days."""
    projects = api.projects()
    return SourceReport(
        url=api.address,
        columns=[
            ColumnReport(field.name, *ORIGINS.get(field.name, ("missing", "the API does not give it")))
            for field in RUN_FIELDS
        ],
        warnings=["times are given to the millisecond"],
        sample=_sample(api, projects),
        index="the API's own",
        projects=len(projects),
        usage=api.usage(),
        extra={
            "API": "observations v2, scores v3, metrics v2",
            "Changed rows": "seen by a day's count, tokens and costs; a changed text, score or end is not",
        },
    )


def _sample(api: LangfuseApi, projects: list[Project]) -> dict[str, str | None] | None:
    now = datetime.now(UTC)
    for project in projects:
        page = api.page(Query(project.key, groups=groups(None)), Window(now - _LOOK_BACK, now), None, 1)
        if page.rows:
            return shown(page.rows[0])
    return None
