"""What the API says of many runs at once, in another way than by listing them."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.protocol import DayFingerprint

_COUNTS = ("run_count", "total_tokens", "prompt_tokens", "completion_tokens")
_FIGURES = ("total_cost", "prompt_cost", "completion_cost", "error_rate")
"""Sums and shares that a server may add up in any order: the last digits of a float say nothing."""


@dataclass(frozen=True)
class Stats:
    """How many runs there are; `digest` is another number where they changed, as far as sums can show it."""

    rows: int
    feedbacks: int
    digest: int

    @property
    def fingerprint(self) -> DayFingerprint:
        """The same, as it is kept with a day."""
        return DayFingerprint(rows=self.rows, feedbacks=self.feedbacks, digest=self.digest)


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
    shown: list[Any] = [answer.get(name) or 0 for name in _COUNTS]
    shown += [_rounded(answer.get(name)) for name in _FIGURES]
    shown += [[key, each.get("n") or 0, _rounded(each.get("avg"))] for key, each in sorted(feedback.items())]
    digest = int.from_bytes(hashlib.sha256(json.dumps(shown).encode()).digest()[:8], "big")
    # 53 bits are what every reader of JSON takes for an integer.
    return Stats(rows, sum(each.get("n") or 0 for each in feedback.values()), digest % 2**53)


def _rounded(figure: Any) -> str:
    return f"{float(figure or 0):.6g}"
