"""The rows of a sample store, and the clock-and-tree bookkeeping that makes them.

A trace is made by acting it out: `Trace.step` opens a run, the code in its block makes the children and fills in what
the run returned, and at the end of the block the clock has gone on and the run is closed. A trace can break at a given
step: then that run and those around it end with an error, or stay pending for ever.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic_core import to_json

from export_pipeline_sample.payloads import traceback

RUN_COLUMNS = (
    "id", "tenant_id", "session_id", "trace_id", "parent_run_id", "reference_example_id", "name", "run_type",
    "start_time", "end_time", "first_token_time", "status", "is_root", "dotted_order", "trace_tier", "inputs",
    "outputs", "extra", "events", "feedback_stats", "tags", "error", "total_tokens", "prompt_tokens",
    "completion_tokens", "total_cost", "prompt_cost", "completion_cost", "inserted_at", "modified_at",
)  # fmt: skip
FEEDBACK_COLUMNS = (
    "id", "run_id", "trace_id", "session_id", "tenant_id", "key", "score", "value", "comment", "correction",
    "feedback_source", "created_at", "modified_at",
)  # fmt: skip
SESSION_COLUMNS = (
    "id", "tenant_id", "name", "start_time", "end_time", "description", "reference_dataset_id", "extra",
)  # fmt: skip

Row = tuple[str | int | None, ...]
"""Values in the order of one of the lists above: text for ids, times (ISO 8601 with a zone), JSON and decimals."""

MEDIAN_BYTES = 3_000
SIGMA = 1.5
"""Inputs and outputs of a run together are log-normal: one run in 10,000 is longer than 800 KB."""

_STRUCTURE_BYTES = 700
_LARGEST_BYTES = 8_000_000
PICO = 10**12


class BrokenTrace(Exception):  # noqa: N818 - not an error of ours: it is the sample's own
    """Goes through the blocks of the runs that an error ends."""


class AbandonedTrace(BrokenTrace):
    """Goes through the blocks of the runs that nobody will ever end."""


@dataclass(slots=True)
class Made:
    """A run in the making. Tokens and costs are those of the run itself; those of its children are added at the end."""

    id: str
    parent: "Made | None"
    name: str
    run_type: str
    start: datetime
    dotted_order: str
    inputs: Any
    tags: list[str]
    extra: dict[str, Any]
    end: datetime | None = None
    first_token: datetime | None = None
    outputs: Any = None
    events: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_cost: int = 0
    completion_cost: int = 0
    """Costs in 1e-12 US dollars."""
    example: str | None = None
    feedback_stats: dict[str, Any] | None = None
    feedback: list[Row] = field(default_factory=list)


class Trace:
    """One trace; `rng` decides everything in it."""

    def __init__(self, rng: random.Random, *, start: datetime, row_bytes: int | None, language: str) -> None:
        self.rng = rng
        self.now = start
        self.language = language
        self.runs: list[Made] = []
        self._row_bytes = row_bytes
        self._stack: list[Made] = []
        fate = rng.random()
        self._breaks_at = rng.randrange(7) if fate < 0.05 else -1
        self._abandoned = fate < 0.006

    def uuid(self) -> str:
        """A random UUID of version 4."""
        digits = f"{self.rng.getrandbits(128):032x}"
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"

    def size(self) -> int:
        """Bytes of text for a run's inputs and outputs together, structure not counted."""
        if self._row_bytes is not None:
            return max(self._row_bytes - _STRUCTURE_BYTES, 16)
        drawn = MEDIAN_BYTES * self.rng.lognormvariate(0, SIGMA)
        return int(min(max(drawn - _STRUCTURE_BYTES, 40), _LARGEST_BYTES))

    def wait(self, least: int, most: int) -> datetime:
        """Lets some milliseconds go by, and says what time it is then."""
        self.now += timedelta(microseconds=self.rng.randrange(least * 1000, most * 1000))
        return self.now

    @contextmanager
    def step(
        self, name: str, run_type: str, inputs: Any, *, extra: dict[str, Any], tags: list[str] | None = None
    ) -> Iterator[Made]:
        """Opens a run below the one that is open; the block sets what it returned."""
        parent, number = (self._stack[-1] if self._stack else None), len(self.runs)
        run_id = self.uuid()
        segment = f"{self.now:%Y%m%dT%H%M%S%f}Z{run_id}"
        dotted = f"{parent.dotted_order}.{segment}" if parent else segment
        made = Made(run_id, parent, name, run_type, self.now, dotted, inputs, tags or [], extra)
        self.runs.append(made)
        self._stack.append(made)
        try:
            self.wait(1, 9)
            yield made
            if number == self._breaks_at:
                raise AbandonedTrace if self._abandoned else BrokenTrace
            made.end = self.wait(1, 6)
        except BrokenTrace as broken:
            made.outputs = None
            if run_type == "llm":
                made.completion_tokens = made.completion_cost = 0
            if isinstance(broken, AbandonedTrace):
                raise
            made.error = traceback(self.rng, made.name)
            made.end = self.wait(1, 4)
            # An agent looks at a tool's error and goes on; any other error ends the trace.
            if run_type != "tool" or parent is None:
                raise
        finally:
            self._stack.pop()
            if parent:
                parent.prompt_tokens += made.prompt_tokens
                parent.completion_tokens += made.completion_tokens
                parent.prompt_cost += made.prompt_cost
                parent.completion_cost += made.completion_cost


def run_row(made: Made, *, tenant_id: str, session_id: str, trace_id: str, tier: str) -> Row:
    """The run as a row of the table `runs`."""
    status = "error" if made.error else ("pending" if made.end is None else "success")
    counted = made.prompt_tokens + made.completion_tokens > 0
    seen = made.end or made.start
    start, end = iso(made.start), iso(made.end)
    events = [{"name": "start", "time": start}, *made.events]
    if made.end:
        events.append({"name": "error" if made.error else "end", "time": end})
    changed = seen + timedelta(seconds=40) if made.feedback else seen + timedelta(milliseconds=700)
    return (
        made.id, tenant_id, session_id, trace_id, made.parent.id if made.parent else None, made.example, made.name,
        made.run_type, start, end, iso(made.first_token), status, int(made.parent is None),
        made.dotted_order, tier, dump(made.inputs), dump(made.outputs), dump(made.extra), dump(events),
        dump(made.feedback_stats), dump(made.tags), made.error,
        made.prompt_tokens + made.completion_tokens if counted else None,
        made.prompt_tokens if counted else None, made.completion_tokens if counted else None,
        dollars(made.prompt_cost + made.completion_cost) if counted else None,
        dollars(made.prompt_cost) if counted else None, dollars(made.completion_cost) if counted else None,
        iso(seen + timedelta(milliseconds=650)), iso(changed),
    )  # fmt: skip


def dump(value: Any) -> str | None:
    """JSON as the tracers' serializer writes it: no spaces, UTF-8 as it is."""
    return None if value is None else to_json(value).decode()


def iso(instant: datetime | None) -> str | None:
    """ISO 8601 with microseconds and zone, also where they are nought."""
    return instant.isoformat(timespec="microseconds") if instant else None


def dollars(pico: int) -> str:
    """An amount in 1e-12 US dollars as an exact decimal."""
    whole, fraction = divmod(pico, PICO)
    return f"{whole}.{fraction:012d}".rstrip("0").rstrip(".")


def midnight(day: date) -> datetime:
    """When a day begins, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
