"""How filters read JSON text: the rule for SQLite, in Python; `postgres_filter` says the same in SQL.

What no database can be asked about in the same way is settled here: escapes of NUL and of half characters count as
U+FFFD, and text that is no JSON, or nested more than `MAX_DEPTH` deep, holds nothing.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 200
MAX_KEY = 1_000
"""Longer keys, the names on the way to a value joined by dots, are not looked at."""

LONE_HIGH = r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
LONE_LOW = r"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
"""Where no backslash is escaped, as `cleaned` sees to."""

_LONE_HIGH, _LONE_LOW = re.compile(LONE_HIGH), re.compile(LONE_LOW)
# Possessive: without it each character of a string that may be megabytes long takes memory.
_STEP = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{\]}]', re.DOTALL)


class _Object(list[tuple[str, Any]]):
    """The members of an object, duplicates among them."""


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def cleaned(text: str) -> str:
    """JSON text without escapes that PostgreSQL cannot hold."""
    if "\\u0000" not in text and "\\ud" not in text and "\\uD" not in text:
        return text
    text = text.replace("\\\\", "\\u005c").replace("\\u0000", "\\ufffd")
    return _LONE_LOW.sub(r"\\ufffd", _LONE_HIGH.sub(r"\\ufffd", text))


def _is_shallow(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return True
    depth = 0
    for step in _STEP.finditer(text):
        first = text[step.start()]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return False
        elif first != '"':
            depth -= 1
    return True


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _read(text: str) -> Any:
    """The value; raises `ValueError` where it is unreadable."""
    if not _is_shallow(text):
        raise ValueError("nested too deep")
    return json.loads(
        text, object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant
    )


def is_list(text: str) -> bool:
    """Whether a text is a JSON list that can be read."""
    try:
        return text.lstrip(" \t\r\n").startswith("[") and _read(cleaned(text)).__class__ is list
    except ValueError:
        return False


def entries(text: str, inside: str | None, wanted: str | None) -> list[tuple[str, str, str | None]]:
    """The entries (key, type, text) of an object, or of its member `inside`; only those under `wanted`, if any."""
    try:
        value = _read(cleaned(text))
    except ValueError:
        return []
    if inside is not None:
        members = value if isinstance(value, _Object) else ()
        value = next((member for name, member in reversed(members) if name == inside), None)
    pairs = _walk(value, wanted) if isinstance(value, _Object) else ()
    told = ((key, *_told(each)) for key, each in pairs if wanted is None or key == wanted)
    return list(dict.fromkeys(told))  # a list of a million equal elements is one entry


def _walk(root: _Object, wanted: str | None) -> Iterator[tuple[str, Any]]:
    """Every value in the object under its key."""
    waiting: list[tuple[str, Any]] = list(root)
    while waiting:
        key, value = waiting.pop()
        if len(key) > MAX_KEY:
            continue
        yield key, value
        if wanted is not None and wanted != key and not wanted.startswith(f"{key}."):
            continue
        if isinstance(value, _Object):
            waiting += [(f"{key}.{name}", member) for name, member in value]
        elif isinstance(value, list):
            waiting += [(key, element) for element in value]


def _told(value: Any) -> tuple[str, str | None]:
    if isinstance(value, _Number):
        return "number", str(value)
    if isinstance(value, str):
        return "string", value
    if value is None:
        return "null", None
    if isinstance(value, bool):
        return "boolean", "true" if value else "false"
    return ("object" if isinstance(value, _Object) else "array"), None
