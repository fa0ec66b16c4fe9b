"""The feedback of a window's rows, gathered by run in one join: its number, its records, what is counted of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from export_pipeline.sources.clickhouse.dialect import ClickhouseDialect
from export_pipeline.sources.sql.filter_rows import FEEDBACK
from export_pipeline.sources.sql.plan import FeedbacksPlan, RunsPlan

_RUN = "`export pipeline run`"

RECORDS = "if(k.records = 0, '[]', k.list)"
"""The records as a JSON list."""
PAIRS = "if(k.records = 0, '[]', k.pairs)"
"""Their keys and scores, for a filter."""
_OF_KEY = "arrayMap(key -> (key, arrayFilter(g -> g.1 = key, k.given)), arraySort(arrayDistinct(k.given.1)))"
_SCORES = "arrayFilter(s -> isFinite(s), e.2.2)"
_LABELS = "arrayFilter(v -> v <> '', e.2.3)"
_VALUES = f"arraySort(arrayDistinct({_LABELS}))"
_STATS = (
    f"""concat(toJSONString(e.1), ':{{"n":', toString(length(e.2)), ',"avg":', """
    f"if(empty({_SCORES}), 'null', toJSONString(arrayAvg({_SCORES}))), ',\"values\":', "
    f"toJSONString(mapFromArrays({_VALUES}, arrayMap(v -> toUInt32(countEqual({_LABELS}, v)), {_VALUES}))), '}}')"
)
STATS = f"if(k.records = 0, NULL, concat('{{', arrayStringConcat(arrayMap(e -> {_STATS}, {_OF_KEY}), ','), '}}'))"
"""By key how many there are, the average of the scores, and how often each text stands as value; else null."""


@dataclass(frozen=True)
class Feedback:
    """The join of rows r with their feedback, as k.

    `asked` are the fields that are made of it, and `FEEDBACK` for a filter on its records.
    """

    dialect: ClickhouseDialect
    runs: RunsPlan
    feedbacks: FeedbacksPlan
    asked: frozenset[str]

    def join(self, *, source: str, rows: str, whose: Sequence[str]) -> str:
        """The join; `rows` is the condition that at least the rows of `source` fulfil that are selected.

        `whose` are conditions that feedback f fulfils.
        """
        columns, dialect, own = self.feedbacks.columns, self.dialect, self.dialect.id(self.runs.fields["id"])
        keys = {"run": (f"f.{_RUN}", own)}
        if (project := columns.get("session_id")) is not None:
            keys["project"] = (dialect.id(project), dialect.id(self.runs.fields["session_id"]))
        gathered = {name: of_feedback for name, (of_feedback, _) in keys.items()} | self._gathered()
        named = ", ".join(f"{sql} AS {name}" for name, sql in gathered.items())
        conditions = [f"f.{_RUN} IN (SELECT {own} FROM {source} WHERE {rows})", *whose]
        grouped = (
            f"SELECT {named} FROM ({self._with_run(source, rows)}) AS f WHERE {' AND '.join(conditions)} "
            f"GROUP BY {', '.join(keys)}"
        )
        same = " AND ".join(f"k.{name} = {of_run}" for name, (_, of_run) in keys.items())
        return f" LEFT ANY JOIN ({grouped}) AS k ON {same}"

    def _gathered(self) -> dict[str, str]:
        modified = self.feedbacks.columns.get("modified_at")
        newest = "CAST(NULL AS Nullable(Int64))" if modified is None else self.dialect.time(modified).newest
        gathered = {"records": "toInt64(count(*))", "newest": newest}
        if "feedbacks" in self.asked:
            gathered["list"] = self._list()
        if FEEDBACK in self.asked:
            gathered["pairs"] = f"toJSONString(groupArray(tuple({self._text('key')}, {self._text('score')})))"
        if "feedback_stats" in self.asked:
            key, value = (f"COALESCE({self._text(name)}, '')" for name in ("key", "value"))
            score = f"COALESCE(toFloat64OrNull({self._text('score')}), nan)"
            gathered["given"] = f"arraySort(groupArray(tuple({key}, {score}, {value})))"
        return gathered

    def _with_run(self, source: str, rows: str) -> str:
        """The feedback with the run that it is of; that of a whole trace once for each root run among the rows."""
        columns, fields, dialect = self.feedbacks.columns, self.runs.fields, self.dialect
        run, relation = dialect.id(columns["run_id"]), self.feedbacks.relation.from_("f")
        if (trace := columns.get("trace_id")) is None:
            return f"SELECT f.*, {run} AS {_RUN} FROM {relation}"
        roots = (
            f"SELECT {dialect.id(fields['trace_id'])} AS trace, groupArray({dialect.id(fields['id'])}) AS runs "
            f"FROM {source} WHERE {rows} AND {dialect.is_empty(fields['parent_run_id'])} GROUP BY trace"
        )
        runs = f"arrayJoin(if({dialect.is_empty(columns['run_id'])}, x.runs, [{run}]))"
        joined = f"{relation} LEFT ANY JOIN ({roots}) AS x ON x.trace = {dialect.id(trace)}"
        return f"SELECT f.*, {runs} AS {_RUN} FROM {joined}"

    def _list(self) -> str:
        columns = self.feedbacks.columns
        order = [self.dialect.time(columns["created_at"]).instant] if "created_at" in columns else []
        order += [self.dialect.order(columns["id"])] if "id" in columns else []
        return self.dialect.record_list(self.feedbacks.relation, order=order)

    def _text(self, name: str) -> str:
        column = self.feedbacks.columns.get(name)
        return "CAST(NULL AS Nullable(String))" if column is None else self.dialect.text(column)
