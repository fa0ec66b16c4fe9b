"""The queries over a plan in ClickHouse, which has no snapshot across statements: what belongs together is one SELECT.

Versions of a run that the engine does not merge by itself are looked for in the window, the day before it and the day
after it: no key of a table finds a run by its id, and looking everywhere would read the whole project for each day.
Subqueries are not correlated, for then ClickHouse would read a table twice.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from typing_extensions import override

from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.schema import DEFAULT_FIELDS, FIELD_BY_NAME, RUN_FIELDS
from export_pipeline.runs.times import microseconds
from export_pipeline.runs.window import Window
from export_pipeline.sources.clickhouse.dialect import ClickhouseDialect
from export_pipeline.sources.clickhouse.feedback import PAIRS, RECORDS, STATS, Feedback
from export_pipeline.sources.clickhouse.filter import Narrowing
from export_pipeline.sources.clickhouse.tree import Tree
from export_pipeline.sources.protocol import UNASSIGNED, ProjectKey
from export_pipeline.sources.sql.dialect import Column
from export_pipeline.sources.sql.filter import FilterSql
from export_pipeline.sources.sql.filter_rows import FEEDBACK, fields_read
from export_pipeline.sources.sql.plan import Plan, ProjectsPlan
from export_pipeline.sources.sql.queries import Output, RunQueries
from export_pipeline.sources.sql.times import DAY_MICROS

_VERSION = "`export pipeline version`"
_NEWEST = "`export pipeline newest`"
_SMALL = [field.name for field in RUN_FIELDS if not field.payload and field.name not in {"id", "start_time"}]


Place = tuple[int, int]
"""Where a row is among those of a window: its instant, and a hash of its id and of what makes it newer than others.

Rows that agree in both share a place.
"""


@dataclass(frozen=True)
class DaySql:
    """The SELECT of a window: first the outputs that are not None, then these columns in this order.

    Whether the row is the newest version of its run, and a number that all of them have in common (both only with
    `versions`); the instant of its last change; a hash of what is watched (only with `digest`); count and newest change
    of its feedback (only with `feedback`); what the filter reads; the hash of its place (only where fields fail).
    """

    sql: str
    outputs: Sequence[Output]
    versions: bool
    digest: bool
    feedback: bool
    filtered: Sequence[str]


class ClickhouseQueries(RunQueries):
    """The queries in ClickHouse's words."""

    def __init__(self, plan: Plan, project: ProjectKey, *, tree: Filter | None = None) -> None:
        assert isinstance(plan.dialect, ClickhouseDialect)  # noqa: S101
        self._words_of_clickhouse = plan.dialect
        super().__init__(plan, project, tree=tree)

    @property
    def tree(self) -> Filter | None:
        """The filter, which whoever reads the rows has to judge."""
        return self._tree

    @override
    def _compiled(self, tree: Filter) -> FilterSql:
        narrowing = Narrowing(self._words_of_clickhouse, self._runs.fields.get)
        read = {name: column for name, column in self._runs.fields.items() if name in fields_read(tree)}
        columns = tuple(column.plain for column in read.values())
        return FilterSql(narrowing.condition(tree) or "1 = 1", fields=frozenset(read), columns=columns)

    @override
    def _is_listed(self, projects: ProjectsPlan, *, owner: str | None = None) -> str:
        assert projects.relation is not None  # noqa: S101
        listed = f"COALESCE({self._dialect.id(projects.columns['id'])}, '')"
        mine = f"COALESCE({self._dialect.id(self._runs.fields['session_id'])}, '')"
        if owner is not None:
            listed, mine = f"{listed}, {owner}", f"({mine}, COALESCE({self._named_tenant}, ''))"
        named = f"COALESCE({self._dialect.id(projects.columns['id'])}, '') NOT IN ('', '{UNASSIGNED}')"
        return f"({mine} IN (SELECT {listed} FROM {projects.relation.from_('s')} WHERE {named}))"

    @override
    def _from_where(self, window: Window | None, *, exactly: bool = True, wide: bool = False) -> tuple[str, str]:
        conditions = [*filter(None, self._chosen(window)), *self._not_deleted(), *self._matching()]
        if self._runs.identity.unique:
            return f"FROM {self.source}", " AND ".join(conditions)
        return f"FROM ({self._numbered(window)}) AS r", " AND ".join([*conditions, f"({self._is_first} = 1)"])

    @property
    def _is_first(self) -> str:
        """Whether a numbered row is the one that counts, as 1 or 0."""
        return f"if(r.{_VERSION} = 1 OR {self._id.sql} IS NULL, 1, 0)"

    def _numbered(self, window: Window | None) -> str:
        """The rows among which versions are looked for, numbered newest first."""
        order = ", ".join([f"{rank} DESC" for rank in self._ranks()] + self._small_order())
        return (
            f"SELECT {self._narrow_columns()}, row_number() OVER (PARTITION BY {', '.join(self._apart())} "
            f"ORDER BY {order}) AS {_VERSION} FROM {self.source} WHERE {self._reach(window)}"
        )

    def _reach(self, window: Window | None) -> str:
        whose = self._whose()
        if window is None:
            return whose
        return self.start.near(
            microseconds(window.start) - DAY_MICROS, microseconds(window.end) + DAY_MICROS, also=whose
        )

    def _whose(self) -> str:
        """The condition for rows that may belong together: the project's, or the tenant's where ids tell runs apart."""
        if self._runs.identity.within_project or self.project.id == UNASSIGNED:
            return self._project
        tenant = self.project.tenant
        return "1 = 1" if tenant is None else self._is_tenants(tenant, self.project.untold)

    def _apart(self) -> list[str]:
        """What two versions of a run have in common; never null."""
        columns = list(self._runs.identity.columns)
        if self._runs.identity.within_project and self.project.id == UNASSIGNED:
            columns.append(self._runs.fields["session_id"])
        return [f"COALESCE({self._dialect.id(column)}, '')" for column in columns]

    def _ranks(self) -> list[str]:
        """What makes a version newer than another; never null. Of those that agree a deleted one is the newest."""
        times = (self._time(self._runs.modified_at), self._time(self._runs.inserted_at), self.start)
        deleted = [] if self._runs.deleted is None else [f"toUInt8({self._dialect.truth(self._runs.deleted)})"]
        return [*(time.rank for time in times if time is not None), *deleted]

    def _small_order(self) -> list[str]:
        """Columns alone: an expression may read payloads, of every row among which versions are looked for."""
        small = {name: self._runs.fields[name] for name in _SMALL if name in self._runs.fields}
        built = {"dotted_order"} if self._runs.builds_paths else set()
        plain = (name for name, column in small.items() if column.detail != "expression" and name not in built)
        return [self._dialect.order(small[name]) for name in plain]

    @override
    def _narrow_columns(self) -> str:
        fields = self._runs.fields
        if not self._runs.plain:
            return "r.*"
        small = (fields[name].plain for name in _SMALL if name in fields)
        return ", ".join(dict.fromkeys((super()._narrow_columns(), *small)))

    def _superseded(self, window: Window) -> str:
        """A subquery of the versions that are not the newest; mostly it is empty."""
        keys = [*self._apart(), *self._ranks()]
        named = ", ".join(f"{key} AS k{place}" for place, key in enumerate(keys))
        apart = ", ".join(f"k{place}" for place in range(len(self._apart())))
        newest = ", ".join(f"k{place} DESC" for place in range(len(self._apart()), len(keys)))
        rows = f"SELECT {named} FROM {self.source} WHERE {self._reach(window)} AND {self._id.sql} IS NOT NULL"
        ranked = f"SELECT *, rank() OVER (PARTITION BY {apart} ORDER BY {newest}) AS v FROM ({rows})"
        return f"SELECT {', '.join(f'k{place}' for place in range(len(keys)))} FROM ({ranked}) WHERE v > 1"

    def _is_newest(self, window: Window) -> str:
        """Rows that agree in all ranks are all newest: they come one after the other, and the first counts."""
        keys = ", ".join([*self._apart(), *self._ranks()])
        return f"({self._id.sql} IS NULL OR ({keys}) NOT IN ({self._superseded(window)}))"

    def day(self, window: Window, fields: Collection[str] | None, failing: Mapping[str, Collection[Place]]) -> DaySql:
        """Everything about the rows of a window: the one SELECT. At the places at which a field fails it is null."""
        versions, feedbacks = not self._runs.identity.unique, self.plan.feedbacks
        filtered = self._filtered()
        streamed = (self._without_failing(output, failing) for output in self._streamed(fields))
        outputs = [replace(output, sql=self._sent(output)) for output in streamed]
        modified = self._time(self._runs.modified_at)
        columns = [f"{output.sql} AS `{output.field.name} out`" for output in outputs if output.sql is not None]
        if versions:
            columns += [f"{self._is_newest(window)} AS {_NEWEST}", f"cityHash64({', '.join(self._apart())}) AS `run`"]
        columns.append(f"{'CAST(NULL AS Nullable(Int64))' if modified is None else modified.instant} AS `changed`")
        if self._runs.digest is not None:
            columns.append(f"toInt64({self._dialect.hash(self._runs.digest)}) AS `digest`")
        columns += ["k.records AS `records`", "k.newest AS `newest record`"] if feedbacks is not None else []
        columns += [f"{sql} AS `filter {name}`" for name, sql in filtered.items()]
        columns += [f"{self._place_hash} AS `place`"] if failing else []
        order = [self.start.instant, self._dialect.order(self._id)]
        order += [*self._apart(), *self._small_order()] if versions else []
        conditions = [*filter(None, self._chosen(window)), *self._not_deleted(), *self._matching()]
        sql = (
            f"SELECT {', '.join(columns)} FROM {self.source}{self._joined(window, outputs)} "
            f"WHERE {' AND '.join(conditions)} ORDER BY {', '.join(order)}"
        )
        has_digest = self._runs.digest is not None
        return DaySql(sql, outputs, versions, has_digest, feedbacks is not None, tuple(filtered))

    def _streamed(self, fields: Collection[str] | None) -> list[Output]:
        """The outputs; feedback, and a path that is built, come out of joins."""
        outputs = {output.field.name: output for output in self.outputs(fields)}
        joined = {}
        if outputs["feedbacks"].sql and "feedbacks" not in self._runs.fields:
            joined["feedbacks"] = RECORDS
        if self.plan.counts_feedback and "feedback_stats" in (DEFAULT_FIELDS if fields is None else fields):
            joined["feedback_stats"] = STATS
        if outputs["dotted_order"].sql and self._runs.builds_paths:
            joined["dotted_order"] = self._tree_sql().path
        return [replace(output, sql=joined.get(name, output.sql)) for name, output in outputs.items()]

    @property
    def expressions(self) -> frozenset[str]:
        """The fields that are expressions of the mapping, but for those that rows are chosen and ordered by."""
        ruling = {"id", "session_id", "start_time"}
        return frozenset(name for name, column in self._runs.fields.items() if column.detail == "expression") - ruling

    @property
    def _place_hash(self) -> str:
        own = f"COALESCE({self._dialect.id(self._id)}, '')"
        return f"cityHash64({', '.join([own, *self._ranks()])})"

    def _without_failing(self, output: Output, failing: Mapping[str, Collection[Place]]) -> Output:
        """An expression is evaluated only where the condition before it is false."""
        if output.sql is None or output.field.name not in failing:
            return output
        places = ", ".join(map(str, failing[output.field.name]))
        place = f"({self.start.instant}, {self._place_hash})"
        return replace(output, sql=f"if({place} IN ({places}), NULL, {output.sql})")

    def places(self, window: Window) -> str:
        """The places of all rows of a window, in order."""
        conditions = [*filter(None, self._chosen(window)), *self._not_deleted(), *self._matching()]
        columns = f"{self.start.instant} AS `instant`, {self._place_hash} AS `place`"
        return f"SELECT {columns} FROM {self.source} WHERE {' AND '.join(conditions)} ORDER BY `instant`, `place`"

    def trial(self, first: Place, last: Place, fields: Collection[str]) -> str:
        """A query that fails where, between two places, one of the fields does, or what rows are chosen by."""
        span = first[0], last[0] + 1
        place = f"({self.start.instant}, {self._place_hash})"
        conditions = [self.start.near(*span, also=self._project), self.start.exact(*span), *self._not_deleted()]
        conditions += [*self._matching(), f"{place} >= {first}", f"{place} <= {last}"]
        cells = [self._dialect.raw(FIELD_BY_NAME[name], self._runs.fields[name]) for name in fields]
        cells += [sql for name, sql in self._filtered().items() if name in self.expressions]
        hashed = [f"groupBitXor(cityHash64({cell}))" for cell in cells]
        where = " AND ".join(filter(None, conditions))
        return f"SELECT {', '.join(['count(*)', *hashed])} FROM {self.source} WHERE {where}"

    def at(self, place: Place) -> str:
        """The id of a row at a place."""
        span = place[0], place[0] + 1
        conditions = [self.start.near(*span, also=self._project), f"{self._place_hash} = {place[1]}"]
        return f"SELECT {self._dialect.id(self._id)} FROM {self.source} WHERE {' AND '.join(conditions)} LIMIT 1"

    def _sent(self, output: Output) -> str | None:
        """The payloads of versions that are not the newest are not sent."""
        if output.sql is None or self._runs.identity.unique or not output.field.payload:
            return output.sql
        return f"if({_NEWEST}, {output.sql}, NULL)"

    def _filtered(self) -> dict[str, str]:
        """What the filter reads, by field."""
        if self.matching is None or self._tree is None:
            return {}
        cells = {name: self._cell(name, self._runs.fields[name]) for name in sorted(self.matching.fields)}
        feedbacks = self.plan.feedbacks
        if FEEDBACK in fields_read(self._tree) and feedbacks is not None and "key" in feedbacks.columns:
            cells[FEEDBACK] = PAIRS
        return cells

    def _cell(self, name: str, column: Column) -> str:
        if name == "dotted_order" and self._runs.builds_paths:
            return self._tree_sql().path
        return self.start.raw if name == "start_time" else self._dialect.raw(FIELD_BY_NAME[name], column)

    def _tree_sql(self) -> Tree:
        newest = () if self._runs.identity.unique else tuple(self._ranks())
        return Tree(self._dialect, self._runs.fields, self.source, newest)

    def _joined(self, window: Window, outputs: Sequence[Output] = ()) -> str:
        """The joins of a row with its path, as p, and with what is known of its feedback, as k."""
        asked = {output.field.name for output in outputs if output.sql} | self._filtered().keys()
        with_path = self._runs.builds_paths and "dotted_order" in asked
        return (self._with_path(window) if with_path else "") + self._with_feedback(window, outputs)

    def _with_path(self, window: Window) -> str:
        low, high = microseconds(window.start), microseconds(window.end)
        near, exact = self._chosen(window)
        ancestors = self.start.near(low - DAY_MICROS, high, also=self._whose())
        return self._tree_sql().join(rows=" AND ".join(filter(None, (near, exact))), ancestors=ancestors)

    def _with_feedback(self, window: Window, outputs: Sequence[Output]) -> str:
        feedbacks = self.plan.feedbacks
        if feedbacks is None:
            return ""
        asked = {output.field.name for output in outputs if output.sql} | self._filtered().keys()
        joined = Feedback(self._words_of_clickhouse, self._runs, feedbacks, frozenset(asked - self._runs.fields.keys()))
        project, whose = feedbacks.columns.get("session_id"), self._is_of_tenant()
        if project is not None and self.project.id != UNASSIGNED:
            whose = [self._dialect.is_project(project, self.project.id), *whose]
        return joined.join(source=self.source, rows=self._chosen(window)[0], whose=whose, since=window.start)

    def counts(self, window: Window, *, since: datetime | None = None) -> tuple[str, Sequence[str]]:
        """Rows of day number, kept (1) or superseded (0), what the filter reads, and then what is counted.

        That is the count, the newest change and the digest of the rows, count and newest change of their feedback; with
        `since` only of rows that changed after it. With the names of what the filter reads.
        """
        filtered, modified = self._filtered(), self._time(self._runs.modified_at)
        kept, source = "1", f"FROM {self.source}"
        if not self._runs.identity.unique:
            kept, source = self._is_first, f"FROM ({self._numbered(window)}) AS r"
        keys = {"day": self.start.day, "kept": kept, **{f"filter {name}": sql for name, sql in filtered.items()}}
        conditions = [*filter(None, self._chosen(window)), *self._not_deleted(), *self._matching()]
        if since is not None and modified is not None:
            conditions.append(f"{modified.instant} > {microseconds(since)}")
        null = "CAST(NULL AS Nullable(Int64))"
        digest = null if self._runs.digest is None else f"toInt64(sum({self._dialect.hash(self._runs.digest)}))"
        counted = ["count(*)", null if modified is None else modified.newest, digest]
        has_feedback = self.plan.feedbacks is not None and since is None
        counted += ["sum(k.records)", "maxOrNull(k.newest)"] if has_feedback else [null, null]
        joined = self._joined(window) if has_feedback or filtered else ""
        named = ", ".join([f"{sql} AS `{name}`" for name, sql in keys.items()])
        sql = (
            f"SELECT {named}, {', '.join(counted)} {source}{joined} WHERE {' AND '.join(conditions)} "
            f"GROUP BY {', '.join(f'`{name}`' for name in keys)}"
        )
        return sql, tuple(filtered)
