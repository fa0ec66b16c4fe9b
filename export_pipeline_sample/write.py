"""Sample traces of any size, written to SQLite or PostgreSQL.

The same seed gives the same rows: what a project does on a day depends on the seed, its name and the date alone, so
that a larger sample holds the rows of a smaller one. (`steady` fills days to an exact number instead.)
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from export_pipeline.errors import InputError
from export_pipeline_sample.days import Plan, expected_runs, rows_of, sessions_of
from export_pipeline_sample.rows import RUN_COLUMNS, Row
from export_pipeline_sample.stores import Existing, StoreWriter, open_store

_PAYLOADS = [RUN_COLUMNS.index(name) for name in ("inputs", "outputs", "extra", "events")]
_BATCH_CHARACTERS = 4_000_000
_LEAST = {"projects": 0, "experiments": 0, "days": 1, "runs_per_day": 1, "row_bytes": 1_000}


@dataclass(frozen=True)
class SampleProject:
    """A project of a sample, and how many runs it got."""

    id: str
    name: str
    runs: int
    is_experiment: bool


@dataclass(frozen=True)
class SampleReport:
    """What was written. Days are UTC, both included; `characters` are those of inputs, outputs, extra and events."""

    projects: tuple[SampleProject, ...]
    runs: int
    feedbacks: int
    characters: int
    first_day: date
    last_day: date


@dataclass
class _Counts:
    runs: int = 0
    feedbacks: int = 0
    characters: int = 0
    pending: list[Row] = field(default_factory=list)
    pending_feedback: list[Row] = field(default_factory=list)
    pending_characters: int = 0


def write_sample(
    url: str,
    *,
    seed: int = 7,
    projects: int = 3,
    experiments: int = 1,
    days: int = 14,
    runs_per_day: int = 300,
    last_day: date | None = None,
    row_bytes: int | None = None,
    steady: bool = False,
    existing: Existing = "refuse",
    on_progress: Callable[[int, int], None] | None = None,
) -> SampleReport:
    """Writes a trace store of sample runs and says what is in it.

    `runs_per_day` is what a project has on a working day, about; with `steady` every day has exactly as many, none is
    without rows and no trace goes on over midnight. `last_day` is by default yesterday, UTC; what traces do after it is
    left out. `row_bytes` makes every run a call of a model whose inputs and outputs have about so many bytes.
    `experiments` adds projects that are experiments over a dataset. `on_progress` gets the runs written so far and
    about how many there will be.

    Raises `InputError` for numbers that make no sense and for a store that holds runs already (see `open_store`), and
    `SourceUnreachableError` where the store does not answer; nothing is written then.
    """
    _check(projects=projects, experiments=experiments, days=days, runs_per_day=runs_per_day, row_bytes=row_bytes)
    last = last_day or datetime.now(UTC).date() - timedelta(days=1)
    try:
        first = last - timedelta(days=days - 1)
    except OverflowError:
        raise InputError(f"{days} days before {last} there was no calendar; give fewer days") from None
    plan = Plan(seed, first, last, runs_per_day, row_bytes, steady)
    span = [first + timedelta(days=number) for number in range(days)]
    sessions = sessions_of(plan, projects=projects, experiments=experiments)
    total = sum(expected_runs(plan, session, day) for session in sessions for day in span)
    counts, made = _Counts(), []
    with open_store(url, existing=existing) as store:
        known = store.known_sessions()
        store.write("sessions", [session.row(plan) for session in sessions if session.id not in known])
        for session in sessions:
            before = counts.runs
            for row, feedback in itertools.chain.from_iterable(rows_of(plan, session, day) for day in span):
                _add(counts, store, row, feedback)
                if on_progress and not counts.pending:
                    on_progress(counts.runs, max(total, counts.runs))
            made.append(SampleProject(session.id, session.name, counts.runs - before, session.dataset is not None))
        _flush(counts, store)
    if on_progress:
        on_progress(counts.runs, counts.runs)
    return SampleReport(tuple(made), counts.runs, counts.feedbacks, counts.characters, first, last)


def _check(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < _LEAST[name]:
            raise InputError(f"{name} must be at least {_LEAST[name]}, not {number}")


def _add(counts: _Counts, store: StoreWriter, row: Row, feedback: list[Row]) -> None:
    characters = sum(len(str(row[place])) for place in _PAYLOADS)
    counts.runs += 1
    counts.feedbacks += len(feedback)
    counts.characters += characters
    counts.pending.append(row)
    counts.pending_feedback += feedback
    counts.pending_characters += characters
    if counts.pending_characters > _BATCH_CHARACTERS:
        _flush(counts, store)


def _flush(counts: _Counts, store: StoreWriter) -> None:
    store.write("runs", counts.pending)
    store.write("feedbacks", counts.pending_feedback)
    counts.pending, counts.pending_feedback, counts.pending_characters = [], [], 0
