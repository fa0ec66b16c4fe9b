"""What the metrics of the API say of a day.

Metrics count every stored version of an observation, so that a count may be larger than the number of observations, and
fall without a change of the data: they tell that a day changed, and are no proof that it is complete.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import date

from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.protocol import DayFingerprint

_COUNT, _DAY = "count_count", "time_dimension"


@dataclass(frozen=True)
class Mark:
    """A day's figures: `versions` of observations at least, and a number that is another one where any changed."""

    day: date
    versions: int
    digest: int

    @property
    def fingerprint(self) -> DayFingerprint:
        """The same, as it is kept with a day."""
        return DayFingerprint(rows=self.versions, digest=self.digest, is_exact=False)


def marks_of(answer: str) -> list[Mark]:
    """The days of an answer, those without observations left out; raises `BadAnswerError` where it is none."""
    try:
        found = json.loads(answer)
    except ValueError:
        raise BadAnswerError("the answer is not JSON, or is cut off") from None
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadAnswerError(f"the answer has no data: {answer[:200]}")
    marks = []
    for row in rows:
        try:
            day, versions = date.fromisoformat(str(row[_DAY])[:10]), int(row[_COUNT] or 0)
        except (KeyError, ValueError, TypeError):
            raise BadAnswerError(f"the metrics have no {_DAY} and {_COUNT}: {answer[:200]}") from None
        if versions:
            marks.append(Mark(day, versions, _digest({name: row[name] for name in sorted(row) if name != _DAY})))
    return marks


def _digest(figures: dict[str, object]) -> int:
    shown = [[name, f"{float(str(figure or 0)):.6g}"] for name, figure in figures.items()]
    # 53 bits are what every reader of JSON takes for an integer.
    return int.from_bytes(hashlib.sha256(json.dumps(shown).encode()).digest()[:8], "big") % 2**53
