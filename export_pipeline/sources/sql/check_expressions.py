"""What `export-pipeline source check` finds in the mapping's expressions: on which of the first rows they fail."""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from export_pipeline.sources.mapping import Expression
from export_pipeline.sources.sql.dialect import Column
from export_pipeline.sources.sql.failing import ExpressionError, first_failing
from export_pipeline.sources.sql.plan import Plan, RunsPlan

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
    failing = Failing()
    for name, column in _of_runs(plan, runs).items():
        source = runs.relation.from_("r")
        if (failed := _fails(session, column, source)) is None:
            continue
        place, error = failed
        row = "" if name == "id" else f", the run {_id(plan, runs, session, place)!r}"
        told = f"the expression of {name} in the mapping fails on row {place + 1:,}{row}: {error}"
        if name in runs.fields and name not in _RULING:
            failing.fields.append(name)
            failing.warnings.append(f"{told}; such rows are rejected")
        else:
            failing.problems.append(f"{told}; no day can be read where such a row may be in it")
    for name, (column, source) in _of_others(plan, runs).items():
        if (failed := _fails(session, column, source)) is not None:
            place, error = failed
            failing.problems.append(f"the expression of {name} in the mapping fails on row {place + 1:,}: {error}")
    return failing


def _of_runs(plan: Plan, runs: RunsPlan) -> dict[str, Column]:
    mapped = plan.mapping.runs
    extras = {"deleted": runs.deleted, "inserted_at": runs.inserted_at, "modified_at": runs.modified_at}
    extras["tenant_id"] = runs.tenant
    columns = runs.fields | {name: column for name, column in extras.items() if column is not None}
    refs = mapped.fields | {name: getattr(mapped, name) for name in extras}
    return {name: columns[name] for name, ref in refs.items() if isinstance(ref, Expression) and name in columns}


def _of_others(plan: Plan, runs: RunsPlan) -> dict[str, tuple[Column, str]]:
    """The expressions of projects and feedback, each with what it reads in a FROM clause."""
    others = {}
    for section, planned, alias in (("projects", plan.projects, "s"), ("feedbacks", plan.feedbacks, "f")):
        if planned is not None:
            source = runs.relation.from_("r") if planned.relation is None else planned.relation.from_(alias)
            for name, column in planned.columns.items():
                if isinstance(getattr(getattr(plan.mapping, section), name), Expression):
                    others[f"{section}.{name}"] = column, source
    return others


def _fails(session: Session, column: Column, source: str) -> tuple[int, str] | None:
    """The place of the first row that an expression fails on, and how."""

    def failure(first: int, count: int) -> ExpressionError | None:
        sample = f"SELECT {column.sql} AS x FROM {source} LIMIT {count} OFFSET {first}"
        return session.failure(f"SELECT count(s.x) FROM ({sample}) AS s")

    if (error := failure(0, SAMPLE_ROWS)) is None:
        return None
    # A store that does not always give its rows in one order may have the failing one elsewhere meanwhile.
    place = first_failing(lambda first, count: first >= SAMPLE_ROWS or failure(first, count) is not None, 0)
    return place, str(error).rpartition("cannot be read: ")[2]


def _id(plan: Plan, runs: RunsPlan, session: Session, place: int) -> str:
    id_ = plan.dialect.id(runs.fields["id"])
    row_id = session.rows(f"SELECT {id_} FROM {runs.relation.from_('r')} LIMIT 1 OFFSET {place}")[0][0]
    return row_id.decode("utf-8", "replace") if isinstance(row_id, bytes) else str(row_id)


def without(runs: RunsPlan, names: list[str]) -> RunsPlan:
    """The plan with null in these fields."""
    null = Column("NULL", "text", "expression")
    return replace(runs, fields={name: null if name in names else column for name, column in runs.fields.items()})
