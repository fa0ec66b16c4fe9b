"""The days of a sample: which projects there are, when their traces begin, and how each goes.

What a project does on a day depends on the seed, its name and the date alone.
"""

import itertools
import math
import random
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from export_pipeline.settings import Settings
from export_pipeline_sample.feedback import judge
from export_pipeline_sample.rows import BrokenTrace, Row, Trace, dump, iso, midnight, run_row
from export_pipeline_sample.text import pick_language
from export_pipeline_sample.traces import APPLICATIONS, RUNS_OF_A_TRACE, Application

TENANT = str(Settings.model_fields["tenant_id"].default)
"""The workspace that commands and the HTTP API work in unless they are told another one."""
_NAMES = ("support-agent", "docs-rag", "invoice-extraction")
_EXPERIMENT_TRACES = 25
_GAP = 11
"""Each project has one day without rows in so many."""

_HOURS = (2, 1, 1, 1, 1, 2, 4, 7, 10, 11, 11, 10, 9, 10, 11, 10, 9, 8, 7, 6, 5, 4, 3, 3)
"""How busy the hours of a day are."""


@dataclass(frozen=True)
class Plan:
    """What a sample is to be; days are UTC, both ends included."""

    seed: int
    first: date
    last: date
    runs_per_day: int
    row_bytes: int | None
    steady: bool


@dataclass(frozen=True)
class Session:
    """A project or, with a `dataset`, an experiment. `gap`: on which day of the cycle it has no rows."""

    name: str
    application: str
    id: str
    gap: int | None = None
    dataset: str | None = None
    only_day: date | None = None

    def works_on(self, day: date) -> bool:
        """Whether it has traces that begin on the day."""
        if self.only_day:
            return day == self.only_day
        return self.gap is None or day.toordinal() % _GAP != self.gap

    def row(self, plan: Plan) -> Row:
        """Its row of the table `sessions`."""
        extra = dump({"metadata": {"application": self.application}})
        described = "Experiment over a dataset." if self.dataset else f"Sample traces of {self.application}."
        begun = iso(midnight(self.only_day or plan.first))
        return (self.id, TENANT, self.name, begun, None, described, self.dataset, extra)


def sessions_of(plan: Plan, *, projects: int, experiments: int) -> list[Session]:
    """The projects, then the experiments, each made on one day: on Tuesdays where there are any."""
    made = []
    for number in range(projects):
        base = _NAMES[number % len(_NAMES)]
        name = base if number < len(_NAMES) else f"{base}-{number // len(_NAMES) + 1}"
        gap = None if plan.steady else random.Random(f"{plan.seed}/{name}/gap").randrange(_GAP)
        application = base if plan.row_bytes is None else "completion"
        made.append(Session(name, application, _named_uuid(plan.seed, name), gap=gap))
    span = [plan.first + timedelta(days=number) for number in range((plan.last - plan.first).days + 1)]
    candidates = [day for day in span if day.weekday() == 1] or span
    dataset = _named_uuid(plan.seed, "dataset")
    for day in candidates[-experiments:] if experiments else []:
        name = f"docs-rag-eval-{day:%Y%m%d}"
        made.append(Session(name, "docs-rag", _named_uuid(plan.seed, name), dataset=dataset, only_day=day))
    return made


def expected_runs(plan: Plan, session: Session, day: date) -> int:
    """How many runs the session will have on a day: exactly where the plan is steady, about elsewhere."""
    if not session.works_on(day):
        return 0
    if session.dataset:
        return round(_EXPERIMENT_TRACES * RUNS_OF_A_TRACE[session.application])
    if plan.steady:
        return plan.runs_per_day
    rng = random.Random(f"{plan.seed}/{session.name}/{day}/load")
    quiet = 0.4 if day.weekday() >= 5 else 1.0
    return max(round(plan.runs_per_day * quiet * rng.uniform(0.85, 1.15)), 1)


def rows_of(plan: Plan, session: Session, day: date) -> Iterator[tuple[Row, list[Row]]]:
    """The runs of the traces that begin on a day, each with its feedback, traces in order of time.

    Runs that begin after the plan's last day are left out: the sample is the store as it was at that midnight.
    """
    if not session.works_on(day):
        return
    end = midnight(plan.last + timedelta(days=1))
    exact = plan.steady and not session.dataset
    left = plan.runs_per_day
    for start, number in _starts(plan, session, day):
        trace = _act(plan, session, day, start, number)
        root = trace.runs[0]
        for made in trace.runs[: left if exact else None]:
            if made.start < end:
                tier = "longlived" if root.feedback else "shortlived"
                row = run_row(made, tenant_id=TENANT, session_id=session.id, trace_id=root.id, tier=tier)
                yield row, [(*record[:3], session.id, TENANT, *record[5:]) for record in made.feedback]
        left -= len(trace.runs)
        if exact and left <= 0:
            return


def _starts(plan: Plan, session: Session, day: date) -> Iterator[tuple[datetime, int]]:
    """When the traces of a day begin, and their numbers."""
    begin = midnight(day)
    traces = math.ceil(expected_runs(plan, session, day) / RUNS_OF_A_TRACE[session.application])
    if session.dataset:
        return ((begin + timedelta(hours=15, seconds=7 * number), number) for number in range(_EXPERIMENT_TRACES))
    if plan.steady:
        # Evenly over the day, and on at the same pace where the traces turn out shorter than on average; the last one
        # begins early enough to end before midnight.
        return (
            (begin + timedelta(seconds=min(84_000 * number / traces, 85_800)), number) for number in itertools.count()
        )
    rng = random.Random(f"{plan.seed}/{session.name}/{day}/starts")
    starts = []
    for number in range(traces):
        hour = rng.choices(range(24), _HOURS)[0]
        moment = timedelta(hours=hour, microseconds=rng.randrange(3_600_000_000))
        if number == 0 and session.works_on(day + timedelta(days=1)):
            moment = timedelta(days=1) - timedelta(microseconds=rng.choice((1, 250_000, 900_000)))
        elif number == 1:
            moment = timedelta()
        starts.append((begin + moment, number))
    return iter(sorted(starts))


def _act(plan: Plan, session: Session, day: date, start: datetime, number: int) -> Trace:
    rng = random.Random(f"{plan.seed}/{session.name}/{day}/{number}")
    trace = Trace(rng, start=start, row_bytes=plan.row_bytes, language=pick_language(rng))
    work, library = APPLICATIONS[session.application]
    thread = _named_uuid(plan.seed, f"thread {rng.randrange(400)}")
    with suppress(BrokenTrace):
        work(Application(trace, library=library, thread=thread, project=session.name))
    if session.dataset:
        trace.runs[0].example = _named_uuid(plan.seed, f"example {number}")
    judge(trace, experiment=session.dataset is not None)
    return trace


def _named_uuid(seed: int, name: str) -> str:
    return str(uuid.UUID(int=random.Random(f"{seed}/id of {name}").getrandbits(128), version=4))
