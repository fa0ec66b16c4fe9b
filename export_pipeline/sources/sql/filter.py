"""A filter compiled to a SQL condition on a run's row, r, in the words of one database. All values are bound.

A condition may be null, which counts as false: `and` and `or` keep that, and `not` is `IS NOT TRUE`. So each row is
matched by exactly one of a filter and its complement.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from export_pipeline.errors import SourceUnusableError
from export_pipeline.runs.filter_fields import FIELDS, Kind, ascii_lower
from export_pipeline.runs.filter_tree import (
    And,
    Compare,
    Condition,
    Entry,
    Filter,
    Has,
    In,
    Like,
    Not,
    Or,
    Search,
    Value,
    entry_part,
    paired,
)
from export_pipeline.runs.times import SECOND, microseconds
from export_pipeline.sources.sql.dialect import Column
from export_pipeline.sources.sql.filter_words import BoundKind, FilterWords
from export_pipeline.sources.sql.plan import FeedbacksPlan, Plan

_SIGNS = {"eq": "=", "neq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_AVERAGE = ".avg"
_PAYLOADS = {"metadata": "extra", "input": "inputs", "output": "outputs"}


@dataclass(frozen=True)
class FilterSql:
    """A condition, the values bound in it by their numbers, and what it reads of a run."""

    condition: str
    values: tuple[str | int, ...] = ()
    fields: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()


def compile_filter(tree: Filter, *, plan: Plan, words: FilterWords, is_feedback: str) -> FilterSql:
    """The condition that a filter means on a store that is read by this plan.

    `is_feedback` is the condition that feedback f is of run r; only looked at where the plan has feedback.
    """
    compiler = _Compiler(plan, words, is_feedback)
    condition = compiler.condition(tree)
    return FilterSql(condition, tuple(compiler.values), frozenset(compiler.read), tuple(compiler.read.values()))


@dataclass
class _Compiler:
    plan: Plan
    words: FilterWords
    is_feedback: str
    values: list[str | int] = field(default_factory=list)
    read: dict[str, str] = field(default_factory=dict)

    def bind(self, value: Value) -> str:
        """Binds a value; times as microseconds, numbers as their decimal text."""
        kind: BoundKind = "text"
        bound: str | int = str(value)
        if isinstance(value, datetime):
            kind, bound = "integer", microseconds(value)
        elif isinstance(value, Decimal):
            kind = "number"
        return self._bound(bound, kind)

    def _bound(self, value: str | int, kind: BoundKind) -> str:
        self.values.append(value)
        return self.words.bound(len(self.values), kind)

    def column(self, name: str) -> Column | None:
        """The column of a field of the Run schema."""
        runs, _ = self.plan.usable()
        column = runs.fields.get(name)
        if column is not None and column.type == "bytea":
            raise SourceUnusableError(
                f"the filter asks about {name}, which the trace store keeps as bytes; PostgreSQL cannot look into them"
            )
        if column is not None:
            self.read[name] = column.plain
        return column

    def condition(self, node: Filter) -> str:
        """The condition of any node."""
        match node:
            case And(operands):
                return self._joined(" AND ", [self._operand(each) for each in paired(operands)])
            case Or(operands):
                return self._joined(" OR ", [self.condition(each) for each in operands])
            case Not(operand):
                return f"({self.condition(operand)}) IS NOT TRUE"
            case Search(text):
                return self._search(text)
            case Has(text):
                tags = self.column("tags")
                return "(1 = 0)" if tags is None else self.words.has(tags, self.bind(text))
            case Compare() | In() | Like():
                return self._alone(node)
        raise TypeError(f"{type(node).__name__} is not a node of a filter")

    def _joined(self, word: str, parts: list[str]) -> str:
        """Halved, not chained: SQLite counts how deep an expression is, and a chain is as deep as it is long."""
        if len(parts) == 1:
            return parts[0]
        half = len(parts) // 2
        return f"({self._joined(word, parts[:half])}{word}{self._joined(word, parts[half:])})"

    def _operand(self, node: Filter | Entry) -> str:
        return self._exists(node) if isinstance(node, Entry) else self.condition(node)

    def _alone(self, node: Condition) -> str:
        part = entry_part(node)
        if part is None:
            return self._of_field(node)
        family, is_key = part
        negated = isinstance(node, Compare) and node.operator == "neq"
        if isinstance(node, Compare) and negated:
            node = Compare(node.field, "eq", node.value)
        condition = self._exists(Entry(family, (node,) if is_key else (), () if is_key else (node,)))
        return f"({condition}) IS NOT TRUE" if negated else condition

    def _of_field(self, node: Condition) -> str:
        kind = FIELDS[node.field].kind
        left = self._field(node.field)
        if isinstance(node, Like):
            return self.words.like(left, self.bind(node.pattern))
        if isinstance(node, In):
            return f"{left} IN ({', '.join(self._right(kind, value) for value in node.values)})"
        if node.value is None:
            condition = f"{left} IS NULL"
        elif kind is Kind.FLAG:
            condition = left if node.value else f"({left}) IS NOT TRUE"
        else:
            condition = f"{left} {_SIGNS[node.operator]} {self._right(kind, node.value)}"
        return f"({condition}) IS NOT TRUE" if node.operator == "neq" else condition

    def _right(self, kind: Kind, value: Value) -> str:
        if isinstance(value, Decimal):
            return self._bound(int(value * SECOND if kind is Kind.SECONDS else value), "integer")
        return self.bind(value)

    def _field(self, name: str) -> str:
        derived = {
            "latency": self._latency,
            "is_root": self._is_root,
            "status": self._status,
            "trace_id": self._trace_id,
        }
        if name in derived:
            return derived[name]()
        column, kind = self.column(name), FIELDS[name].kind
        if column is None:
            return "CAST(NULL AS bigint)" if kind in {Kind.TIME, Kind.COUNT} else "CAST(NULL AS text)"
        if name == "run_type":
            return f"COALESCE({self.words.word(column)}, 'chain')"
        if name == "name":
            return f"COALESCE({self.words.text(column)}, '')"
        if name == "error":
            return f"NULLIF({self.words.text(column)}, '')"
        read = {Kind.ID: self.words.id, Kind.TIME: self.words.micros, Kind.COUNT: self.words.whole}
        return read[kind](column)

    def _latency(self) -> str:
        return f"({self._field('end_time')} - {self._field('start_time')})"

    def _parent(self) -> str:
        """The parent's id as the store has it."""
        parent = self.column("parent_run_id")
        return "CAST(NULL AS text)" if parent is None else self.words.id(parent)

    def _leads_here(self, dotted: Column) -> str:
        """Whether a `dotted_order` is believed (`runs.tree`): it ends with the run's id, after that of its parent."""
        own, above = (self.words.on_path(dotted, place) for place in ("own", "parent"))
        return f"({own} = {self._field('id')} AND {self._is_or_null(above)})"

    def _is_or_null(self, condition: str) -> str:
        parent = self._parent()
        return f"({parent} IS NULL OR ({condition} IS NOT NULL AND {condition} = {parent}))"

    def _is_root(self) -> str:
        words, flag = self.words, self.column("is_root")
        child = f"{self._parent()} IS NOT NULL"
        if (ancestors := self.column("parent_run_ids")) is not None:
            child = f"({child} OR {words.listed(ancestors, 'last')} IS NOT NULL)"
        if (dotted := self.column("dotted_order")) is not None:
            above = words.on_path(dotted, "parent")
            child = f"CASE WHEN {self._leads_here(dotted)} THEN {above} IS NOT NULL ELSE {child} END"
        derived = f"({child}) IS NOT TRUE"
        return derived if flag is None else f"COALESCE({words.flag(flag)}, {derived})"

    def _trace_id(self) -> str:
        words, trace = self.words, self.column("trace_id")
        said = [] if trace is None else [words.id(trace)]
        trace_id = f"COALESCE({', '.join([*said, self._parent(), self._field('id')])})"
        cases = []
        if (dotted := self.column("dotted_order")) is not None:
            cases.append(f"WHEN {self._leads_here(dotted)} THEN {words.on_path(dotted, 'root')}")
        if (ancestors := self.column("parent_run_ids")) is not None:
            last = words.listed(ancestors, "last")
            cases.append(
                f"WHEN {last} IS NOT NULL AND {self._is_or_null(last)} THEN {words.listed(ancestors, 'first')}"
            )
        return f"(CASE {' '.join(cases)} ELSE {trace_id} END)" if cases else trace_id

    def _status(self) -> str:
        derived = (
            f"CASE WHEN {self._field('error')} IS NOT NULL THEN 'error' "
            f"WHEN {self._field('end_time')} IS NULL THEN 'pending' ELSE 'success' END"
        )
        status = self.column("status")
        return derived if status is None else f"COALESCE({self.words.word(status)}, {derived})"

    def _search(self, text: str) -> str:
        plain = ascii_lower(text)
        written = [plain, ascii_lower(json.dumps(text, ensure_ascii=False)[1:-1]), ascii_lower(json.dumps(text)[1:-1])]
        forms = [self.bind(form) for form in dict.fromkeys(written)]
        conditions = []
        for name in ("name", "error", "inputs", "outputs"):
            if (column := self.column(name)) is not None:
                places = forms if name in {"inputs", "outputs"} else forms[:1]
                conditions += [self.words.contains(self.words.haystack(column), form) for form in places]
        return self._joined(" OR ", conditions)

    def _exists(self, entry: Entry) -> str:
        source = self._entries(entry)
        if source is None:
            return "(1 = 0)"
        # One EXISTS for all conditions: key and value are asked of the same entry, not of two.
        tests = [self._of_key(each) for each in entry.keys] + [self._of_value(each) for each in entry.values]
        return f"EXISTS (SELECT 1 FROM {source} AS e WHERE {' AND '.join(tests)})"

    def _entries(self, entry: Entry) -> str | None:
        if entry.family == "feedback":
            feedbacks = self.plan.feedbacks
            known = feedbacks is not None and "key" in feedbacks.columns
            return self._feedback(feedbacks) if feedbacks is not None and known else self._feedback_stats()
        column = self.column(_PAYLOADS[entry.family])
        if column is None:
            return None
        wanted = [key.value for key in entry.keys if isinstance(key, Compare) and key.operator == "eq"]
        return self.words.entries(
            column,
            inside="metadata" if entry.family == "metadata" else None,
            wanted=self.bind(wanted[0]) if wanted else None,
        )

    def _feedback(self, feedbacks: FeedbacksPlan) -> str:
        key, score = feedbacks.columns["key"], feedbacks.columns.get("score")
        number = "CAST(NULL AS text)" if score is None else f"CAST({self.words.number(score)} AS text)"
        return (
            f"(SELECT g.key, CASE WHEN g.text IS NULL THEN 'null' ELSE 'number' END AS type, g.text "
            f"FROM (SELECT {self.words.text(key)} AS key, {number} AS text "
            f"FROM {feedbacks.relation.from_('f')} WHERE {self.is_feedback}) AS g)"
        )

    def _feedback_stats(self) -> str | None:
        """What stands in for single records where the store has none: the averages by key."""
        if (stats := self.column("feedback_stats")) is None:
            return None
        entries = self.words.entries(stats, inside=None, wanted=None)
        size = f"length(a.key) - {len(_AVERAGE)}"
        return (
            f"(SELECT substr(a.key, 1, {size}) AS key, a.type, a.text FROM {entries} AS a "
            f"WHERE substr(a.key, {size} + 1) = '{_AVERAGE}' AND a.type IN ('number', 'null'))"
        )

    def _of_key(self, node: Condition) -> str:
        if isinstance(node, Like):
            return self.words.like("e.key", self.bind(node.pattern))
        if isinstance(node, In):
            return f"e.key IN ({', '.join(self.bind(value) for value in node.values)})"
        condition = f"e.key = {self.bind(node.value)}"
        return f"({condition}) IS NOT TRUE" if node.operator == "neq" else condition

    def _of_value(self, node: Condition) -> str:
        if isinstance(node, Like):
            return f"(e.type = 'string' AND {self.words.like('e.text', self.bind(node.pattern))})"
        if isinstance(node, In):
            return self._joined(" OR ", [self._typed("=", value) for value in node.values])
        condition = self._typed(_SIGNS[node.operator], node.value)
        return f"({condition}) IS NOT TRUE" if node.operator == "neq" else condition

    def _typed(self, sign: str, value: Value) -> str:
        if value is None:
            return "e.type = 'null'"
        if isinstance(value, bool):
            return f"(e.type = 'boolean' AND e.text {sign} '{'true' if value else 'false'}')"
        if isinstance(value, Decimal):
            number = self.words.compare(self.words.json_number("e.text"), sign, self.bind(value))
            return f"(e.type = 'number' AND {number})"
        return f"(e.type = 'string' AND e.text {sign} {self.bind(value)})"
