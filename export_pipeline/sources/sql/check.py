"""What `export-pipeline source check` prints: how the trace store is read, and everything wrong with it."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from export_pipeline.runs.ids import uuid_of
from export_pipeline.runs.schema import FIELD_BY_NAME, RUN_FIELDS, Kind
from export_pipeline.runs.slow_path import DERIVED_FROM
from export_pipeline.settings import PREFIX
from export_pipeline.sources.mapping import Expression
from export_pipeline.sources.presets.choose import Choice
from export_pipeline.sources.protocol import UNASSIGNED, ColumnReport, Project, ProjectKey, SourceReport
from export_pipeline.sources.sql.check_expressions import Session, look_at_expressions, without
from export_pipeline.sources.sql.check_values import look
from export_pipeline.sources.sql.plan import Plan, RunsPlan, indexes_on
from export_pipeline.sources.sql.projects import as_text, read_projects, read_unassigned
from export_pipeline.sources.sql.queries import RunQueries
from export_pipeline.sources.sql.times import clamp

_SAMPLE_CHARACTERS = 80
_UNSERVED_SPARSE = (
    "{label}: neither the sorting key nor the partitions have start_time, so each day reads the whole table; they are "
    "named when a table is made: ORDER BY (session_id, start_time), PARTITION BY toYYYYMM(start_time)"
)
_MOST_WORKSPACES = 5
Rows = Callable[[str], list[tuple[Any, ...]]]


def report(plan: Plan, session: Session, *, choice: Choice, place: str, unassigned: str | None) -> SourceReport:
    """Everything about the plan, with a sample row and the number of projects where the store can be read.

    `choice` is how the plan's mapping was chosen; `unassigned` names the project that the rows of no project are
    exported as.
    """
    if plan.runs is None or plan.projects is None or plan.problems:
        return SourceReport(
            url=place,
            columns=_columns(plan),
            problems=tuple(plan.problems),
            warnings=(*choice.warnings, *plan.warnings),
            extra={"kind": choice.kind},
        )
    rows, failing = session.rows, look_at_expressions(plan, plan.runs, session)
    if failing.problems:
        return SourceReport(url=place, columns=_columns(plan), problems=tuple(failing.problems))
    runs = without(plan.runs, failing.fields)
    plan = replace(plan, runs=runs)
    projects = read_projects(plan, rows)
    values = look(plan, runs, rows)
    serving = [index.name for index in indexes_on(runs.relation, plan, *_day_columns(runs))]
    return SourceReport(
        url=place,
        columns=_columns(plan),
        problems=tuple(values.problems),
        warnings=(
            *choice.warnings,
            *plan.warnings,
            *failing.warnings,
            *values.warnings,
            *(_index_warnings(plan, runs, served=bool(serving)) if choice.store is None else ()),
            *_unassigned_warnings(plan, rows, unassigned),
            *_left_out_warnings(plan, rows),
        ),
        sample=_sample(plan, rows),
        index=serving[0] if serving else choice.store and f"those of {choice.store}",
        projects=len(projects),
        extra={
            "kind": choice.kind,
            "dialect": plan.dialect.name,
            "runs": runs.relation.label,
            "feedback": "none" if plan.feedbacks is None else plan.feedbacks.relation.label,
            "epoch unit": plan.mapping.epoch_unit,
            "workspaces": _workspaces(projects),
            "a run is identified by": _identity(plan, runs, rows),
            "late changes": _late_changes(runs),
            **values.facts,
            **_left_out(plan, runs),
        },
    )


def _workspaces(projects: Sequence[Project]) -> str:
    """The workspaces with the most projects, under the ids by which they are addressed."""
    counts = Counter(None if project.tenant_key is None else uuid_of(project.tenant_key) for project in projects)
    named = [
        f"{f'the setting {PREFIX}TENANT_ID' if tenant is None else tenant} ({count})"
        for tenant, count in counts.most_common(_MOST_WORKSPACES)
    ]
    return ", ".join([*named, *(["…"] if len(counts) > _MOST_WORKSPACES else [])]) or "none"


def _left_out(plan: Plan, runs: RunsPlan) -> dict[str, str]:
    """The columns that nothing is read from. An expression reads those that it names."""
    mapped = plan.mapping.runs
    refs = (*mapped.fields.values(), mapped.deleted, mapped.inserted_at, mapped.modified_at)
    expressions = " ".join(ref.sql for ref in refs if isinstance(ref, Expression))
    named = set(re.findall(r"\w+", expressions))
    unread = [name for name in runs.relation.columns if name not in {*runs.columns, *named}]
    return {"columns left out": ", ".join(unread)} if unread else {}


def _identity(plan: Plan, runs: RunsPlan, rows: Rows) -> str:
    label = runs.identity.label
    count_sql = RunQueries(plan, ProjectKey(UNASSIGNED)).set_aside()
    if count_sql is None:
        return f"{label}, which {'are' if ' and ' in label else 'is'} unique"
    return f"{label}; of rows that agree in them the newest is exported, {rows(count_sql)[0][0]:,} are set aside"


def _late_changes(runs: RunsPlan) -> str:
    """What is seen of days that were exported before."""
    told = "rows that are new or gone are seen by their number, changed ones"
    if runs.modified_at is not None:
        return f"{told} by {runs.modified_at.detail}"
    if runs.digest is not None:
        return f"{told} by a digest of {runs.digest.detail}, others not"
    return f"{told} are not seen; runs.modified_at or runs.digest in the mapping names what they are seen by"


def _unassigned_warnings(plan: Plan, rows: Rows, unassigned: str | None) -> list[str]:
    of_no_project = read_unassigned(RunQueries(plan, ProjectKey(UNASSIGNED)), rows)
    sentence = of_no_project.sentence(exported_as=unassigned)
    return [sentence] if sentence else []


def _left_out_warnings(plan: Plan, rows: Rows) -> list[str]:
    counts = [(rows(each.count)[0][0], each.what) for each in plan.mapping.left_out]
    return [f"{count:,} {what} are not exported" for count, what in counts if count]


def _day_columns(runs: RunsPlan) -> tuple[Any, Any]:
    return runs.fields["session_id"], runs.fields["start_time"]


def _columns(plan: Plan) -> tuple[ColumnReport, ...]:
    return tuple(_column(plan, field.name) for field in RUN_FIELDS)


def _tenant(plan: Plan) -> ColumnReport:
    if plan.mapping.tenant is not None:
        return ColumnReport("tenant_id", "mapped", "constant of the mapping")
    whose = None if plan.runs is None else plan.runs.tenant
    if plan.projects is not None and "tenant_id" in plan.projects.columns:
        told = "" if whose is None else f"; only rows whose {whose.detail} is that one, or empty"
        return ColumnReport("tenant_id", "mapped", f"{plan.projects.columns['tenant_id'].detail} of the project{told}")
    if whose is not None:
        return ColumnReport("tenant_id", "mapped", f"{whose.detail} of the run")
    return ColumnReport("tenant_id", "derived", f"setting {PREFIX}TENANT_ID")


def _column(plan: Plan, name: str) -> ColumnReport:
    fields = {} if plan.runs is None else plan.runs.fields
    if name == "tenant_id":
        return _tenant(plan)
    if name in fields:
        built = name == "dotted_order" and plan.runs is not None and plan.runs.builds_paths
        return ColumnReport(name, "derived" if built else "mapped", fields[name].detail)
    if name == "feedback_stats" and plan.runs is not None and plan.counts_feedback:
        return ColumnReport(name, "derived", "from key, score and value of the feedback")
    if name == "feedbacks" and plan.feedbacks is not None:
        return ColumnReport(name, "mapped", plan.feedbacks.relation.label)
    if name in DERIVED_FROM:
        origins = [origin for origin in DERIVED_FROM[name] if origin in fields]
        return ColumnReport(name, "derived", f"from {' and '.join(origins)}" if origins else "nothing known")
    return ColumnReport(name, "missing", "null")


def _index_warnings(plan: Plan, runs: RunsPlan, *, served: bool) -> list[str]:
    quote, relation = plan.dialect.quote, runs.relation
    if plan.dialect.keys_are_sparse and relation.indexes:
        return [] if served else [_UNSERVED_SPARSE.format(label=relation.label)]
    if not (relation.identity or relation.is_table):
        return [f"{relation.label}: whether an index serves project and start_time cannot be seen"]
    warnings = []
    if not served:
        names = _plain_names(plan, *_day_columns(runs))
        advice = (
            f"run: CREATE INDEX ON {relation.source} ({', '.join(map(quote, names))})"
            if names
            else "put one on the expressions of session_id and start_time"
        )
        if plan.dialect.name in {"sqlite", "mysql"}:
            advice = advice.replace("INDEX ON", f"INDEX {quote('runs_by_project_and_start')} ON")
        if plan.dialect.name == "mysql":
            advice = advice.replace('"', "`")  # as sessions of others take names
        warnings.append(f"no index serves project and start_time, so each day reads the whole table; {advice}")
    if not runs.identity.unique and not indexes_on(relation, plan, runs.fields["id"]):
        warnings.append("id has no index, so looking for newer versions of a run reads the whole table")
    if plan.feedbacks is not None and (plan.feedbacks.relation.identity or plan.feedbacks.relation.is_table):
        run_id = plan.feedbacks.columns["run_id"].sql.removeprefix("f.")
        if not any(quote(index.columns[0]) == run_id for index in plan.feedbacks.relation.indexes):
            warnings.append("the feedback's run_id has no index, so exporting feedbacks is slow")
    return warnings


def _plain_names(plan: Plan, *columns: Any) -> list[str]:
    names = {f"r.{plan.dialect.quote(name)}": name for name in plan.runs.relation.columns} if plan.runs else {}
    plain = [column.indexed or column.sql for column in columns]
    plain_names = [names[name] for name in plain if name in names]
    return plain_names if len(plain_names) == len(columns) else []


def _sample(plan: Plan, rows: Rows) -> dict[str, str | None] | None:
    sampled = rows(RunQueries(plan, ProjectKey("")).sample())
    if not sampled:
        return None
    return {name: _cut(plan, name, value) for name, value in zip(FIELD_BY_NAME, sampled[0], strict=True)}


def _cut(plan: Plan, name: str, value: Any) -> str | None:
    if value is None:
        return None
    instant = isinstance(value, int) and FIELD_BY_NAME[name].kind is Kind.TIME
    if instant and (name == "start_time" or plan.dialect.name != "sqlite"):
        return clamp(value).isoformat()
    text = as_text(value)
    return text if len(text) <= _SAMPLE_CHARACTERS else text[: _SAMPLE_CHARACTERS - 1] + "…"
