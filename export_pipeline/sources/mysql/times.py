"""Times in MySQL's SQL: every instant is a whole number of microseconds since 1970, UTC, whatever the column's type.

DATETIME and DATE have no zone and are taken as UTC; the session shows TIMESTAMP in UTC. Zero dates are no times.
"""

from dataclasses import dataclass

from typing_extensions import override

from export_pipeline.runs.times import MAX_MICROS, MICROS_IN_UNIT, MIN_MICROS, EpochUnit
from export_pipeline.sources.mysql.types import collation, family
from export_pipeline.sources.sql.dialect import TimeSql
from export_pipeline.sources.sql.times import DAY_MICROS, FAR, TEXT_NUMBER, TEXT_TIME, clamp, number_bounds, text_ranges

NEVER = "1 = 0"

_FIRST_DAY = -62_135_596_800_000_000
"""0001-01-01; days are counted from it, because DIV cuts off towards zero."""
_DAYS_BEFORE_1970 = 719_162
_TO_DAYS_OF_1970 = 719_528
_MOST = 2**64
_NUMBER = rf"^(?:{TEXT_NUMBER})\z"
_FLOAT = rf"^{TEXT_NUMBER}(?:[eE][+-]?[0-9]{{1,2}})?\z"
_TIME = rf"^(?:{TEXT_TIME})\z"
_IN_ASCII_ORDER = ("_bin", "_general_ci")
"""Collations that sort digits, blanks and signs as their bytes do."""


def literal(text: str) -> str:
    """A text of ASCII as a constant; the session gives backslashes no meaning."""
    return "'" + text.replace("'", "''") + "'"


def exact(x: str) -> str:
    """A text as one that compares by its characters; blanks at its end do not count."""
    return f"(CONVERT({x} USING utf8mb4) COLLATE utf8mb4_bin)"


def binary(x: str) -> str:
    """A text as its bytes in UTF-8."""
    return f"CAST(CONVERT({x} USING utf8mb4) AS BINARY)"


class Micros(TimeSql):
    """What all times have in common once they are microseconds."""

    @property
    @override
    def raw(self) -> str:
        return self.instant

    @property
    @override
    def day(self) -> str:
        return f"(({self.instant} - ({_FIRST_DAY})) DIV {DAY_MICROS} - {_DAYS_BEFORE_1970})"

    @property
    @override
    def newest(self) -> str:
        return f"max({self.instant})"

    @property
    @override
    def rank(self) -> str:
        return f"COALESCE({self.instant}, {-FAR})"

    @override
    def literal(self, micros: int) -> str:
        return str(micros)


@dataclass(frozen=True)
class NativeTime(Micros):
    """A column of dates or times."""

    sql: str

    @property
    @override
    def instant(self) -> str:
        return f"TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', {self.sql})"

    @override
    def near(self, low: int, high: int, *, also: str) -> str:
        return f"{also} AND {self.sql} >= {_constant(low)} AND {self.sql} < {_constant(high)}"

    @override
    def exact(self, low: int, high: int) -> str:
        """A date with a month or a day of zero sorts among the others."""
        return f"{self.instant} IS NOT NULL"


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
        if kind == "integer":
            return self._counted(f"CAST({x} AS DECIMAL(40, 0))")
        if kind == "decimal":
            return self._counted(f"CAST({x} AS DECIMAL(65, 30))")
        if kind in {"double", "float"}:
            text = f"CAST({x} + 0e0 AS CHAR)"
            return f"(CASE WHEN {text} REGEXP {literal(_FLOAT)} THEN {self._number(text)} END)"
        text = exact(x)
        return (
            f"(CASE WHEN {text} REGEXP {literal(_NUMBER)} THEN {self._number(text)} "
            f"WHEN {text} REGEXP {literal(_TIME)} THEN {_of_iso(text)} END)"
        )

    def _number(self, text: str) -> str:
        return self._counted(f"CAST({text} AS DECIMAL(65, 30))")

    def _counted(self, number: str) -> str:
        multiply, divide = MICROS_IN_UNIT[self.unit]
        return _clamped(f"FLOOR({number}{f' * {multiply}' if multiply > 1 else ''}{f' / {divide}' * (divide > 1)})")

    @override
    def near(self, low: int, high: int, *, also: str) -> str:
        x, kind = self.sql, family(self.type)
        if kind in {"integer", "decimal", "double", "float"}:
            first, last = number_bounds(low, high, self.unit)
            if kind != "integer":
                first, last = first - 1, last + 1
            return NEVER if first >= _MOST else f"{also} AND {x} >= {max(first, -_MOST)} AND {x} < {min(last, _MOST)}"
        by_bytes = x if collation(self.type).endswith(_IN_ASCII_ORDER) else binary(x)
        ranges = []
        for texts in text_ranges(low, high, self.unit):
            shifted = f" AND SUBSTR({x}, 11) REGEXP '[+-]'" if texts.shifted else ""
            ranges.append(f"({by_bytes} >= {literal(texts.first)} AND {by_bytes} < {literal(texts.last)}{shifted})")
        return f"{also} AND ({' OR '.join(ranges)})"

    @override
    def exact(self, low: int, high: int) -> str:
        return f"{self.instant} >= {low} AND {self.instant} < {high}"


def _constant(micros: int) -> str:
    text = clamp(micros).replace(tzinfo=None).isoformat(" ", timespec="microseconds")
    return f"TIMESTAMP'{text}'"


def _clamped(number: str) -> str:
    """The number; beyond the years 1 to 9999 `FAR`, with its sign."""
    return (
        f"(CASE WHEN {number} < {MIN_MICROS} THEN {-FAR} WHEN {number} > {MAX_MICROS} THEN {FAR} "
        f"ELSE CAST({number} AS SIGNED) END)"
    )


def _of_iso(x: str) -> str:
    """The microseconds of a text that has the form of `TEXT_TIME`."""

    def whole(text: str, *, where: str) -> str:
        """Digits as a whole number, 0 where they are not there; a text would be reckoned with as a float."""
        return f"(CASE WHEN {where} THEN CAST({text} AS SIGNED) ELSE 0 END)"

    hours = whole(f"SUBSTR({x}, 12, 2)", where=f"LENGTH({x}) > 10")
    minutes, seconds = (whole(f"SUBSTR({x}, {at}, 2)", where=f"SUBSTR({x}, {at - 1}, 1) = ':'") for at in (15, 18))
    digits = f"RPAD(REGEXP_SUBSTR(SUBSTR({x}, 21, 6), '^[0-9]+'), 6, '0')"
    fraction = whole(digits, where=f"SUBSTR({x}, 20, 1) = '.'")
    zone = f"COALESCE(REGEXP_SUBSTR(SUBSTR({x}, 17), '[+-][0-9]{{2}}(?::?[0-9]{{2}})?'), '')"
    of_zone = whole(f"SUBSTR({zone}, 2, 2)", where=f"LENGTH({zone}) > 0")
    offset = f"({of_zone} * 60 + {whole(f'RIGHT({zone}, 2)', where=f'LENGTH({zone}) > 3')})"
    sign = f"(CASE LEFT({zone}, 1) WHEN '-' THEN -1 ELSE 1 END)"
    days = f"(TO_DAYS(SUBSTR({x}, 1, 10)) - {_TO_DAYS_OF_1970})"
    clock = f"({hours} * 3600 + {minutes} * 60 + {seconds} - {sign} * {offset} * 60)"
    return _clamped(f"(({days} * 86400 + {clock}) * 1000000 + {fraction})")
