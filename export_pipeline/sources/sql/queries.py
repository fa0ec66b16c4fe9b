"""The queries over a plan, in the words of its dialect. Every SELECT of run rows is made here.

*Kept* rows are those that count: of the versions of a run (`plan.Identity`) only the one with the greatest
`modified_at` (then `inserted_at`, then `start_time`, then the row's place), wherever the others lie, and no rows marked
deleted. The other versions that are not marked deleted are *superseded*. A filter is asked about kept rows only, and
about superseded ones where they are counted. The relation of runs is always aliased r, also where subqueries have one
of their own.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.schema import DEFAULT_FIELDS, FIELD_BY_NAME, RUN_FIELDS, RunField
from export_pipeline.runs.times import microseconds
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import UNASSIGNED, ProjectKey
from export_pipeline.sources.sql.dialect import Column, TimeSql
from export_pipeline.sources.sql.filter import FilterSql, compile_filter
from export_pipeline.sources.sql.filter_words import FilterWords
from export_pipeline.sources.sql.plan import FeedbacksPlan, Plan, ProjectsPlan

NAMED_KEYS = 7

_VERSION = "export pipeline version"
_SMALL = frozenset(field.name for field in RUN_FIELDS if not field.payload and field.name != "start_time")


@dataclass(frozen=True)
class Output:
    """A raw column: its expression, or None where the store has none or it was not asked for."""

    field: RunField
    sql: str | None


class RunQueries:
    """SQL for one project's runs; the project's key is bound by the session (`Dialect.is_project`).

    `matching` is the condition of the filter, whose values are bound by the session too.
    """

    def __init__(
        self, plan: Plan, project: ProjectKey, *, tree: Filter | None = None, words: FilterWords | None = None
    ) -> None:
        self._runs, _ = plan.usable()
        self.plan, self.project, self._dialect = plan, project, plan.dialect
        self._tree, self._words = tree, words
        self._id = self._runs.fields["id"]
        self.matching = None if tree is None else self._compiled(tree)
        self._project = self._is_project(project)
        self.start = self._dialect.time(self._runs.fields["start_time"])

    def _compiled(self, tree: Filter) -> FilterSql:
        assert self._words is not None  # noqa: S101
        return compile_filter(tree, plan=self.plan, words=self._words, is_feedback=self._is_feedback())

    def over(self, plan: Plan) -> "RunQueries":
        """The same queries over another plan; values are bound under the same numbers."""
        return RunQueries(plan, self.project, tree=self._tree, words=self._words)

    @property
    def asked(self) -> frozenset[str]:
        """The fields that the filter reads."""
        return frozenset() if self.matching is None else self.matching.fields

    def _is_project(self, project: ProjectKey) -> str:
        if project.id == UNASSIGNED:
            return self.unassigned
        condition = self._dialect.is_project(self._runs.fields["session_id"], project.id)
        return (
            condition
            if project.tenant is None
            else f"{condition} AND {self._is_tenants(project.tenant, project.untold)}"
        )

    def _is_tenants(self, tenant: str, untold: bool) -> str:
        """The condition that a run is the tenant's. Where runs do not say whose they are, all are untold."""
        column = self._runs.tenant
        if column is None:
            return "1 = 1" if untold else "1 = 0"
        own = self._dialect.is_tenant(column, tenant)
        return f"({own} OR {self._dialect.is_empty(column)})" if untold else own

    @property
    def unassigned(self) -> str:
        """The condition that a run belongs to no project, and names no other workspace than what names none has.

        Its project's id is null, empty, or no project's id.
        """
        tenant = self._runs.tenant
        if tenant is None:
            return self._without_project
        named = f"COALESCE({self._dialect.canonical_id(tenant)}, {self._default})"
        return f"{self._without_project} AND {named} = {self._default}"

    @property
    def _without_project(self) -> str:
        column, (_, projects) = self._runs.fields["session_id"], self.plan.usable()
        if projects.relation is None:
            return f"({self._dialect.is_empty(column)} OR {self._dialect.id(column)} = '{UNASSIGNED}')"
        return f"NOT {self._is_listed(projects)}"

    def _is_listed(self, projects: ProjectsPlan, *, owner: str | None = None) -> str:
        """Whether the store lists a run's project; of the workspace that the run names, where `owner` is the project's.

        Nobody's rows are not to be had by whoever writes their project's name into the store.
        """
        assert projects.relation is not None  # noqa: S101
        id_ = projects.columns["id"]
        same = self._dialect.same(id_, self._runs.fields["session_id"])
        whose = "" if owner is None else f" AND {owner} = {self._named_tenant}"
        return (
            f"EXISTS (SELECT 1 FROM {projects.relation.from_('s')} "
            f"WHERE {same} AND {self._dialect.id(id_)} <> '{UNASSIGNED}'{whose})"
        )

    @property
    def _named_tenant(self) -> str:
        assert self._runs.tenant is not None  # noqa: S101
        return self._dialect.canonical_id(self._runs.tenant)

    @property
    def _default(self) -> str:
        return f"'{self.plan.workspace}'"

    def foreign(self) -> str | None:
        """Rows of tenant, count, count of all, for rows that name a tenant which does not have their project.

        None where rows name no tenant.
        """
        tenant, (_, projects) = self._runs.tenant, self.plan.usable()
        if tenant is None:
            return None
        named = self._named_tenant
        if projects.relation is None:
            where = f"{self._without_project} AND {named} <> {self._default}"
        else:
            owner = f"COALESCE({self._dialect.canonical_id(projects.columns['tenant_id'])}, {self._default})"
            where = (
                f"NOT {self._is_listed(projects, owner=owner)} "
                f"AND ({named} <> {self._default} OR NOT ({self._without_project}))"
            )
        conditions = " AND ".join([f"{named} IS NOT NULL", where, *self._not_deleted()])
        counted = f"SELECT {named} AS tenant, count(*) AS n FROM {self.source} WHERE {conditions} GROUP BY 1"
        return (
            f"SELECT g.tenant, g.n, {self._dialect.whole('sum(g.n) OVER ()')} FROM ({counted}) AS g "
            f"ORDER BY g.n DESC, g.tenant LIMIT {NAMED_KEYS}"
        )

    def _time(self, column: Column | None) -> TimeSql | None:
        return None if column is None else self._dialect.time(column)

    def _chosen(self, window: Window | None) -> tuple[str, str]:
        """Conditions for all versions of the project's rows near the window, and what makes it the window exactly."""
        if window is None:
            return self._project, ""
        low, high = microseconds(window.start), microseconds(window.end)
        return self.start.near(low, high, also=self._project), self.start.exact(low, high)

    def _from_where(self, window: Window | None, *, exactly: bool = True, wide: bool = False) -> tuple[str, str]:
        """`FROM … AS r` and the condition of the rows that count.

        Not `exactly`: with rows near the window too. `wide`: r has the columns of the outputs, not only of the rules.
        """
        runs, (near, exact) = self._runs, self._chosen(window)
        conditions = [near, exact] if exact and exactly else [near]
        conditions += self._not_deleted()
        source = f"FROM {runs.relation.from_('r')}"
        if not runs.identity.unique:
            # Where the database tells rows apart physically (rowid, ctid), versions are numbered over keys alone, and
            # the rows are found again by them: payloads are not sorted. A view or a query has no such thing: there the
            # numbered versions, with the columns that are needed, take the place of r.
            if runs.relation.identity:
                conditions.append(self._newest_by_identity(near))
            else:
                columns = self.columns() if wide else self._narrow_columns()
                source = f"FROM ({self._versions(columns, near)}) AS r"
                conditions.append(self._is_numbered_first)
        conditions += self._matching()
        return source, " AND ".join(conditions)

    @property
    def _is_numbered_first(self) -> str:
        return f'(r."{_VERSION}" = 1 OR {self._id.sql} IS NULL)'

    def _not_deleted(self) -> list[str]:
        return [] if self._runs.deleted is None else [f"NOT {self._dialect.truth(self._runs.deleted)}"]

    def _matching(self) -> list[str]:
        return [] if self.matching is None else [f"({self.matching.condition})"]

    def _with_superseded(self, window: Window) -> str | None:
        """`FROM … AS r WHERE …` over the kept and the superseded rows; None where there are no versions."""
        if self._runs.identity.unique:
            return None
        conditions = [*filter(None, self._chosen(window)), *self._not_deleted(), *self._matching()]
        return f"FROM {self.source} WHERE {' AND '.join(conditions)}"

    def kept(self, window: Window | None) -> str:
        """`FROM … AS r WHERE …` over the rows that count."""
        return " WHERE ".join(self._from_where(window))

    def stream(self, window: Window) -> str:
        """The rows that count, in order, with the columns that the outputs are made of."""
        source, condition = self._from_where(window, wide=True)
        return f"SELECT {self.columns()} {source} WHERE {condition} ORDER BY {', '.join(self.order())}"

    def _newest_by_identity(self, chosen: str) -> str:
        names = self._runs.relation.identity
        keys = ", ".join(f"r.{name}" for name in names)
        aliased = ", ".join(f'r.{name} AS "key {place}"' for place, name in enumerate(names))
        picked = ", ".join(f'v."key {place}"' for place in range(len(names)))
        left = f"({keys})" if len(names) > 1 else keys
        return (
            f"({self._id.sql} IS NULL OR {left} IN "
            f'(SELECT {picked} FROM ({self._versions(aliased, chosen)}) AS v WHERE v."{_VERSION}" = 1))'
        )

    def _versions(self, columns: str, chosen: str) -> str:
        """All versions, wherever they lie, of the ids that have one among the chosen rows, numbered newest first.

        Wherever: a run whose `start_time` was corrected has an older version on another day, and must not be exported
        on both. So a version outside the window may be number 1; then the id has no row within it.

        The order must be total and the same in each snapshot, or a day that nobody has changed would change. Where two
        versions agree in all times the row's place decides, and without one all small columns, by their bytes.
        """
        runs, source = self._runs, self.source
        apart = [self._dialect.bytewise(column) for column in runs.identity.columns]
        if runs.identity.within_project and self.project.id == UNASSIGNED:
            apart.append(self._dialect.bytewise(runs.fields["session_id"]))
        ranks = [
            f"{time.rank} DESC"
            for time in (self._time(runs.modified_at), self._time(runs.inserted_at), self.start)
            if time is not None
        ]
        if runs.relation.identity:
            ranks += [f"r.{name} DESC" for name in runs.relation.identity]
        else:
            ranks += [self._dialect.order(runs.fields[name]) for name in runs.fields if name in _SMALL]
        # Rows without an id are no versions of each other: all of them pass, to be rejected with their reason.
        null_ids = "" if runs.relation.identity else f" OR ({self._id.sql} IS NULL AND {chosen})"
        return (
            f"SELECT {columns}, row_number() OVER (PARTITION BY {', '.join(apart)} ORDER BY {', '.join(ranks)}) "
            f'AS "{_VERSION}" FROM {source} WHERE {self._has_version_among(chosen)}{null_ids}'
        )

    def _has_version_among(self, chosen: str) -> str:
        """The condition that a row has the id of a chosen one, and may be another version of the same run."""
        id_ = self._dialect.bytewise(self._id)
        condition = f"{id_} IN (SELECT {id_} FROM {self.source} WHERE {chosen})"
        if self._runs.identity.within_project or self.project.id == UNASSIGNED:
            return f"{self._project} AND {condition}"
        tenant = self.project.tenant
        return condition if tenant is None else f"{self._is_tenants(tenant, self.project.untold)} AND {condition}"

    @property
    def source(self) -> str:
        """The relation of runs, aliased r."""
        return self._runs.relation.from_("r")

    @property
    def is_plain(self) -> bool:
        """Whether the runs' columns are read as they are, and no expression of a mapping can fail."""
        return self._runs.plain

    @property
    def has_places(self) -> bool:
        """Whether the order is total, so that the same snapshot always gives the rows in the same one."""
        by_id = len(self._runs.identity.columns) == 1 and self.project.id != UNASSIGNED
        return bool(self._runs.relation.identity) or by_id

    @property
    def row_key(self) -> str | None:
        """The one column that tells rows apart and finds them quickly, where there is one."""
        identity = self._runs.relation.identity
        return f"r.{identity[0]}" if len(identity) == 1 else None

    def columns(self) -> str:
        """The columns that the outputs are made of, for an inner SELECT."""
        if not self._runs.plain:
            return "r.*"
        return ", ".join(f"r.{self._dialect.quote(name)}" for name in self._runs.columns)

    def _narrow_columns(self) -> str:
        runs = self._runs
        if not runs.plain:
            return "r.*"
        ruling = [self._id, runs.fields["session_id"], runs.fields["start_time"], *runs.identity.columns]
        ruling += [] if runs.tenant is None else [runs.tenant]
        more = (
            column for column in (runs.deleted, runs.inserted_at, runs.modified_at, runs.digest) if column is not None
        )
        asked = () if self.matching is None else self.matching.columns
        plain = (column.plain for column in (*ruling, *more))
        return ", ".join(dict.fromkeys((*plain, *asked)))

    def sample(self) -> str:
        """One row of whatever project, all fields."""
        outputs = ", ".join(output.sql or "NULL" for output in self.outputs(FIELD_BY_NAME))
        return f"SELECT {outputs} FROM {self._runs.relation.from_('r')} LIMIT 1"

    def order(self) -> list[str]:
        """The sort keys: instant, then id, then the row's place."""
        places = [] if self._runs.identity.is_id else [f"r.{name}" for name in self._runs.relation.identity]
        return [self.start.instant, self._dialect.order(self._id), *places]

    def all_versions(self, window: Window) -> str:
        """The condition for the rows near the window, and every other version of their ids."""
        near, _ = self._chosen(window)
        if self._runs.identity.unique:
            return near
        return f"({self._has_version_among(near)} OR ({self._id.sql} IS NULL AND {near}))"

    def fingerprint(self, window: Window) -> str:
        """One row: count, newest change and digest of the rows that count, and how many with the superseded ones.

        The last three are null where the store does not tell.
        """
        every = self._with_superseded(window)
        total = "NULL" if every is None else f"(SELECT count(*) {every})"
        return f"SELECT count(*), {self._newest()}, {total}, {self._digest()} {self.kept(window)}"

    def total(self, window: Window) -> str | None:
        """One row: how many rows there are with the superseded ones; None where there are no versions."""
        every = self._with_superseded(window)
        return None if every is None else f"SELECT count(*) {every}"

    def keys(self, window: Window) -> str:
        """Rows of row key, instant, instant of the last change, hash, in order; each is computed once."""
        modified = self._time(self._runs.modified_at)
        changed = "NULL" if modified is None else modified.instant
        source, condition = self._from_where(window, exactly=False)
        low, high = microseconds(window.start), microseconds(window.end)
        hashed = "NULL" if self._runs.digest is None else self._dialect.hash(self._runs.digest)
        return (
            f"SELECT found, instant, changed, hashed FROM (SELECT {self.row_key} AS found, "
            f"{self.start.instant} AS instant, {changed} AS changed, {hashed} AS hashed, "
            f"{self._dialect.order(self._id)} AS id {source} WHERE {condition} LIMIT -1) "
            f"WHERE instant >= {low} AND instant < {high} ORDER BY instant, id, found"
        )

    def _newest(self) -> str:
        modified = self._time(self._runs.modified_at)
        return "NULL" if modified is None else modified.newest

    def _digest(self) -> str:
        """A sum, so that the order of the rows does not matter."""
        digest = self._runs.digest
        return "NULL" if digest is None else self._dialect.whole(f"sum({self._dialect.hash(digest)})")

    def days(self, window: Window) -> str:
        """Rows of day number, count, newest change, digest; oldest first."""
        counted = f"{self.start.day}, count(*), {self._newest()}, {self._digest()}"
        return f"SELECT {counted} {self.kept(window)} GROUP BY 1 ORDER BY 1"

    def totals(self, window: Window) -> str | None:
        """Rows of day number and count with the superseded rows; None where there are no versions."""
        every = self._with_superseded(window)
        return None if every is None else f"SELECT {self.start.day}, count(*) {every} GROUP BY 1 ORDER BY 1"

    def set_aside(self) -> str | None:
        """One row: how many rows of the whole store are superseded; None where there are no versions."""
        identity = self._runs.identity
        if identity.unique:
            return None
        columns = [*identity.columns, *([self._runs.fields["session_id"]] if identity.within_project else [])]
        apart = ", ".join(self._dialect.bytewise(column) for column in columns)
        apart += "" if self._runs.tenant is None else f", {self._dialect.canonical_id(self._runs.tenant)}"
        where = " AND ".join([f"{self._id.sql} IS NOT NULL", *self._not_deleted()])
        grouped = f"SELECT count(*) AS versions FROM {self.source} WHERE {where} GROUP BY {apart}"
        return f"SELECT {self._dialect.whole('COALESCE(sum(g.versions - 1), 0)')} FROM ({grouped}) AS g"

    def without_project(self) -> str:
        """Rows of project id, count, count of all, number of ids, for rows of no project: those without an id first."""
        session = self._runs.fields["session_id"]
        where = " AND ".join([self.unassigned, *self._not_deleted()])
        by_key = (
            f"SELECT min({self._dialect.id(session)}) AS named, count(*) AS n FROM {self.source} "
            f"WHERE {where} GROUP BY {self._dialect.bytewise(session)}"
        )
        return (
            f"SELECT g.named, g.n, {self._dialect.whole('sum(g.n) OVER ()')}, count(*) OVER () FROM ({by_key}) AS g "
            f"ORDER BY COALESCE(g.named, '') <> '', g.n DESC, g.named LIMIT {NAMED_KEYS}"
        )

    def changed(self, window: Window, since: datetime) -> str | None:
        """One row: how many rows were changed last after `since`; None without `modified_at`."""
        modified = self._time(self._runs.modified_at)
        if modified is None:
            return None
        return f"SELECT count(*) {self.kept(window)} AND {modified.instant} > {modified.literal(microseconds(since))}"

    def outside(self, window: Window) -> list[str]:
        """Three queries of one count each: rows before the window, from its end on, without a readable start."""
        kept, instant = self.kept(None), self.start.instant
        return [
            f"SELECT count(*) {kept} AND {instant} < {self.start.literal(microseconds(window.start))}",
            f"SELECT count(*) {kept} AND {instant} >= {self.start.literal(microseconds(window.end))}",
            f"SELECT count(*) {kept} AND {instant} IS NULL",
        ]

    def feedback(self, window: Window, *, by_day: bool) -> str | None:
        """Rows of (day number,) count, newest change of the feedback of the rows that count; None without feedback."""
        feedbacks = self.plan.feedbacks
        if feedbacks is None:
            return None
        modified = self._time(feedbacks.columns.get("modified_at"))
        newest = "NULL" if modified is None else modified.newest
        source, condition = self._from_where(window)
        joined = f"{source} JOIN {feedbacks.relation.from_('f')} ON {self._is_feedback()}"
        if not by_day:
            return f"SELECT count(*), {newest} {joined} WHERE {condition}"
        return f"SELECT {self.start.day}, count(*), {newest} {joined} WHERE {condition} GROUP BY 1"

    def _is_feedback(self) -> str:
        """The condition that feedback f is of run r: of its id, and of no other project or tenant."""
        if self.plan.feedbacks is None:
            return "1 = 0"
        columns, dialect = self.plan.feedbacks.columns, self._dialect
        same = dialect.same(columns["run_id"], self._id)
        if (trace := columns.get("trace_id")) is not None:
            of_trace = f"{dialect.is_empty(columns['run_id'])} AND {dialect.same(trace, self._runs.fields['trace_id'])}"
            same = f"({same} OR {of_trace} AND {self._is_root})"
        conditions = [same]
        if (project := columns.get("session_id")) is not None:
            conditions.append(dialect.same(project, self._runs.fields["session_id"]))
        return " AND ".join([*conditions, *self._is_of_tenant()])

    @property
    def _is_root(self) -> str:
        return self._dialect.is_empty(self._runs.fields["parent_run_id"])

    def _is_of_tenant(self) -> list[str]:
        """The condition that feedback f names no other tenant than the project's, where it names any."""
        tenant = None if self.plan.feedbacks is None else self.plan.feedbacks.columns.get("tenant_id")
        if self.project.tenant is None or tenant is None:
            return []
        return [f"({self._dialect.is_tenant(tenant, self.project.tenant)} OR {self._dialect.is_empty(tenant)})"]

    def outputs(self, fields: Collection[str] | None) -> list[Output]:
        """One for each field of the Run schema, in its order. Payloads that were not asked for are not read."""
        wanted = set(DEFAULT_FIELDS if fields is None else fields)
        if "status" in wanted and "status" not in self._runs.fields:
            wanted.add("error")  # a missing status is derived from it
        return [Output(field, self._output(field, wanted)) for field in RUN_FIELDS]

    def _output(self, field: RunField, wanted: set[str]) -> str | None:
        if field.payload and field.name not in wanted:
            return None
        if field.name == "start_time":
            return self.start.raw
        if (column := self._runs.fields.get(field.name)) is not None:
            return self._dialect.raw(field, column)
        if field.name == "feedbacks" and self.plan.feedbacks is not None:
            return self._records(self.plan.feedbacks)
        return None

    def _records(self, feedbacks: FeedbacksPlan) -> str:
        columns = feedbacks.columns
        order = [self._dialect.time(columns["created_at"]).instant] if "created_at" in columns else []
        order += [self._dialect.order(columns["id"])] if "id" in columns else []
        return self._dialect.records(feedbacks.relation, where=self._is_feedback(), order=order)
