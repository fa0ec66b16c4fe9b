"""What the API says of many runs at once, in another way than by listing them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.protocol import FEEDBACK_FIGURE, DayFingerprint

_COUNTS = ("total_tokens", "prompt_tokens", "completion_tokens")
_COSTS = ("total_cost", "prompt_cost", "completion_cost")


@dataclass(frozen=True)
class Stats:
    """How many runs there are and how much feedback, and sums that show whether they changed; those of 0 are left out.

    Nothing is among them that a server may estimate, as percentiles are.
    """

    rows: int
    feedbacks: int
    figures: Mapping[str, str]

    def fingerprint(self, *, pending: int) -> DayFingerprint:
        """The same, as it is kept with a day; `pending` of its runs have not ended."""
        figures = {**self.figures, "pending_runs": str(pending)} if pending else self.figures
        return DayFingerprint(rows=self.rows, feedbacks=self.feedbacks, figures=figures)


def stats_of(text: str) -> Stats:
    """The statistics of an answer; raises `BadAnswerError` where it holds none."""
    try:
        answer = json.loads(text)
    except ValueError:
        raise BadAnswerError("the answer is not JSON, or is cut off") from None
    rows = answer.get("run_count") if isinstance(answer, dict) else None
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
        raise BadAnswerError(f"the statistics have no run_count: {text[:200]}")
    feedback = answer.get("feedback_stats") or {}
    figures = {name: str(answer.get(name) or 0) for name in _COUNTS}
    figures |= {name: _rounded(answer.get(name)) for name in _COSTS}
    figures["errors"] = str(round(float(answer.get("error_rate") or 0) * rows))
    figures |= {
        f"{FEEDBACK_FIGURE}{key}": f"{each.get('n') or 0}, average {_rounded(each.get('avg'))}"
        for key, each in sorted(feedback.items())
    }
    return Stats(
        rows,
        sum(each.get("n") or 0 for each in feedback.values()),
        {name: figure for name, figure in figures.items() if figure != "0"},
    )


def _rounded(figure: Any) -> str:
    """A server may add up in any order: the last digits of a float say nothing."""
    return f"{float(figure or 0):.9g}"
