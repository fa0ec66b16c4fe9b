"""Trees of the filter language for Hypothesis; the sources' tests give them values that rows hold."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from export_pipeline.runs.filter_fields import FIELDS, ORDER, Kind, ascii_lower, read_value
from export_pipeline.runs.filter_tree import And, Compare, Filter, Has, In, Like, Not, Or, Search, entry_part

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NUMBERS = st.decimals(-(10**12), 10**12, places=3).map(lambda number: number or Decimal(0)) | st.integers(-5, 5).map(
    Decimal
)
PATTERNS = TEXTS.map(lambda text: text.replace("\\", "\\\\"))
TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda time: max(time, datetime(1, 1, 2, tzinfo=UTC)))

VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.ID: st.uuids().map(str) | TEXTS,
    Kind.TEXT: TEXTS,
    Kind.WORD: st.sampled_from(["llm", "LLM", "error", " pending "]) | TEXTS,
    Kind.TIME: TIMES,
    Kind.SECONDS: st.integers(-(10**9), 10**9).map(lambda micros: Decimal(micros) / 1_000_000),
    Kind.FLAG: st.booleans(),
    Kind.COUNT: st.integers(-(2**63), 2**63 - 1).map(Decimal),
    Kind.KEY: TEXTS,
    Kind.SCALAR: TEXTS | NUMBERS | st.booleans(),
    Kind.NUMBER: NUMBERS,
}
NAMES = [name for name in FIELDS if name != "tags"]


@st.composite
def conditions(
    draw: st.DrawFn,
    *,
    values: dict[Kind, st.SearchStrategy[Any]] | None = None,
    patterns: st.SearchStrategy[str] = PATTERNS,
    texts: st.SearchStrategy[str] = TEXTS,
    names: tuple[str, ...] = tuple(NAMES),
) -> Filter:
    """One condition, as the parser would make it."""
    kind = draw(st.integers(0, 11))
    if kind < 2:
        return Has(draw(texts)) if kind == 0 else Search(draw(texts.filter(bool)))
    name = draw(st.sampled_from(names))
    return draw(_comparisons(name, values or VALUES, patterns))


def _comparisons(
    name: str, values: dict[Kind, st.SearchStrategy[Any]], patterns: st.SearchStrategy[str]
) -> st.SearchStrategy[Filter]:
    """Comparisons of one field."""
    field = FIELDS[name]
    value = values[field.kind].map(lambda found: _typed(field.kind, found))
    found: list[st.SearchStrategy[Filter]] = []
    for operator in field.operators:
        if operator == "like":
            lowered = patterns.map(ascii_lower) if field.kind is Kind.WORD else patterns
            found.append(lowered.map(lambda pattern: Like(name, pattern)))
        elif operator == "in":
            found.append(st.lists(value, min_size=1, max_size=4).map(lambda some: In(name, tuple(some))))
        elif operator in ORDER:
            ordered = value.filter(lambda each: not isinstance(each, bool))
            found.append(st.builds(Compare, st.just(name), st.just(operator), ordered))
        else:
            nothing = st.nothing() if field.kind is Kind.KEY else st.none()
            found.append(st.builds(Compare, st.just(name), st.just(operator), value | value | value | nothing))
    return st.one_of(found)


def _typed(kind: Kind, value: Any) -> Any:
    return value if kind is Kind.TIME else read_value(kind, value)


def trees(leaves: st.SearchStrategy[Filter] | None = None) -> st.SearchStrategy[Filter]:
    """Trees of any shape."""
    return st.recursive(
        conditions() if leaves is None else leaves,
        lambda inner: (
            inner.map(Not)
            | st.lists(inner, min_size=1, max_size=4).map(tuple).map(Or)
            | st.lists(inner, min_size=1, max_size=5).map(tuple).filter(is_clear).map(And)
        ),
        max_leaves=8,
    )


def is_clear(operands: tuple[Filter, ...]) -> bool:
    """Whether the parser takes them as operands of one `and`: no value stands before several keys of its family."""
    waiting: set[str] = set()
    keys: dict[str, int] = {}
    for node in operands:
        family, is_key = entry_part(node) or ("", False)
        if is_key:
            keys[family] = keys.get(family, 0) + 1
        elif family and family not in keys:
            waiting.add(family)
    return not any(keys.get(family, 0) > 1 for family in waiting)
