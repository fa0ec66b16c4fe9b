"""Reads the projects of a trace store."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from export_pipeline.sources.protocol import UNASSIGNED, Project, UnassignedRows
from export_pipeline.sources.sql.dialect import Column
from export_pipeline.sources.sql.plan import Plan, ProjectsPlan, RunsPlan
from export_pipeline.sources.sql.queries import RunQueries
from export_pipeline.sources.sql.times import clamp

_MOST_NAMED = 5
_ESCAPE = re.compile(rb"\\x([89a-f][0-9a-f])")


def read_projects(plan: Plan, rows: Callable[[str], list[tuple[Any, ...]]]) -> list[Project]:
    """All projects, oldest first; those without a start last."""
    runs, projects = plan.usable()
    sql = _from_runs(plan, runs, projects) if projects.relation is None else _from_table(plan, projects)
    # Where runs say whose they are and list the projects, those that say nothing are a project of their own.
    listed_by_tenant = projects.relation is None and runs.tenant is not None
    listed = []
    for key, name, tenant, start, experiment in rows(sql):
        text = plan.dialect.as_project(runs.fields["session_id"], as_key(key))
        if text == UNASSIGNED:
            continue  # its rows are of no project
        tenant_key = plan.mapping.tenant or (as_key(tenant) if tenant not in {None, b"", ""} else None)
        listed.append(
            Project(
                key=text,
                name=text if name is None else as_text(name),
                tenant_key=tenant_key,
                is_experiment=bool(experiment),
                start_time=None if start is None else clamp(start),
                untold=tenant_key is None or not listed_by_tenant,
            )
        )
    return sorted(listed, key=_age)


def read_unassigned(queries: RunQueries, rows: Callable[[str], list[tuple[Any, ...]]]) -> UnassignedRows:
    """The rows that belong to no project."""
    foreign_sql = queries.foreign()
    tenants = [] if foreign_sql is None else [(as_key(tenant), n, total) for tenant, n, total in rows(foreign_sql)]
    without = _read_without_project(queries, rows)
    if not tenants:
        return without
    named = tuple((tenant, count) for tenant, count, _ in tenants[:_MOST_NAMED])
    return replace(without, foreign=tenants[0][2], tenants=named)


def _read_without_project(queries: RunQueries, rows: Callable[[str], list[tuple[Any, ...]]]) -> UnassignedRows:
    counted = rows(queries.without_project())
    if not counted:
        return UnassignedRows()
    without_id = [count for key, count, _, _ in counted if key is None or not as_key(key)]
    named = [(as_key(key), count) for key, count, _, _ in counted if key is not None and as_key(key)]
    _, _, total, ids = counted[0]
    return UnassignedRows(total, sum(without_id), ids - len(without_id), tuple(named[:_MOST_NAMED]))


def _age(project: Project) -> tuple[bool, datetime, str]:
    return project.start_time is None, project.start_time or datetime.max.replace(tzinfo=UTC), project.key


def as_text(value: Any) -> str:
    """A value of either database as text; bytes that are not UTF-8 are replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_key(value: Any) -> str:
    """A project's id as text, from which its rows are found again: bytes that are not UTF-8 are written as escapes."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def unescaped(key: bytes) -> bytes | None:
    """The bytes that `as_key` has escaped, where it may have escaped some."""
    raw = _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), key)
    return None if raw == key else raw


def _from_table(plan: Plan, projects: ProjectsPlan) -> str:
    assert projects.relation is not None  # noqa: S101
    id_ = projects.columns["id"]
    return f"SELECT {_values(plan, projects, id_)} FROM {projects.relation.from_('s')} WHERE {id_.sql} IS NOT NULL"


def _from_runs(plan: Plan, runs: RunsPlan, projects: ProjectsPlan) -> str:
    id_, start = runs.fields["session_id"], plan.dialect.time(runs.fields["start_time"])
    name = projects.columns.get("name")
    tenant, reference = runs.tenant, projects.columns.get("reference_dataset_id")
    parts = [
        plan.dialect.id(id_),
        "NULL" if name is None else f"max({plan.dialect.text(name)})",
        "NULL" if tenant is None else f"min({plan.dialect.id(tenant)})",
        f"min({start.raw})",
        "0" if reference is None else f"count({reference.sql})",
    ]
    return (
        f"SELECT {', '.join(parts)} FROM {runs.relation.from_('r')} WHERE NOT {plan.dialect.is_empty(id_)} "
        f"GROUP BY {', '.join(plan.dialect.bytewise(column) for column in (id_, tenant) if column is not None)}"
    )


def _values(plan: Plan, projects: ProjectsPlan, id_: Column) -> str:
    columns = projects.columns
    tenant, start, reference = (columns.get(key) for key in ("tenant_id", "start_time", "reference_dataset_id"))
    return ", ".join(
        [
            plan.dialect.id(id_),
            plan.dialect.text(columns["name"]),
            "NULL" if tenant is None else plan.dialect.id(tenant),
            "NULL" if start is None else plan.dialect.time(start).raw,
            "0" if reference is None else f"CASE WHEN {reference.sql} IS NULL THEN 0 ELSE 1 END",
        ]
    )
