"""The feedback of a window's rows, gathered by run in one join: its number, its records, what is counted of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from export_pipeline.runs.times import microseconds
from export_pipeline.sources.clickhouse.dialect import ClickhouseDialect
from export_pipeline.sources.sql.filter_rows import FEEDBACK
from export_pipeline.sources.sql.plan import FeedbacksPlan, RunsPlan
from export_pipeline.sources.sql.times import DAY_MICROS, FAR

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

    def join(self, *, source: str, rows: str, whose: Sequence[str], since: datetime) -> str:
        """The join; `rows` is the condition that at least the rows of `source` fulfil that are selected.

        `whose` are conditions that feedback f fulfils; no row begins before `since`.
        """
        columns, dialect, own = self.feedbacks.columns, self.dialect, self.dialect.id(self.runs.fields["id"])
        keys = {"run": (f"f.{_RUN}", own)}
        if (project := columns.get("session_id")) is not None:
            keys["project"] = (dialect.id(project), dialect.id(self.runs.fields["session_id"]))
        gathered = {name: of_feedback for name, (of_feedback, _) in keys.items()} | self._gathered()
        named = ", ".join(f"{sql} AS {name}" for name, sql in gathered.items())
        joined, of_rows = self._of_rows(source, rows, since=since)
        grouped = (
            f"SELECT {named} FROM ({self._with_run(source, rows)}) AS f{joined} "
            f"WHERE {' AND '.join([*of_rows, *whose])} GROUP BY {', '.join(keys)}"
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

    def _of_rows(self, source: str, rows: str, *, since: datetime) -> tuple[str, list[str]]:
        """What leaves out feedback of other runs: a join, and conditions.

        Feedback of which is known when it was given counts from the day before its run on, whatever the window: so of a
        table that is sorted by it the older days are not read.
        """
        own, given_at = self.dialect.id(self.runs.fields["id"]), self.feedbacks.columns.get("given_at")
        if given_at is None:
            return "", [f"f.{_RUN} IN (SELECT {own} FROM {source} WHERE {rows})"]
        given, start = self.dialect.time(given_at), self.dialect.time(self.runs.fields["start_time"])
        of_run = f"SELECT {own} AS run, max({start.day}) AS day FROM {source} WHERE {rows} GROUP BY run"
        earliest = microseconds(since) // DAY_MICROS * DAY_MICROS - DAY_MICROS
        conditions = [given.near(earliest, FAR, also="1 = 1"), f"{given.day} >= n.day - 1"]
        return f" JOIN ({of_run}) AS n ON n.run = f.{_RUN}", conditions

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
