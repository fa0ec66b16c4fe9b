"""JSON as the reference of the filters reads it."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from export_pipeline.runs.times import BLANKS

Pairs = list[tuple[Any, Any]]


@dataclass(frozen=True)
class Members:
    """A JSON object."""

    pairs: tuple[tuple[str, Any], ...]


def number(text: str | None) -> Decimal | None:
    text = (text or "").strip(BLANKS)
    if len(text) > 1000 or not re.match(r"[+-]?[.]?[0-9]", text) or re.search("[eE][+-]?[0-9]*[1-9][0-9]{3}$", text):
        return None
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    return found if found.is_finite() and text.isascii() and "_" not in text else None


def mended(text: str) -> str:
    """JSON text whose escapes of NUL and of half a character are those of U+FFFD; read from left to right."""
    out, place = [], 0
    while place < len(text):
        step = 2 if text[place] == "\\" else 1
        if text[place : place + 2] == "\\u":
            code, after = _unit(text, place), _unit(text, place + 6)
            step = 6
            if code is not None and 0xD800 <= code < 0xDC00 and after is not None and 0xDC00 <= after < 0xE000:
                step = 12
            elif code == 0 or (code is not None and 0xD800 <= code < 0xE000):
                out.append("\\ufffd")
                place += 6
                continue
        out.append(text[place : place + step])
        place += step
    return "".join(out)


def _unit(text: str, place: int) -> int | None:
    found = re.fullmatch(r"\\u([0-9a-fA-F]{4})", text[place : place + 6])
    return None if found is None else int(found[1], 16)


def depth(text: str) -> int:
    deepest = now = 0
    quoted = escaped = False
    for char in text:
        if quoted:
            quoted, escaped = char != '"' or escaped, char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "[{":
            now += 1
            deepest = max(deepest, now)
        elif char in "]}":
            now -= 1
    return deepest


def _refuse(text: str) -> Any:
    raise ValueError(text)


def parsed(text: str | None) -> Any:
    """The JSON value: objects as `Members`, numbers as decimals, None where it is unreadable."""
    if text is None or depth(text) > 200:
        return None
    try:
        return json.loads(
            mended(text),
            object_pairs_hook=lambda pairs: Members(tuple(pairs)),
            parse_int=lambda digits: number(digits) if number(digits) is not None else Ellipsis,
            parse_float=lambda digits: number(digits) if number(digits) is not None else Ellipsis,
            parse_constant=_refuse,
        )
    except ValueError:
        return None


def walk(key: str, value: Any, *, top: bool = False) -> Pairs:
    """What stands below a value, each under its key."""
    if isinstance(value, Members):
        names = [(name if top else f"{key}.{name}", member) for name, member in value.pairs]
    elif isinstance(value, list) and not top:
        names = [(key, element) for element in value]
    else:
        return []
    return [pair for name, member in names if len(name) <= 1000 for pair in [(name, member), *walk(name, member)]]
