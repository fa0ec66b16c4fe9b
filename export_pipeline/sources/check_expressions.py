"""What `export-pipeline source check` finds in the mapping's expressions: on which of the first rows they fail."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from export_pipeline.sources.failing import ExpressionError, first_failing
from export_pipeline.sources.mapping import Expression
from export_pipeline.sources.plan import Plan, RunsPlan
from export_pipeline.sources.sql import Column

SAMPLE_ROWS = 1_000
_RULING = {"id", "session_id", "start_time"}


class Session(Protocol):
    """What is needed of a session."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a small query."""

    def failure(self, sql: str) -> ExpressionError | None:
        """How a small query fails on the values that it meets."""


@dataclass
class Failing:
    """The fields whose expressions fail, and what that means: that no row, or not every row, can be exported."""

    fields: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def look_at_expressions(plan: Plan, runs: RunsPlan, session: Session) -> Failing:
    """Tries every expression on the first rows."""
    found = Failing()
    for name, column in _expressions(plan, runs).items():

        def failure(first: int, count: int, value: str = column.sql) -> ExpressionError | None:
            sample = f"SELECT {value} AS x FROM {runs.relation.from_('r')} LIMIT {count} OFFSET {first}"
            return session.failure(f"SELECT count(s.x) FROM ({sample}) AS s")

        if (error := failure(0, SAMPLE_ROWS)) is None:
            continue
        place = _first_failing(failure)
        row = "" if name == "id" else f", the run {_id(plan, runs, session, place)!r}"
        told = f"the expression of {name} in the mapping fails on row {place + 1:,}{row}: {_gist(error)}"
        if name in runs.fields and name not in _RULING:
            found.fields.append(name)
            found.warnings.append(f"{told}; such rows are rejected")
        else:
            found.problems.append(f"{told}; no day can be read where such a row may be in it")
    return found


def _first_failing(failure: Callable[[int, int], ExpressionError | None]) -> int:
    """A store that does not always give its rows in one order may have the failing one elsewhere meanwhile."""
    return first_failing(lambda first, count: first >= SAMPLE_ROWS or failure(first, count) is not None, 0)


def _expressions(plan: Plan, runs: RunsPlan) -> dict[str, Column]:
    mapped = plan.mapping.runs
    extras = ("deleted", "inserted_at", "modified_at")
    columns = runs.fields | {name: column for name in extras if (column := getattr(runs, name)) is not None}
    refs = mapped.fields | {name: getattr(mapped, name) for name in extras}
    return {name: columns[name] for name, ref in refs.items() if isinstance(ref, Expression) and name in columns}


def _id(plan: Plan, runs: RunsPlan, session: Session, place: int) -> str:
    id_ = plan.dialect.id(runs.fields["id"])
    found = session.rows(f"SELECT {id_} FROM {runs.relation.from_('r')} LIMIT 1 OFFSET {place}")[0][0]
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


def _gist(error: ExpressionError) -> str:
    return str(error).rpartition("cannot be read: ")[2]


def without(runs: RunsPlan, names: list[str]) -> RunsPlan:
    """The plan with null in these fields."""
    null = Column("NULL", "text", "expression")
    return replace(runs, fields={name: null if name in names else column for name, column in runs.fields.items()})
