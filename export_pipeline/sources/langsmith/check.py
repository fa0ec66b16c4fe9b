"""What `source check` says of a LangSmith."""

from datetime import UTC, datetime, timedelta

from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.runs.window import Window
from export_pipeline.sources.http.source import shown
from export_pipeline.sources.langsmith.api import LangSmithApi, Query
from export_pipeline.sources.langsmith.rows import DERIVED, MISSING, Shape, selected_by, selects
from export_pipeline.sources.protocol import ColumnReport, Project, SourceReport

_LOOK_BACK = timedelta(days=7)
"""In which a sample row is looked for."""
_PROJECTS = 5
"""Of which one must have a run for there to be a sample; the youngest are asked."""

_LATE_DATA = (
    "seen by a day's statistics: runs, those that have not ended, tokens, costs, errors, feedback; not seen is what "
    "changes none of them, such as other outputs or tags of a run that had ended"
)


def report(api: LangSmithApi) -> SourceReport:
    """Where each field comes from, and a run of one of the youngest projects."""
    shape, projects = api.shape, api.projects()
    warnings = []
    if shape == "v1":
        warnings.append(
            "this server has only the first version of the API, which is slower: 100 runs a page. "
            "LangSmith has the second one from version 0.16 on"
        )
    if not projects:
        warnings.append("the key sees no project; perhaps it is one of another workspace")
    return SourceReport(
        url=api.address,
        columns=[ColumnReport(field.name, *_origin(shape, field.name)) for field in RUN_FIELDS],
        warnings=warnings,
        sample=_sample(api, projects),
        index="the API's own",
        projects=len(projects),
        usage=api.usage(),
        extra={"API": shape, "Late data": _LATE_DATA},
    )


def _origin(shape: Shape, field: str) -> tuple[str, str]:
    if field in MISSING[shape]:
        return "missing", "the API does not give it"
    if field in DERIVED[shape]:
        return "derived", DERIVED[shape][field]
    return "mapped", " ".join(selected_by(shape, field))


def _sample(api: LangSmithApi, projects: list[Project]) -> dict[str, str | None] | None:
    now = datetime.now(UTC)
    for project in reversed(projects[-_PROJECTS:]):
        query = Query(project.key, selects=tuple(selects(api.shape, None)))
        page = api.page(query, Window(now - _LOOK_BACK, now), None, 1)
        if page.rows:
            return shown(page.rows[0])
    return None
