"""Rejected rows counted by reason, and told in a few words."""

from collections import Counter
from collections.abc import Iterable, Mapping

_SHOWN_REASONS = 10


def describe_rejected(reasons: Mapping[str, int]) -> str:
    """Rejected rows in a few words, the most frequent reasons first; `reasons` has one at least."""
    total = sum(reasons.values())
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{reason} ({count:,})" for reason, count in ordered[:_SHOWN_REASONS]]
    more = ["…"] if len(ordered) > _SHOWN_REASONS else []
    return f"{total:,} {'row' if total == 1 else 'rows'} rejected: {', '.join(shown + more)}"


def total_rejected(days: Iterable[Mapping[str, int]]) -> Counter[str]:
    """The rejected rows of several days together, by reason."""
    total: Counter[str] = Counter()
    for reasons in days:
        total.update(reasons)
    return total
