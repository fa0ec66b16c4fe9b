"""Feedback on sample traces: thumbs of users, scores of evaluators, comments."""

import random
from datetime import timedelta
from typing import Any

from export_pipeline_sample.rows import Row, Trace, dump, iso
from export_pipeline_sample.text import sentence

_SHARE = 0.12


def judge(trace: Trace, *, experiment: bool) -> None:
    """Gives feedback to the root of some traces (in an experiment: of all), as records and as statistics."""
    rng, root = trace.rng, trace.runs[0]
    if root.end is None or not (experiment or rng.random() < _SHARE):
        return
    keys = ["correctness", "conciseness"] if experiment else ["user_score"]
    if not experiment and rng.random() < 0.3:
        keys.append("helpfulness")
    stats: dict[str, Any] = {}
    for key in keys:
        score: float = rng.choice((0, 1, 1, 1)) if key == "user_score" else round(rng.random(), 3)
        comment = sentence(rng, trace.language) if rng.random() < 0.4 else None
        root.feedback.append(_record(trace, rng, key, score, comment))
        stats[key] = {
            "n": 1,
            "avg": score,
            "stdev": 0,
            "errors": 0,
            "values": {},
            "comments": [comment] if comment else [],
        }
    root.feedback_stats = stats


def _record(trace: Trace, rng: random.Random, key: str, score: float, comment: str | None) -> Row:
    root = trace.runs[0]
    given = (root.end or root.start) + timedelta(seconds=rng.randrange(2, 3_000))
    source = {"type": "app", "user_id": f"user-{rng.randrange(900)}"} if key == "user_score" else {"type": "model"}
    correction = {"label": "refund"} if score == 0 and rng.random() < 0.5 else None
    return (
        trace.uuid(), root.id, root.id, None, None, key, str(score), dump("down" if score == 0 else "up"), comment,
        dump(correction), dump(source), iso(given), iso(given),
    )  # fmt: skip
