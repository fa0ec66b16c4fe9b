"""The mapping held against what the database really has: which column serves which field, and everything wrong."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel

from export_pipeline.errors import SourceUnusableError
from export_pipeline.runs.schema import RUN_FIELDS, Kind
from export_pipeline.settings import PREFIX
from export_pipeline.sources.mapping import (
    REQUIRED_FIELDS,
    ColumnRef,
    Expression,
    FeedbacksMapping,
    Mapping,
    ProjectsMapping,
    RelationMapping,
    RunsMapping,
    is_explicit,
)
from export_pipeline.sources.presets.store import Tables
from export_pipeline.sources.sql.dialect import Column, Dialect, Index, Relation
from export_pipeline.sources.sql.path import path_column


class Catalog(Protocol):
    """What a database says about its tables."""

    def relation(self, mapping: RelationMapping) -> Relation | str | None:
        """The table, view or query; None where there is no such table; in words what else is wrong with it."""

    def expression(self, relation: Relation, *, alias: str, sql: str) -> Column | str:
        """The expression with its type; or in words what is wrong with it."""

    def tables(self, names: Collection[str]) -> Tables:
        """Those of the named tables and views that are found without a schema, and the recorded version."""


@dataclass(frozen=True)
class Identity:
    """What tells runs apart: rows that agree in all `columns`, by their bytes, are versions of one run.

    `within_project`: and lie in the same project, which is not among `columns` then. `unique`: no two rows agree, so
    that no row is a version of another. `label` is how people name it.
    """

    columns: tuple[Column, ...]
    within_project: bool
    unique: bool
    label: str

    @property
    def is_id(self) -> bool:
        """Whether no two rows of a project have the same id."""
        return self.unique and len(self.columns) == 1


@dataclass(frozen=True)
class Ancestors:
    """How a run's ancestors are found: by their ids, which no two runs have in common, at least `within_project`."""

    within_project: bool


@dataclass(frozen=True)
class RunsPlan:
    """How runs are read. `fields` has the fields that the store holds; the others are null or derived."""

    relation: Relation
    fields: dict[str, Column]
    deleted: Column | None
    inserted_at: Column | None
    modified_at: Column | None
    digest: Column | None
    """What a row is hashed by where it has no `modified_at`."""
    identity: Identity
    tenant: Column | None
    """What a row says of its tenant; None where nothing is asked about it."""
    plain: bool
    """Whether everything is a plain column, so that `columns` suffice."""
    columns: tuple[str, ...]
    builds_paths: bool = False
    """Whether `dotted_order` is built from parents, because the store has none."""
    ancestors: Ancestors | None = None
    """How it is built; None: for root runs only."""


@dataclass(frozen=True)
class ProjectsPlan:
    """How projects are read; without a relation they are the distinct values of the runs' `session_id`."""

    relation: Relation | None
    columns: dict[str, Column]


@dataclass(frozen=True)
class FeedbacksPlan:
    """How feedback is read."""

    relation: Relation
    columns: dict[str, Column]


@dataclass
class Plan:
    """All of it. With `problems` nothing can be exported, and `runs` may be None."""

    dialect: Dialect
    mapping: Mapping
    workspace: str = ""
    """The tenant of what names none."""
    runs: RunsPlan | None = None
    projects: ProjectsPlan | None = None
    feedbacks: FeedbacksPlan | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def relations(self) -> tuple[Relation, ...]:
        """What is read."""
        sections = (self.runs, self.projects, self.feedbacks)
        return tuple(section.relation for section in sections if section is not None and section.relation is not None)

    @property
    def counts_feedback(self) -> bool:
        """Whether `feedback_stats` is made of the feedback, because the runs have no such column."""
        has_keys = self.feedbacks is not None and "key" in self.feedbacks.columns
        return has_keys and self.dialect.counts_feedback and "feedback_stats" not in self.usable()[0].fields

    @property
    def names_tenants(self) -> bool:
        """Whether the store says whose its projects are, by a column of them or of the runs."""
        if self.mapping.tenant is not None:
            return False
        of_projects = self.projects is not None and "tenant_id" in self.projects.columns
        return of_projects or (self.runs is not None and self.runs.tenant is not None)

    def usable(self) -> tuple[RunsPlan, ProjectsPlan]:
        """The parts that an export needs; raises `SourceUnusableError` with all problems at once."""
        if self.problems or self.runs is None or self.projects is None:
            raise SourceUnusableError(
                f"the trace store cannot be read: {'; '.join(self.problems)}; correct {PREFIX}SOURCE_URL, or name its "
                f"tables and columns in {PREFIX}MAPPING"
            )
        return self.runs, self.projects


class _Resolver:
    """Finds the columns of one relation and gathers what is wrong."""

    def __init__(self, plan: Plan, catalog: Catalog, *, section: str, relation: Relation, alias: str) -> None:
        self._plan, self._catalog = plan, catalog
        self._section, self._relation, self._alias = section, relation, alias
        self.plain = True
        self.used: dict[str, None] = {}

    def find(self, key: str, ref: ColumnRef, *, must: bool, kind: Kind = Kind.TEXT) -> Column | None:
        """The column that `ref` means; None where there is none, which is a problem only if it must be there."""
        column = None if ref is None else self._found(key, ref, must=must)
        return None if column is None else self._plan.dialect.opened(column, kind)

    def _found(self, key: str, ref: str | Expression, *, must: bool) -> Column | None:
        if isinstance(ref, Expression):
            self.plain = False
            column = self._catalog.expression(self._relation, alias=self._alias, sql=ref.sql)
            if isinstance(column, str):
                self._plan.problems.append(f"{self._section}.{key}: the expression {ref.sql!r} fails: {column}")
                return None
            return self._plan.dialect.column(column.sql, column.type, column.detail)
        name = self._exact(ref)
        if name is None or name in self._relation.forbidden:
            self._absent(key, ref, must=must, forbidden=name is not None)
            return None
        self.used[name] = None
        dialect = self._plan.dialect
        return dialect.column(f"{self._alias}.{dialect.quote(name)}", self._relation.columns[name], f"column {name}")

    def plain_name(self, column: Column) -> str | None:
        """The name of the relation's column that this is; None for an expression."""
        quote = self._plan.dialect.quote
        wanted = column.indexed or column.sql
        return next((name for name in self._relation.columns if f"{self._alias}.{quote(name)}" == wanted), None)

    def _exact(self, ref: str) -> str | None:
        if ref in self._relation.columns:
            return ref
        if self._plan.dialect.name == "sqlite":
            return next((name for name in self._relation.columns if name.lower() == ref.lower()), None)
        return None

    def _absent(self, key: str, ref: str, *, must: bool, forbidden: bool) -> None:
        label = self._relation.label
        if forbidden:
            text = f"{self._section}.{key}: no right to read the column {ref} of {label}; grant SELECT on it"
            (self._plan.problems if must else self._plan.warnings).append(text)
        elif must:
            close = difflib.get_close_matches(ref, self._relation.columns, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            self._plan.problems.append(f"{self._section}.{key}: {label} has no column {ref}{hint}")


def make_plan(mapping: Mapping, catalog: Catalog, dialect: Dialect, *, workspace: str = "") -> Plan:
    """Holds the mapping against the database; problems are gathered, not raised.

    `workspace` is the tenant of what names none.
    """
    plan = Plan(dialect, mapping, workspace)
    _plan_listed_projects(plan, catalog)
    _plan_runs(plan, catalog)
    _plan_projects_of_runs(plan, catalog)
    plan.problems.sort(key=lambda problem: not problem.startswith("runs"))
    if mapping.feedbacks is not None:
        _plan_feedbacks(plan, catalog, mapping.feedbacks)
    plan.warnings += [warning for relation in plan.relations for warning in relation.warnings]
    return plan


def _plan_runs(plan: Plan, catalog: Catalog) -> None:
    runs = plan.mapping.runs
    named = runs.named("runs")
    relation = catalog.relation(named)
    if not isinstance(relation, Relation):
        plan.problems.append(f"runs: {relation or f'{named} does not exist'}")
        return
    resolver = _Resolver(plan, catalog, section="runs", relation=relation, alias="r")
    fields: dict[str, Column] = {}
    for item in RUN_FIELDS:
        if item.name in {"tenant_id", "feedbacks"} and item.name not in runs.fields:
            continue
        must = item.name in REQUIRED_FIELDS or item.name in runs.fields
        ref = runs.fields.get(item.name, item.name)
        key = f"fields.{item.name}" if item.name in runs.fields else item.name
        column = resolver.find(key, ref, must=must, kind=item.kind)
        if column is not None and (complaint := plan.dialect.complaint(item, column)):
            plan.problems.append(f"runs.{item.name}: {column.detail} {complaint}")
        elif column is not None:
            fields[item.name] = column
    extras = {
        key: resolver.find(key, getattr(runs, key), must=is_explicit(runs, key), kind=kind) for key, kind in _EXTRAS
    }
    tenant = _tenant(plan, catalog, resolver, relation=relation)
    if any(name not in fields for name in REQUIRED_FIELDS):
        return
    identity = _identity(resolver, runs, fields, relation=relation)
    if identity is None:
        return
    ancestors = _ancestors(fields, relation, plan, tenant=tenant)
    builds_paths = _add_place(fields, relation, plan, tenant=tenant, ancestors=ancestors)
    plan.runs = RunsPlan(
        relation=relation,
        fields=fields,
        tenant=tenant,
        identity=identity,
        plain=resolver.plain,
        columns=tuple(resolver.used),
        builds_paths=builds_paths,
        ancestors=ancestors,
        **extras,
    )


_EXTRAS = (
    ("deleted", Kind.FLAG),
    ("inserted_at", Kind.TIME),
    ("modified_at", Kind.TIME),
    ("digest", Kind.COUNT),
)
_TELL_APART = ("session_id", "trace_id", "tenant_id")
"""What may be in a run's key beside its id. Any other column of a unique key tells versions of a run apart."""


def _identity(
    resolver: _Resolver, runs: RunsMapping, fields: dict[str, Column], *, relation: Relation
) -> Identity | None:
    """What the mapping says, else the smallest unique key, else the id within the project; None: it says it wrong."""
    if runs.id_is_unique:
        return Identity((fields["id"],), within_project=False, unique=True, label="id")
    keys = [index.columns for index in relation.indexes if index.unique and runs.id_is_unique is None]
    named = {"id": fields["id"]}
    for name in _TELL_APART if runs.identity is None else runs.identity:
        if name in fields:
            named[name] = fields[name]
        elif runs.identity is not None or any(name in key for key in keys):
            resolved = resolver.find("identity", name, must=runs.identity is not None, kind=Kind.ID)
            if resolved is not None:
                named[name] = resolved
            elif runs.identity is not None:
                return None
    by_column = {resolver.plain_name(column): name for name, column in named.items()}
    unique = [{by_column[column] for column in key} for key in keys if by_column.keys() >= set(key)]
    if runs.identity is None:
        chosen = min((key for key in unique if "id" in key), key=len, default={"session_id", "id"})
        is_unique = chosen in unique
    else:
        chosen, is_unique = set(named), bool(unique)
    return Identity(
        columns=tuple(column for name, column in named.items() if name in chosen and name != "session_id"),
        within_project="session_id" in chosen,
        unique=is_unique,
        label=" and ".join(name for name in named if name in chosen),
    )


def _tenant(plan: Plan, catalog: Catalog, resolver: _Resolver, *, relation: Relation) -> Column | None:
    """The column that says whose a run is; none where the mapping or a table of projects without it says otherwise."""
    projects, runs = plan.mapping.projects, plan.mapping.runs
    if plan.mapping.tenant is not None or not (projects.from_runs or plan.names_tenants):
        return None
    if not projects.from_runs or not is_explicit(projects, "tenant_id"):
        return resolver.find("tenant_id", runs.tenant_id, must=is_explicit(runs, "tenant_id"), kind=Kind.ID)
    of_projects = _Resolver(plan, catalog, section="projects", relation=relation, alias="r")
    column = of_projects.find("tenant_id", projects.tenant_id, must=True, kind=Kind.ID)
    resolver.used |= of_projects.used
    resolver.plain &= of_projects.plain
    return column


def _ancestors(fields: dict[str, Column], relation: Relation, plan: Plan, *, tenant: Column | None) -> Ancestors | None:
    """How ancestors are found; None where no key finds a run by its id."""
    names = {name: f"r.{plan.dialect.quote(name)}" for name in relation.columns}
    keys = [{names.get(name) for name in each.columns} for each in relation.indexes if each.unique]
    own = fields["id"].sql
    by_id = {own} in keys
    if not by_id and {own, fields["session_id"].sql} not in keys:
        return None
    # Where only projects say whose they are, those of others cannot be told from one's own.
    return Ancestors(within_project=not by_id or (tenant is None and plan.names_tenants))


def _add_place(
    fields: dict[str, Column],
    relation: Relation,
    plan: Plan,
    *,
    tenant: Column | None,
    ancestors: Ancestors | None,
) -> bool:
    """Makes ids that refer to runs those of `id`; adds `dotted_order`, and says so, where there are only parents."""
    own = fields["id"]
    for name in ("trace_id", "parent_run_id"):
        if name in fields:
            fields[name] = plan.dialect.reference(fields[name], own)
    if "dotted_order" in fields or "parent_run_id" not in fields:
        return False
    fields["dotted_order"] = path_column(
        plan.dialect,
        relation,
        fields,
        tenant=tenant,
        upwards=ancestors is not None,
        within_project=ancestors is not None and ancestors.within_project,
    )
    return True


def indexes_on(relation: Relation, plan: Plan, *columns: Column) -> list[Index]:
    """The indexes whose first key columns are these; of sparse ones those that have the last of these."""
    names = {f"r.{plan.dialect.quote(name)}": name for name in relation.columns}
    wanted = tuple(names.get(column.indexed or column.sql) for column in columns)
    if plan.dialect.keys_are_sparse:
        return [index for index in relation.indexes if wanted[-1] in index.columns]
    return [index for index in relation.indexes if index.columns[: len(wanted)] == wanted]


def _plan_projects_of_runs(plan: Plan, catalog: Catalog) -> None:
    projects = plan.mapping.projects
    if projects.from_runs and plan.runs is not None:
        keys = ("name", "start_time", "reference_dataset_id")
        resolver = _Resolver(plan, catalog, section="projects", relation=plan.runs.relation, alias="r")
        columns = _find(resolver, projects, [key for key in keys if is_explicit(projects, key)])
        plan.projects = ProjectsPlan(None, columns)


def _plan_listed_projects(plan: Plan, catalog: Catalog) -> None:
    projects = plan.mapping.projects
    if projects.from_runs:
        return
    named = projects.named("sessions")
    relation = catalog.relation(named)
    if not isinstance(relation, Relation):
        plan.problems.append(f"projects: {relation or f'{named} does not exist'}")
        return
    resolver = _Resolver(plan, catalog, section="projects", relation=relation, alias="s")
    keys = ["name", "tenant_id", "start_time", "reference_dataset_id"]
    columns = _find(resolver, projects, keys, must=("id", "name"))
    if {"id", "name"} <= columns.keys():
        plan.projects = ProjectsPlan(relation, columns)


def _plan_feedbacks(plan: Plan, catalog: Catalog, feedbacks: FeedbacksMapping) -> None:
    named = feedbacks.named("feedbacks")
    relation = catalog.relation(named)
    if not isinstance(relation, Relation):
        if relation is not None or feedbacks.table is not None:
            plan.problems.append(f"feedbacks: {relation or f'{named} does not exist'}")
        return
    resolver = _Resolver(plan, catalog, section="feedbacks", relation=relation, alias="f")
    keys = ["trace_id", "session_id", "id", "key", "score", "value", "given_at", "created_at", "modified_at"]
    keys += ["tenant_id"] if plan.names_tenants else []
    columns = _find(resolver, feedbacks, keys, must=("run_id",))
    if "trace_id" in columns and plan.runs is not None and not {"trace_id", "parent_run_id"} <= plan.runs.fields.keys():
        plan.problems.append("feedbacks.trace_id is about root runs, and the runs lack a trace_id or a parent_run_id")
    elif "run_id" in columns:
        if plan.runs is not None:
            columns["run_id"] = plan.dialect.reference(columns["run_id"], plan.runs.fields["id"])
        plan.feedbacks = FeedbacksPlan(relation, columns)


def _kind(key: str) -> Kind:
    if key.endswith("id"):
        return Kind.ID
    return Kind.TIME if key.endswith(("_at", "_time")) else Kind.TEXT


def _find(
    resolver: _Resolver,
    section: ProjectsMapping | FeedbacksMapping | BaseModel,
    keys: list[str],
    must: tuple[str, ...] = (),
) -> dict[str, Column]:
    columns = {
        key: resolver.find(key, getattr(section, key), must=key in must or is_explicit(section, key), kind=_kind(key))
        for key in dict.fromkeys((*must, *keys))
    }
    return {key: column for key, column in columns.items() if column is not None}
