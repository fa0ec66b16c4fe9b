"""The path of a run in its trace, which the API does not give: built from the parents of the trace's observations.

Observations come in the order of their start, so that most parents are known when their children come. Where one is
not, the whole trace is asked for once. Few traces are under way at any time of a day: those that were touched last are
kept, and a trace is forgotten as a whole.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from export_pipeline.runs.times import instant
from export_pipeline.sources.langfuse_cloud.rows import Span

MAX_DEPTH = 256
"""Runs on a path; a longer one, such as one that goes round in circles, is none."""
MAX_SPANS = 100_000
"""That are kept, all traces together; the latest trace is, however large."""
_LIKE_A_SEGMENT = re.compile(r"\..{8}T.{12}Z", re.DOTALL)


@dataclass
class _Trace:
    spans: dict[str, Span] = field(default_factory=dict)
    is_whole: bool = False


class Paths:
    """The paths of runs that are asked about in the order of their start."""

    def __init__(self, ask: Callable[[str], Iterable[Span]]) -> None:
        """`ask` gives all spans of a trace that may be ancestors."""
        self._ask = ask
        self._traces: OrderedDict[str, _Trace] = OrderedDict()
        self._kept = 0

    def add(self, spans: Iterable[Span]) -> None:
        """Spans that were read."""
        for span in spans:
            self._add(span)

    def of(self, span: Span) -> str | None:
        """The `dotted_order` of a span that was added; None where its ancestors do not lead to a root."""
        segments: list[str] = []
        at: Span | None = span
        while at is not None:
            if len(segments) == MAX_DEPTH or _LIKE_A_SEGMENT.search(at.id):
                return None
            segments.append(f"{instant(at.start):%Y%m%dT%H%M%S%fZ}{at.id}")
            if at.parent is None:
                return ".".join(reversed(segments))
            at = self._known(at.trace, at.parent)
        return None

    def _known(self, trace: str, own: str) -> Span | None:
        known = self._traces.setdefault(trace, _Trace())
        self._traces.move_to_end(trace)
        if own not in known.spans and not known.is_whole:
            self.add(self._ask(trace))
            known = self._traces.setdefault(trace, _Trace())
            known.is_whole = True
        return known.spans.get(own)

    def _add(self, span: Span) -> None:
        known = self._traces.setdefault(span.trace, _Trace())
        self._traces.move_to_end(span.trace)
        self._kept += span.id not in known.spans
        known.spans[span.id] = span
        while self._kept > MAX_SPANS and len(self._traces) > 1:
            _, forgotten = self._traces.popitem(last=False)
            self._kept -= len(forgotten.spans)
