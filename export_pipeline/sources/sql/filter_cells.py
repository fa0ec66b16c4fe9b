"""How filters read single cells where no SQL can say it: the rules, in Python, for a cell as the store holds it."""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from export_pipeline.runs import cells
from export_pipeline.runs.ids import parse_uuid
from export_pipeline.runs.times import BLANKS, NUMBER
from export_pipeline.sources.sql import filter_json
from export_pipeline.sources.sql.filter_words import ListPlace, PathPlace

MAX_NUMBER = 1_000
"""Characters of a number; longer ones are none."""

_LARGE = re.compile(r"[eE][+-]?0*[0-9]{4,}$")


def text_of(value: Any) -> str | None:
    """A cell as the export takes it."""
    if value is None or isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)


def id_of(value: Any) -> str | None:
    """An id: a UUID in its usual form, any other text as it is; None for a blank."""
    text = text_of(value)
    if text is None or cells.is_blank(text):
        return None
    parsed = parse_uuid(text)
    return text if parsed is None else str(parsed)


def number_of(value: Any) -> str | None:
    """The text of a decimal number; None for anything else."""
    text = (text_of(value) or "").strip(BLANKS)
    usable = len(text) <= MAX_NUMBER and NUMBER.fullmatch(text) and not _LARGE.search(text)
    return text if usable else None


def whole_of(value: Any) -> int | None:
    """A whole number within 64 bits."""
    text = number_of(value)
    return None if text is None else cells.count(text)


def compare(left: str | None, right: str) -> int | None:
    """Which of two numbers is greater: 1, 0 or -1; None without the first."""
    if left is None:
        return None
    first, second = Decimal(left), Decimal(right)
    return (first > second) - (first < second)


def on_path(value: Any, place: PathPlace) -> str | None:
    """The id at a place of a `dotted_order`."""
    ids = [own for _, own in cells.dotted_segments(text_of(value))]
    part = ids[:1] if place == "root" else ids[-2:-1] if place == "parent" else ids[-1:]
    return id_of(part[0]) if part else None


def _strings(value: Any, read: Callable[[str], tuple[list[str], Any]] = cells.strings) -> list[str]:
    text = text_of(value)
    if text is None or cells.is_null(text):
        return []
    return read(filter_json.cleaned(text))[0] if filter_json.is_list(text) else [text]


def listed(value: Any, place: ListPlace) -> str | None:
    """The first or the last id of a list."""
    texts = _strings(value, cells.ids)
    return id_of(texts[0 if place == "first" else -1]) if texts else None


def has(value: Any, wanted: str) -> bool:
    """Whether a text is one of the strings of a list."""
    return wanted in _strings(value)


def entries(value: Any, inside: str | None, wanted: str | None) -> list[tuple[str, str, str | None]]:
    """The entries (key, type, text) of a JSON object, or of its member `inside`; only those under `wanted`, if any."""
    parsed = text_of(value)
    return [] if parsed is None else filter_json.entries(parsed, inside, wanted)


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> tuple[tuple[int, re.Pattern[str]], ...]:
    """What stands between the `%` of a pattern, each with its length in characters."""
    parts, escaped = [""], False
    lengths = [0]
    for char in pattern:
        if char == "\\" and not escaped:
            escaped = True
            continue
        if char == "%" and not escaped:
            parts.append("")
            lengths.append(0)
        else:
            parts[-1] += "." if char == "_" and not escaped else re.escape(char)
            lengths[-1] += 1
        escaped = False
    return tuple((length, re.compile(part, re.DOTALL)) for length, part in zip(lengths, parts, strict=True))


def like(text: str | None, pattern: str) -> bool | None:
    """The first place that fits is always the right one, so that no pattern makes it go back and forth."""
    if text is None:
        return None
    (first, head), *others = _pattern(pattern)
    if not others:
        return len(text) == first and head.match(text) is not None
    *middle, (last, tail) = others
    place = first
    if head.match(text) is None:
        return False
    for _, part in middle:
        if (match := part.search(text, place)) is None:
            return False
        place = match.end()
    return len(text) - last >= place and tail.match(text, len(text) - last) is not None
