"""The rules for single cells that are not in the ordinary form; `docs/columns.md` states them for readers.

Each rule takes the text of a cell that is not null. An empty cell (nothing but blanks) in a column of ids, times,
numbers, flags or enumerations never gets here: it is null.
"""

import json
import re
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum

from export_pipeline.runs.ids import CANONICAL_UUID
from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE
from export_pipeline.runs.times import BLANKS, NUMBER


class Replaced(StrEnum):
    """Why a cell is not what the trace store holds; counted under `column: why`."""

    NOT_UTF8 = "invalid UTF-8"
    SURROGATE = "lone surrogate"
    MISSING = "missing"
    UNKNOWN = "unknown value"
    NOT_A_TIME = "not a time"
    NOT_A_COUNT = "not a whole number within INT64"
    NOT_A_FLAG = "not a flag"
    NOT_A_LIST = "not a list"
    NOT_A_STRING = "not a string"
    BYTES = "bytes"
    NOT_THE_ROOT = "not the root run"
    NOT_ITS_PATH = "does not lead to this run"
    NOT_KNOWN = "not known"
    GUESSED = "guessed"


class Rejected(StrEnum):
    """Why a row is not exported; recorded as `column: why`."""

    MISSING = "missing"
    NOT_A_TIME = "not a time"
    NOT_A_NUMBER = "not a number"
    TOO_LARGE = f"does not fit DECIMAL({COST_PRECISION}, {COST_SCALE})"


class RejectedCellError(ValueError):
    """A cell for which its whole row is rejected; its text is one of `Rejected`."""


_COST_STEP = Decimal(1).scaleb(-COST_SCALE)
_COST_LIMIT = Decimal(1).scaleb(COST_PRECISION - COST_SCALE)
_COST_CONTEXT = Context(prec=2 * COST_PRECISION, rounding=ROUND_HALF_EVEN)

FLAGS = {"1": True, "1.0": True, "t": True, "true": True, "0": False, "0.0": False, "f": False, "false": False}
"""The words for a flag; pandas makes numbers with a fraction of a column of flags that has nulls."""

SEGMENT_TIME = "[0-9]{8}T[0-9]{12}Z"
_BETWEEN_SEGMENTS = re.compile(rf"\.(?={SEGMENT_TIME})")
_DOTTED_SEGMENT = re.compile(f"({SEGMENT_TIME})(.+)", re.DOTALL)
_PLAIN_SEGMENT = SEGMENT_TIME + CANONICAL_UUID
PLAIN_DOTTED = rf"{_PLAIN_SEGMENT}(?:\.{_PLAIN_SEGMENT})*"
"""A `dotted_order` whose ids are canonical, as a pattern; each segment begins with `SEGMENT_TIME`."""

_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")
_JSON_BLANKS = " \t\r\n"
_JSON_TEXT = json.JSONEncoder(ensure_ascii=False).encode
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_SURROGATES = re.compile("[\ud800-\udfff]")


def is_null(text: str) -> bool:
    """Whether a text stands for null in a column of lists, numbers, times or flags: it is blank, or JSON's `null`."""
    return text.strip(BLANKS) in {"", "null"}


def is_blank(text: str) -> bool:
    """Whether a text stands for null in every column that does not hold free text."""
    return not text.strip(BLANKS)


def count(text: str) -> int | None:
    """A whole number within INT64, however it is written (`12`, `12.0`, `1.2e1`); None for everything else."""
    if not NUMBER.fullmatch(text := text.strip(BLANKS)):
        return None
    number = Decimal(text)
    if number and not 0 <= number.adjusted() < 19:  # below 1 or beyond INT64, at whatever length
        return None
    above, below = number.as_integer_ratio() if number else (0, 1)
    return above if below == 1 and -(2**63) <= above < 2**63 else None


def cost(text: str) -> Decimal:
    """A decimal number, rounded half-even to 12 places.

    Raises `RejectedCellError` for what is not a number, infinite or NaN, and for what does not fit the column.
    """
    if not NUMBER.fullmatch(text := text.strip(BLANKS)):
        raise RejectedCellError(Rejected.NOT_A_NUMBER)
    number = Decimal(text)
    if number and number.adjusted() >= COST_PRECISION - COST_SCALE:
        raise RejectedCellError(Rejected.TOO_LARGE)
    rounded = number.quantize(_COST_STEP, context=_COST_CONTEXT) if number else Decimal(0)
    if abs(rounded) >= _COST_LIMIT:
        raise RejectedCellError(Rejected.TOO_LARGE)
    return rounded


def flag(text: str) -> bool | None:
    """One of `FLAGS` in any case; None for everything else."""
    return FLAGS.get(text.strip(BLANKS).lower())


def dotted_segments(dotted_order: str | None) -> list[tuple[str, str]]:
    """The segments of a `dotted_order`, time and id, the root first and the run itself last; empty where it is none.

    An id may hold dots: one with a time after it begins the next segment.
    """
    segments = [] if dotted_order is None else _BETWEEN_SEGMENTS.split(dotted_order)
    found = [_DOTTED_SEGMENT.fullmatch(segment) for segment in segments]
    return [] if None in found else [(each[1], each[2]) for each in found if each is not None]


def strings(text: str) -> tuple[list[str], set[Replaced]]:
    """The strings of a JSON list, and what was not as it should be.

    An element that is no string becomes its JSON text; a text that is no JSON list, or is nested too deep to be read,
    becomes the only element.
    """
    return _strings(text, lambda source: source)


def ids(text: str) -> tuple[list[str], set[Replaced]]:
    """The same for a list of ids: empty elements and nulls are left out, and a number is written as a whole one."""
    texts, notes = _strings(text, id_of_number)
    kept = [each for each in texts if not is_blank(each) and each != "null"]
    return kept, notes | ({Replaced.NOT_A_STRING} if len(kept) < len(texts) else set())


def id_of_number(number: str) -> str:
    """An id that is a JSON number: 1 where it is written as `1.0`, which pandas does in a column with nulls."""
    return _WHOLE.sub(r"\1", number)


def _strings(text: str, of_others: Callable[[str], str]) -> tuple[list[str], set[Replaced]]:
    try:
        elements = list(_elements(text))
    except (ValueError, RecursionError):
        return [text], {Replaced.NOT_A_LIST}
    texts: list[str] = []
    notes: set[Replaced] = set()
    for value, source in elements:
        if not source.startswith('"'):
            notes.add(Replaced.NOT_A_STRING)
            texts.append(of_others(source))
        elif (clean := _SURROGATES.sub("\ufffd", str(value))) != value:
            notes.add(Replaced.SURROGATE)
            texts.append(clean)
        else:
            texts.append(clean)
    return texts, notes


def _elements(text: str) -> Iterator[tuple[object, str]]:
    """The elements of a JSON list, each parsed and as it is written; raises `ValueError` where it is none.

    Numbers are not turned into Python's, which refuses those of more than 4,300 digits.
    """
    place = _skip(text, 0)
    if text[place : place + 1] != "[":
        raise ValueError("no list")
    place = _skip(text, place + 1)
    closed = text[place : place + 1] == "]"
    while not closed:
        value, end = _DECODER.raw_decode(text, place)
        yield value, text[place:end]
        place = _skip(text, end)
        if (mark := text[place : place + 1]) not in {",", "]"}:
            raise ValueError("no list")
        closed = mark == "]"
        place = place if closed else _skip(text, place + 1)
    if _skip(text, place + 1) != len(text):
        raise ValueError("text after the list")


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] and text[place] in _JSON_BLANKS:
        place += 1
    return place


def with_original_ids(extra: str | None, originals: dict[str, str]) -> str:
    """The JSON text of `extra` with the ids that are no UUIDs as the trace store writes them.

    They are put first into the object, as `{"export_pipeline": {"original_ids": {column: id}}}`, without touching the
    rest of the text. An `extra` that is no object is kept beside them as text, under `extra_text`.
    """
    ids = ", ".join(f'"{name}": {_JSON_TEXT(text)}' for name, text in originals.items())
    added = f'{{"original_ids": {{{ids}}}}}'
    text = "" if extra is None else extra.strip(_JSON_BLANKS)
    if text in {"", "null"}:
        return f'{{"export_pipeline": {added}}}'
    if not (text.startswith("{") and text.endswith("}") and len(text) > 1):
        return f'{{"export_pipeline": {added[:-1]}, "extra_text": {_JSON_TEXT(extra or "")}}}}}'
    rest = text[1:].lstrip(_JSON_BLANKS)
    return f'{{"export_pipeline": {added}{"" if rest == "}" else ", "}{rest}'
