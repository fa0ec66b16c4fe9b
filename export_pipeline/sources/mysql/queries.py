"""The queries over a plan in MySQL and MariaDB.

Filters are judged in Python, by the one rule for rows (`sql.filter_rows`): the servers' own readers of JSON and numbers
round, and their collations take different texts for equal. A recursive query cannot name the row that it is made for,
so a path is looked for by one walk upwards for all rows of a window, joined to them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from typing_extensions import override

from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.schema import FIELD_BY_NAME, Kind
from export_pipeline.runs.times import microseconds
from export_pipeline.runs.window import Window
from export_pipeline.sources.mysql.dialect import MysqlDialect
from export_pipeline.sources.mysql.types import NATIVE_TIMES
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql.dialect import Column
from export_pipeline.sources.sql.filter import FilterSql
from export_pipeline.sources.sql.filter_rows import FEEDBACK, fields_read
from export_pipeline.sources.sql.path import MAX_DEPTH, above_of, segment_of
from export_pipeline.sources.sql.plan import FeedbacksPlan, Plan
from export_pipeline.sources.sql.queries import Output, RunQueries

_ALL = 9_223_372_036_854_775_807
"""As a limit it keeps a subquery from being merged, so that it gets a key."""


@dataclass(frozen=True)
class DaySql:
    """The SELECT of a window: first the outputs that are not None, then what the filter reads.

    `instants` are the outputs that come as microseconds, `packed` those that come as bytes.
    """

    sql: str
    outputs: Sequence[Output]
    filtered: Sequence[str]
    instants: frozenset[str]
    packed: frozenset[str]


class MysqlQueries(RunQueries):
    """The queries in MySQL's words."""

    def __init__(self, plan: Plan, project: ProjectKey, *, tree: Filter | None = None) -> None:
        assert isinstance(plan.dialect, MysqlDialect)  # noqa: S101
        self._words_of_mysql = plan.dialect
        super().__init__(plan, project, tree=tree)

    @property
    def tree(self) -> Filter | None:
        """The filter, which whoever reads the rows has to judge."""
        return self._tree

    @property
    def has_versions(self) -> bool:
        """Whether a run may have several rows."""
        return not self._runs.identity.unique

    @override
    def _compiled(self, tree: Filter) -> FilterSql:
        read = {name: column for name, column in self._runs.fields.items() if name in fields_read(tree)}
        return FilterSql("1 = 1", fields=frozenset(read), columns=tuple(column.plain for column in read.values()))

    def day(
        self,
        window: Window,
        fields: Collection[str] | None,
        *,
        first: int = 0,
        count: int | None = None,
        without: Collection[str] = (),
    ) -> DaySql:
        """The rows of a window, or so many from a place on; the fields `without` are null."""
        built = {"dotted_order"} if self._runs.builds_paths else set()
        outputs = [replace(each, sql=self._path) if each.field.name in built else each for each in self.outputs(fields)]
        outputs = [replace(each, sql="NULL") if each.field.name in without else each for each in outputs]
        cells = {name: "NULL" if name in without else sql for name, sql in self._filtered().items()}
        listed = ", ".join([*(each.sql for each in outputs if each.sql is not None), *cells.values()])
        asked = {each.field.name for each in outputs if each.sql is not None} | cells.keys()
        source, condition = self._from_where(window, wide=True)
        joined = self._walk(window) if self._runs.builds_paths and "dotted_order" in asked else ""
        order = f"ORDER BY {', '.join(self.order())}"
        if first or count is not None:
            source = f"FROM {self._rows_at(window, first, count)} AS r"
            condition = "1 = 1"
        sql = f"SELECT {listed} {source}{joined} WHERE {condition} {order}"
        return DaySql(sql, outputs, tuple(cells), self._instants(), self._packed())

    def failing(self, window: Window, first: int, count: int, fields: Collection[str]) -> str:
        """A query that fails where one of the fields does, of so many rows from a place on."""
        counts = [
            f"count({output.sql})" for output in self.outputs(fields) if output.sql and output.field.name in fields
        ]
        return f"SELECT {', '.join(['count(*)', *counts])} FROM {self._rows_at(window, first, count)} AS r"

    def _rows_at(self, window: Window, first: int, count: int | None) -> str:
        return f"({self.stream(window)} LIMIT {_ALL if count is None else count} OFFSET {first})"

    def _instants(self) -> frozenset[str]:
        """The fields that come as microseconds."""
        times = {name for name, column in self._runs.fields.items() if FIELD_BY_NAME[name].kind is Kind.TIME}
        native = {name for name in times if self._runs.fields[name].type in NATIVE_TIMES}
        return frozenset({"start_time", *native})

    def _packed(self) -> frozenset[str]:
        """The fields of bytes, which may hold packed text."""
        return frozenset(
            name
            for name, column in self._runs.fields.items()
            if column.type == "binary" and FIELD_BY_NAME[name].kind is Kind.JSON
        )

    def _filtered(self) -> dict[str, str]:
        """What the filter reads, by field."""
        if self.matching is None or self._tree is None:
            return {}
        cells = {name: self._cell(name, self._runs.fields[name]) for name in sorted(self.matching.fields)}
        feedbacks = self.plan.feedbacks
        if FEEDBACK in fields_read(self._tree) and feedbacks is not None and "key" in feedbacks.columns:
            cells[FEEDBACK] = self._pairs(feedbacks)
        return cells

    def _cell(self, name: str, column: Column) -> str:
        if name == "dotted_order" and self._runs.builds_paths:
            return self._path
        return self.start.raw if name == "start_time" else self._dialect.raw(FIELD_BY_NAME[name], column)

    def _pairs(self, feedbacks: FeedbacksPlan) -> str:
        key, score = feedbacks.columns["key"], feedbacks.columns.get("score")
        number = "NULL" if score is None else self._dialect.text(score)
        pair = f"JSON_ARRAY({self._dialect.text(key)}, {number})"
        return self._words_of_mysql.listed(pair, feedbacks.relation, where=self._is_feedback())

    @property
    def _path(self) -> str:
        """The path of row r, to which the walk has been joined."""
        above = above_of(self._dialect, self._runs.fields["parent_run_id"])
        return f"(CASE WHEN {above} IS NULL THEN {segment_of(self._dialect, self._runs.fields)} ELSE p.path END)"

    def _walk(self, window: Window) -> str:
        """The join with the paths of a window's rows; ancestors are looked up by their ids, wherever they lie.

        A run is known by a hash of its id, which is short enough for a key. A path is of a type that may be long.
        """
        fields, runs = self._runs.fields, self._runs
        own = f"UNHEX(SHA2({self._dialect.id(fields['id'])}, 256))"
        parent = fields["parent_run_id"]
        above = self._dialect.id(replace(parent, sql=above_of(self._dialect, parent)))
        found = self._words_of_mysql.finds(fields["id"], "up.above") if runs.ancestors is not None else None
        if found is None:
            return f" LEFT JOIN (SELECT NULL AS run, NULL AS path) AS p ON p.run = {own}"
        segment = segment_of(self._dialect, fields)
        project = self._dialect.id(fields["session_id"])
        owner = "''" if runs.tenant is None else f"COALESCE({self._dialect.canonical_id(runs.tenant)}, '')"
        conditions = [found, f"up.depth < {MAX_DEPTH}"]
        conditions += [f"{owner} = up.owner"] if runs.tenant is not None else []
        if runs.ancestors is not None and runs.ancestors.within_project:
            conditions.append(f"{project} = up.project")
        rows = " AND ".join([*filter(None, self._chosen(window)), f"{above} IS NOT NULL"])
        begin = f"SELECT {own}, {above}, {project}, {owner}, CAST({segment} AS CHAR(65536)), 1"
        step = f"SELECT up.run, {above}, {project}, {owner}, CONCAT({segment}, '.', up.path), up.depth + 1"
        walk = (
            f"WITH RECURSIVE up (run, above, project, owner, path, depth) AS ({begin} FROM {self.source} WHERE {rows} "
            f"UNION ALL {step} FROM up JOIN {self.source} ON {' AND '.join(conditions)}) "
            f"SELECT run, path FROM up WHERE above IS NULL LIMIT {_ALL}"
        )
        return f" LEFT JOIN ({walk}) AS p ON p.run = {own}"

    def counts(self, window: Window, *, since: datetime | None = None) -> tuple[str, Sequence[str]]:
        """A row for each run (`CountingQueries.counts`)."""
        near, exact = self._chosen(window)
        kept, source = "1", self.source
        if self.has_versions and self._runs.relation.identity:
            kept = self._newest_by_identity(near)
        elif self.has_versions:
            kept, source = self._is_numbered_first, f"({self._versions(self.columns(), near)}) AS r"
        modified, filtered, feedbacks = self._time(self._runs.modified_at), self._filtered(), self.plan.feedbacks
        conditions = [near, *([exact] if exact else []), *self._not_deleted()]
        if since is not None and modified is not None:
            conditions.append(f"{modified.instant} > {microseconds(since)}")
        digest = "NULL" if self._runs.digest is None else self._dialect.hash(self._runs.digest)
        counted = ["1", "NULL" if modified is None else modified.instant, digest]
        counted += ["0", "NULL"] if feedbacks is None else self._of_feedback(feedbacks)
        listed = ", ".join([self.start.day, f"CASE WHEN {kept} THEN 1 ELSE 0 END", *filtered.values(), *counted])
        joined = self._walk(window) if self._runs.builds_paths and "dotted_order" in filtered else ""
        return f"SELECT {listed} FROM {source}{joined} WHERE {' AND '.join(conditions)}", tuple(filtered)

    def _of_feedback(self, feedbacks: FeedbacksPlan) -> list[str]:
        modified = self._time(feedbacks.columns.get("modified_at"))
        of_run = f"FROM {feedbacks.relation.from_('f')} WHERE {self._is_feedback()}"
        return [f"(SELECT count(*) {of_run})", "NULL" if modified is None else f"(SELECT {modified.newest} {of_run})"]
