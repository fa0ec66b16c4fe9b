"""Instants as microseconds since 1970 in UTC: the one rule for every form in which a trace store writes a time.

A text is a time where it is, blanks around it aside, either

- ISO 8601 in the extended form: `2026-01-31`, then a `T` or a space and `23:59`, then `:59`, then `.` or `,` and any
  number of digits, then a zone: `Z`, `UTC`, `+01`, `+0100`, `+01:00` or `+01:00:00`, with or without a space before
  it. The parts may be left out from the end on; without a zone the time is in UTC. After an offset the zone's name may
  stand, as Go writes it (`+0000 UTC`, `+0530 IST m=+0.01`); or
- a decimal number, with or without fraction and exponent, that counts from 1970-01-01 in the epoch unit.

What is finer than a microsecond is cut off (towards the past). Instants outside the years 0001 to 9999, `infinity`,
years before Christ, the second 60 and the hour 24 are no times.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Literal

EpochUnit = Literal["s", "ms", "us", "ns"]

MIN_MICROS = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z."""
MAX_MICROS = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z."""

MICROS_IN_UNIT: dict[EpochUnit, tuple[int, int]] = {
    "s": (1_000_000, 1),
    "ms": (1_000, 1),
    "us": (1, 1),
    "ns": (1, 1_000),
}
"""Microseconds in one unit, as numerator and denominator."""

BLANKS = " \t\r\n\f\v"
"""The characters that are taken off both ends of a text before it is read as an id, a time, a number or a flag."""

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
"""A decimal number as text; an exponent of more than five digits is not a number."""

GO_ZONE = "(?: (?:[A-Z]{3,5}|[+-][0-9]{2}(?:[0-9]{2})?)(?: m=[+-][0-9]{1,12}[.][0-9]{1,12})?)?"
"""What Go writes after an offset: the name of the zone, and perhaps its monotonic clock."""

_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]*))?)?"
    rf"(?: ?(?:[Zz]|[Uu][Tt][Cc]|([+-])([0-9]{{2}})(?:([0-9]{{2}})|:([0-9]{{2}})(?::([0-9]{{2}}))?)?{GO_ZONE}))?)?"
)

_PLAIN_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.(?:[0-9]{3}){1,2})?(?:Z|[+-][0-9]{2}:[0-5][0-9])?"
)
"""The part of `_ISO` that `datetime.fromisoformat` reads in the same way, five times as fast."""

SECOND = 1_000_000
"""In microseconds."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_WITHOUT_ZONE = EPOCH.replace(tzinfo=None)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def instant(value: int) -> datetime:
    """Microseconds since 1970 as a time in UTC; raises `OverflowError` beyond the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=value)


def micros(value: str | int | float | bytes | None, epoch_unit: EpochUnit = "s") -> int | None:
    """The microseconds since 1970-01-01T00:00:00Z that a cell stands for; None where it is not a time.

    A float is taken by its shortest decimal form, so 1700000000.123456 keeps its six digits. Bytes are UTF-8 text.
    """
    if isinstance(value, bytes):
        value = value.decode(errors="replace")  # a replacement character is in no time
    if isinstance(value, str):
        return _of_text(value.strip(BLANKS), epoch_unit)
    if isinstance(value, float):
        return _of_number(repr(value), epoch_unit) if isfinite(value) else None
    if value is None:
        return None
    numerator, denominator = MICROS_IN_UNIT[epoch_unit]
    return _in_range(value * numerator // denominator)


def _of_text(text: str, epoch_unit: EpochUnit) -> int | None:
    if _PLAIN_ISO.fullmatch(text):
        return _of_plain_iso(text)
    if match := _ISO.fullmatch(text):
        return _of_iso(match)
    return _of_number(text, epoch_unit) if NUMBER.fullmatch(text) else None


def _in_range(value: int) -> int | None:
    return value if MIN_MICROS <= value <= MAX_MICROS else None


def _of_number(text: str, epoch_unit: EpochUnit) -> int | None:
    number = Decimal(text)
    if not number:
        return 0
    if number.adjusted() > 24:  # beyond the year 9999 in any unit; spares the arithmetic on thousands of digits
        return None
    if number.adjusted() < -24:  # between -1 and 1 nanosecond
        return -1 if number < 0 else 0
    above, below = number.as_integer_ratio()
    numerator, denominator = MICROS_IN_UNIT[epoch_unit]
    return _in_range(above * numerator // (below * denominator))


def _of_plain_iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    since = moment - (EPOCH if moment.tzinfo else EPOCH_WITHOUT_ZONE)
    return _in_range((since.days * 86_400 + since.seconds) * SECOND + since.microseconds)


def _of_iso(match: re.Match[str]) -> int | None:
    year, month, day, hour, minute, second = (int(part or 0) for part in match.group(1, 2, 3, 4, 5, 6))
    try:
        whole = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:  # the 30th of February, the year 0, the hour 24
        return None
    zone_hour, zone_minute, zone_second = (int(part or 0) for part in (match[9], match[10] or match[11], match[12]))
    if zone_hour > 23 or zone_minute > 59 or zone_second > 59:
        return None
    offset = (zone_hour * 60 + zone_minute) * 60 + zone_second
    seconds = (whole - EPOCH) // timedelta(seconds=1)
    seconds += offset if match.group(8) == "-" else -offset
    return _in_range(seconds * SECOND + int((match.group(7) or "")[:6].ljust(6, "0")))
