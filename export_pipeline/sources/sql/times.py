"""How a trace store's `start_time` and `modified_at` become exact microseconds since 1970, UTC.

The rule is `runs.times`, but a text has to be in one of the two forms below, without blanks around it: so SQLite
(here, in Python) and PostgreSQL (in SQL) agree to the microsecond, and an index can find a day among texts. The two
patterns keep to what both kinds of regular expression know.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from export_pipeline.runs.times import (
    EPOCH,
    EPOCH_WITHOUT_ZONE,
    GO_ZONE,
    MAX_MICROS,
    MICROS_IN_UNIT,
    MIN_MICROS,
    SECOND,
    EpochUnit,
    instant,
    micros,
)

DAY_MICROS = 86_400_000_000
FAR = 2**63 - 1
"""Stands for every number beyond the years 1 to 9999, with its sign."""

# The calendar, because PostgreSQL raises on a date that does not exist and has to be asked before it casts. First each
# month with its days in any year but 0000; then the 29th of February of a leap year: one whose last two digits are a
# multiple of 4 other than 00, or whose first two are one, before 00.
_DATE = (
    "(?!0000)(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,30})?)?"
_ZONE = f"(?: ?(?:[Zz]|UTC|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?{GO_ZONE}))?"
TEXT_TIME = f"{_DATE}(?:[Tt ]{_CLOCK}{_ZONE})?"
TEXT_NUMBER = "-?(?:0|[1-9][0-9]{0,29})(?:[.][0-9]{1,30})?"

_TEXT = re.compile(f"{TEXT_TIME}|{TEXT_NUMBER}")
_USUAL = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.](?:[0-9]{6}|[0-9]{3}))?"
    "(Z|[+-](?:0[0-9]|1[0-5]):[0-5][0-9])?"
)
"""What `datetime.fromisoformat` reads by the same rule; a day of a million rows is a few million such texts."""


def clamp(value: int) -> datetime:
    """The aware time of microseconds since 1970; beyond the years 1 to 9999 their first or last microsecond."""
    return instant(min(max(value, MIN_MICROS), MAX_MICROS))


def parse_micros(value: bytes | int | float | None, unit: EpochUnit) -> int | None:
    """The instant of a value as SQLite holds it; None where it is not a time. Never raises."""
    if value is None:
        return None
    if isinstance(value, bytes):
        text = value.decode("utf-8", "replace")
        if usual := _USUAL.fullmatch(text):
            return _usual_micros(text, zoned=usual[1] is not None)
        if not _TEXT.fullmatch(text):
            return None
        parsed, is_past = micros(text, unit), text.startswith(("-", "0001"))
    elif isinstance(value, float) and not isfinite(value):
        return None
    else:
        parsed, is_past = micros(value, unit), value < 0
    if parsed is not None:
        return parsed
    return -FAR if is_past else FAR


def path_stamp(instant: int | None) -> str | None:
    """An instant as a segment of a `dotted_order` begins with it; None outside the years 1 to 9999."""
    if instant is None or not MIN_MICROS <= instant <= MAX_MICROS:
        return None
    time = clamp(instant)
    return f"{time.year:04}{time:%m%dT%H%M%S%fZ}"


def _usual_micros(text: str, *, zoned: bool) -> int | None:
    try:
        since = datetime.fromisoformat(text) - (EPOCH if zoned else EPOCH_WITHOUT_ZONE)
    except ValueError:
        return None
    parsed = since.days * DAY_MICROS + since.seconds * SECOND + since.microseconds
    if MIN_MICROS <= parsed <= MAX_MICROS:
        return parsed
    return -FAR if parsed < 0 else FAR


def number_bounds(low: int, high: int, unit: EpochUnit) -> tuple[int, int]:
    """The epoch numbers `a <= n < b` are exactly those whose instant lies in `low <= micros < high`."""
    multiply, divide = MICROS_IN_UNIT[unit]
    return -(-low * divide // multiply), -(-high * divide // multiply)


@dataclass(frozen=True)
class TextRange:
    """Texts `first <= text < last`, compared byte by byte; `shifted`: only those with an offset other than +00:00."""

    first: str
    last: str
    shifted: bool = False


def text_ranges(low: int, high: int, unit: EpochUnit) -> list[TextRange]:
    """Ranges that hold every text whose instant is in `low <= micros < high`.

    They hold more than that: they save reading a whole project through an index, and most of the parsing.
    """
    before, first, last, after = (
        clamp(value).date().isoformat() for value in (low - DAY_MICROS, low, high - 1, high + DAY_MICROS)
    )
    start, end = number_bounds(low, high, unit)
    shortest, longest = str(start - 1), str(end + 1)
    same_length = start > 1 and len(shortest) == len(longest)
    return [
        TextRange(first, last + "~"),
        TextRange(before, first, shifted=True),
        TextRange(last + "~", after + "~", shifted=True),
        TextRange(shortest, longest + "~") if same_length else TextRange("-", ":"),
    ]
