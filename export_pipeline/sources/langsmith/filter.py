"""A filter in the words of LangSmith, where both mean the same by them; anything else is refused.

Its language looks like this product's, but differs in what null, case, patterns and values of metadata mean. What would
be judged otherwise there would export rows that nobody asked for, or leave some out.
"""

from datetime import UTC, datetime

from export_pipeline.errors import InputError
from export_pipeline.runs.filter_tree import And, Compare, Filter, Has, In, Or

_EQUAL = frozenset({"id", "trace_id", "name", "run_type", "status", "is_root"})
_ORDERED = frozenset({"start_time", "end_time"})
_GREATER = frozenset({"total_tokens"})
"""Fields that are compared with what is greater only: 0 and null are not told apart."""


def filter_text(tree: Filter) -> str:
    """The filter as the API reads it; raises `InputError` that names what it cannot be asked."""
    if isinstance(tree, (And, Or)):
        word = "and" if isinstance(tree, And) else "or"
        return f"{word}({', '.join(map(filter_text, tree.operands))})"
    if isinstance(tree, Has):
        return str(tree)
    if isinstance(tree, In) and tree.field in _EQUAL:
        return filter_text(Or(tuple(Compare(tree.field, "eq", value) for value in tree.values)))
    if isinstance(tree, Compare) and tree.value is not None and _is_same(tree):
        return str(tree)
    raise InputError(
        f"a trace store behind LangSmith's API cannot be asked for {tree}: a filter there may use and, or, "
        "eq and in with id, trace_id, name, run_type, status or is_root, gt, gte, lt and lte with start_time or "
        "end_time, gt and gte with total_tokens, and has with tags"
    )


def _is_same(tree: Compare) -> bool:
    if tree.operator == "eq":
        return tree.field in _EQUAL
    if tree.operator == "neq":
        return False
    greater = tree.operator in {"gt", "gte"}
    is_positive = isinstance(tree.value, (int, float)) or str(tree.value).lstrip("+")[:1].isdigit()
    return tree.field in _ORDERED or (tree.field in _GREATER and greater and is_positive and tree.value != 0)


def between(start: datetime | None, end: datetime | None, *others: str | None) -> str:
    """The runs of a half-open window, open where it has no border, to which the other filters apply too."""
    parts = [] if start is None else [f'gte(start_time, "{moment(start)}")']
    parts += [] if end is None else [f'lt(start_time, "{moment(end)}")']
    parts += [other for other in others if other is not None]
    return parts[0] if len(parts) == 1 else f"and({', '.join(parts)})"


def moment(at: datetime) -> str:
    """An instant as the API writes it."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
