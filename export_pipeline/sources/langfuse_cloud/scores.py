"""Scores as the feedback of runs: one by one, and summed up by key."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.http.exact import Cells
from export_pipeline.sources.langfuse_cloud.rows import Span

_NUMBERS = frozenset({"NUMERIC", "BOOLEAN"})


@dataclass(frozen=True)
class Score:
    """One score; of a whole trace where there is no `observation`."""

    id: str
    trace: str
    observation: str | None
    key: str
    score: str | None
    """The number, as it is written."""
    value: str | None
    rest: Mapping[str, str]
    """What else there is of a feedback record, as JSON."""

    def record(self, run: str) -> str:
        """The feedback record of a run."""
        members = {
            "id": _json(self.id),
            "run_id": _json(run),
            "key": _json(self.key),
            "score": self.score or "null",
            "value": _json(self.value),
            **self.rest,
        }
        return "{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}"


def score_of(cells: Cells) -> Score | None:
    """The score of an answer; None where it is one of a session or an experiment."""
    subject, value = _value(cells, "subject"), cells.get("value")
    own, key, kind = _value(cells, "id"), _value(cells, "name"), _value(cells, "dataType")
    if not isinstance(own, str) or not isinstance(key, str) or not isinstance(subject, dict) or value is None:
        raise BadAnswerError("a score has no id, no name, no value or no subject")
    if subject.get("kind") not in {"trace", "observation"}:
        return None
    is_observation = subject["kind"] == "observation"
    trace = subject.get("traceId") if is_observation else subject.get("id")
    is_number = kind in _NUMBERS
    number = str(int(value.value)) if isinstance(value.value, bool) else value.text
    return Score(
        id=own,
        trace=str(trace),
        observation=str(subject.get("id")) if is_observation else None,
        key=key,
        score=number if is_number else None,
        value=None if is_number else str(value.value),
        rest={
            "comment": _text(cells, "comment"),
            "feedback_source": json.dumps({"type": str(_value(cells, "source")).lower()}),
            "extra": _text(cells, "metadata"),
            "created_at": _text(cells, "createdAt"),
            "modified_at": _text(cells, "updatedAt"),
        },
    )


class Feedback:
    """The scores of some traces, by run."""

    def __init__(self, scores: Iterable[Score]) -> None:
        self._by_run: dict[str, list[Score]] = defaultdict(list)
        self._by_trace: dict[str, list[Score]] = defaultdict(list)
        for score in sorted(scores, key=lambda score: score.id):
            if score.observation is None:
                self._by_trace[score.trace].append(score)
            else:
                self._by_run[f"{score.trace}:{score.observation}"].append(score)

    def cells(self, span: Span) -> dict[str, str | None]:
        """The columns `feedback_stats` and `feedbacks` of a run: those of its trace are a root's."""
        found = list(self._by_run.get(span.id, ()))
        if span.parent is None:
            found += self._by_trace.get(span.trace, ())
        if not found:
            return {}
        return {
            "feedback_stats": _stats(found),
            "feedbacks": "[" + ",".join(score.record(span.id) for score in found) + "]",
        }


def _stats(scores: Iterable[Score]) -> str:
    by_key: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        by_key[score.key].append(score)
    return json.dumps({key: _summed(by_key[key]) for key in sorted(by_key)}, ensure_ascii=False)


def _summed(scores: list[Score]) -> dict[str, Any]:
    numbers = [Decimal(score.score) for score in scores if score.score is not None]
    labels = Counter(sorted(score.value for score in scores if score.value is not None))
    return {
        "n": len(scores),
        "avg": float(sum(numbers) / len(numbers)) if numbers else None,
        "values": labels,
    }


def _value(cells: Cells, name: str) -> Any:
    return cells[name].value if name in cells else None


def _text(cells: Cells, name: str) -> str:
    return cells[name].text if name in cells else "null"


def _json(value: str | None) -> str:
    return json.dumps(value, ensure_ascii=False)
