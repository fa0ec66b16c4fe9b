"""Times in ClickHouse's SQL: every instant is an Int64 of microseconds since 1970, UTC, whatever the column's type.

A column without a time zone is shown in the server's, but holds an instant all the same.
"""

from dataclasses import dataclass
from datetime import timedelta

from typing_extensions import override

from export_pipeline.runs.times import EPOCH, MAX_MICROS, MICROS_IN_UNIT, MIN_MICROS, EpochUnit
from export_pipeline.sources.clickhouse.types import INTEGERS, family, scale
from export_pipeline.sources.sql.dialect import TimeSql
from export_pipeline.sources.sql.times import DAY_MICROS, FAR, TEXT_NUMBER, TEXT_TIME, number_bounds, text_ranges

NEVER = "1 = 0"

_FIRST_DAY = -62_135_596_800_000_000
"""0001-01-01; days are counted from it, so that none is negative and none rounded up."""
_DAYS_BEFORE_1970 = 719_162
_RANGES = {  # of years that a type holds for certain
    "Date": (1970, 2149),
    "Date32": (1900, 2300),
    "DateTime": (1970, 2106),
    "DateTime64": (1900, 2300),
}
_NANOSECONDS = (1900, 2262)
_NUMBER = f"^(?:{TEXT_NUMBER})$"
_FLOAT = f"^{TEXT_NUMBER}(?:[eE][+-]?[0-9]{{1,2}})?$"
# The regular expressions of ClickHouse cannot look ahead; the year 0 is asked about apart.
_TIME = "^(?:" + TEXT_TIME.replace("(?!0000)", "") + ")$"
_INT64 = 2**63 - 1


def literal(text: str) -> str:
    """A text as a constant."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Micros(TimeSql):
    """What all times have in common once they are microseconds."""

    @property
    @override
    def raw(self) -> str:
        return self.instant

    @property
    @override
    def day(self) -> str:
        return f"(intDiv({self.instant} - ({_FIRST_DAY}), {DAY_MICROS}) - {_DAYS_BEFORE_1970})"

    @property
    @override
    def newest(self) -> str:
        return f"maxOrNull({self.instant})"

    @property
    @override
    def rank(self) -> str:
        return f"COALESCE({self.instant}, {-_INT64})"

    @override
    def literal(self, micros: int) -> str:
        return str(micros)


@dataclass(frozen=True)
class NativeTime(Micros):
    """A column of dates or times; `indexed` is the column by itself, as the table's keys have it."""

    sql: str
    type: str
    indexed: str

    @property
    @override
    def instant(self) -> str:
        x, kind = self.sql, family(self.type)
        if kind == "DateTime":
            return f"(toInt64(toUnixTimestamp({x})) * 1000000)"
        if kind in {"Date", "Date32"}:
            return f"(toInt64(toInt32(toDate32({x}))) * {DAY_MICROS})"
        if scale(self.type) <= 6:
            return f"toUnixTimestamp64Micro(toDateTime64({x}, 6, 'UTC'))"
        nanos = f"toUnixTimestamp64Nano(toDateTime64({x}, 9, 'UTC'))"
        return f"intDiv({nanos} - if({nanos} < 0, 999, 0), 1000)"  # towards the past, as everywhere

    @override
    def near(self, low: int, high: int, *, also: str) -> str:
        """Compared as the column's own type, which its keys can be searched for."""
        kind = family(self.type)
        first, last = _NANOSECONDS if scale(self.type) > 6 else _RANGES[kind]
        least, most = (_micros_of(year) for year in (first, last))
        if high <= least or low >= most:
            return f"{also} AND {self.instant} >= {low} AND {self.instant} < {high}"
        conditions = [also]
        if low > least:
            conditions.append(f"{self.indexed} >= {self._constant(low)}")
        if high < most:
            conditions.append(f"{self.indexed} < {self._constant(high)}")
        return " AND ".join([*conditions, *([f"{self.instant} IS NOT NULL"] if self.sql != self.indexed else [])])

    def _constant(self, micros: int) -> str:
        """The least value of the type that is not before the instant."""
        kind = family(self.type)
        step = DAY_MICROS if kind in {"Date", "Date32"} else 10 ** max(6 - scale(self.type), 0)
        at = EPOCH + timedelta(microseconds=-(-micros // step) * step)
        text = at.replace(tzinfo=None).isoformat(" ", timespec="microseconds")
        if kind in {"Date", "Date32"}:
            return f"to{kind}('{text[:10]}')"
        return f"toDateTime64('{text}', 6, 'UTC')" if kind == "DateTime64" else f"toDateTime('{text[:19]}', 'UTC')"

    @override
    def exact(self, low: int, high: int) -> str:
        return ""


@dataclass(frozen=True)
class ValueTime(Micros):
    """An epoch number, or text that is ISO 8601 or an epoch number."""

    sql: str
    type: str
    unit: EpochUnit

    @property
    @override
    def instant(self) -> str:
        x, kind = self.sql, family(self.type)
        multiply, divide = MICROS_IN_UNIT[self.unit]
        if kind in INTEGERS:
            number = f"toInt256({x}) * {multiply}"
            return _clamped(f"intDiv({number} - if({x} < 0, {divide - 1}, 0), {divide})")
        text = f"toString({x})"
        counted = _clamped(f"toInt256(floor(toDecimal256OrNull({text}, 30) * {multiply} / {divide}))")
        if kind != "String":
            return f"if(match({text}, {literal(_FLOAT)}), {counted}, NULL)"
        return (
            f"multiIf(match({x}, {literal(_NUMBER)}), {counted}, "
            f"match({x}, {literal(_TIME)}) AND NOT startsWith({x}, '0000'), {_of_iso(x)}, NULL)"
        )

    @override
    def near(self, low: int, high: int, *, also: str) -> str:
        x, kind = self.sql, family(self.type)
        if kind in INTEGERS:
            first, last = number_bounds(low, high, self.unit)
            if first > _INT64:
                return NEVER
            return f"{also} AND {x} >= {max(first, -_INT64)} AND {x} < {min(last, _INT64)}"
        if kind != "String":
            return also
        ranges = []
        for texts in text_ranges(low, high, self.unit):
            shifted = f" AND match(substring({x}, 11), '[+-]')" if texts.shifted else ""
            ranges.append(f"({x} >= {literal(texts.first)} AND {x} < {literal(texts.last)}{shifted})")
        return f"{also} AND ({' OR '.join(ranges)})"

    @override
    def exact(self, low: int, high: int) -> str:
        return f"{self.instant} >= {low} AND {self.instant} < {high}"


def _micros_of(year: int) -> int:
    return (EPOCH.replace(year=year) - EPOCH) // timedelta(microseconds=1)


def _clamped(number: str) -> str:
    """The number; beyond the years 1 to 9999 `FAR`, with its sign."""
    return f"multiIf({number} < {MIN_MICROS}, {-FAR}, {number} > {MAX_MICROS}, {FAR}, toInt64({number}))"


def _of_iso(x: str) -> str:
    """The microseconds of a text that has the form of `TEXT_TIME`, by the calendar's own arithmetic.

    ClickHouse's times do not reach beyond 1900 to 2299.
    """

    def part(place: int, length: int) -> str:
        return f"toInt64OrZero(substring({x}, {place}, {length}))"

    year = f"({part(1, 4)} - ({part(6, 2)} <= 2))"
    month = f"(({part(6, 2)} + 9) % 12)"
    days = (
        f"(365 * {year} + intDiv({year}, 4) - intDiv({year}, 100) + intDiv({year}, 400) "
        f"+ intDiv(153 * {month} + 2, 5) + {part(9, 2)} - 719469)"
    )
    fraction = f"toInt64(rightPad(extract({x}, '^.{{19}}[.]([0-9]{{1,6}})'), 6, '0'))"
    seconds = f"if(substring({x}, 17, 1) = ':', {part(18, 2)}, 0)"
    zone = f"extract(substring({x}, 12), '^[0-9:.]+ ?([+-][0-9]{{2}}:?(?:[0-9]{{2}})?)')"
    minutes = f"(toInt64OrZero(substring({zone}, 2, 2)) * 60 + toInt64OrZero(right(replaceAll({zone}, ':', ''), 2)))"
    offset = (
        f"multiIf({zone} = '', 0, length({zone}) = 3, toInt64OrZero({zone}) * 60, "
        f"startsWith({zone}, '-'), -{minutes}, {minutes})"
    )
    clock = f"({part(12, 2)} * 3600 + {part(15, 2)} * 60 + {seconds} - {offset} * 60)"
    return _clamped(f"(({days} * 86400 + {clock}) * 1000000 + {fraction})")
