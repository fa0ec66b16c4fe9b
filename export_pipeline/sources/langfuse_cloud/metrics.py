"""What the metrics of the API say of a day.

Metrics count every stored version of an observation, so that a count may be larger than the number of observations, and
fall without a change of the data: they tell that a day changed, and are no proof that it is complete.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.protocol import DayFingerprint

_DAY, _COUNT, _SCORES = "time_dimension", "count_count", "sum_countScores"
_SUMS = {
    "input_tokens": "sum_inputTokens",
    "output_tokens": "sum_outputTokens",
    "total_tokens": "sum_totalTokens",
    "total_cost": "sum_totalCost",
}


@dataclass(frozen=True)
class Mark:
    """A day's figures: `versions` of observations at least, their scores, and sums; those of 0 are left out."""

    day: date
    versions: int
    scores: int
    sums: Mapping[str, str]

    @property
    def fingerprint(self) -> DayFingerprint:
        """The same, as it is kept with a day."""
        figures = {"observations": str(self.versions), **self.sums}
        return DayFingerprint(rows=self.versions, feedbacks=self.scores, figures=figures, is_exact=False)


def marks_of(answer: str) -> list[Mark]:
    """The days of an answer, those without observations left out; raises `BadAnswerError` where it is none."""
    try:
        found = json.loads(answer)
    except ValueError:
        raise BadAnswerError("the answer is not JSON, or is cut off") from None
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadAnswerError(f"the answer has no data: {answer[:200]}")
    try:
        marks = list(map(_mark, rows))
    except (KeyError, ValueError, TypeError):
        raise BadAnswerError(f"the metrics have no {_DAY} or no {_COUNT}: {answer[:200]}") from None
    return [mark for mark in marks if mark.versions]


def _mark(row: Mapping[str, Any]) -> Mark:
    # A server may add up in any order: the last digits of a float say nothing.
    sums = {name: f"{float(row.get(column) or 0):.9g}" for name, column in _SUMS.items()}
    return Mark(
        day=date.fromisoformat(str(row[_DAY])[:10]),
        versions=int(row[_COUNT] or 0),
        scores=int(row.get(_SCORES) or 0),
        sums={name: figure for name, figure in sums.items() if figure != "0"},
    )
