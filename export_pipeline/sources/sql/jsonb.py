"""SQLite's binary JSON, read by its published format (https://sqlite.org/jsonb.html).

SQLite's own functions read it from version 3.45 on, which is newer than what many Pythons bring.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_DEPTH = 1_000
"""SQLite's own limit."""

_LITERALS = {0: "null", 1: "true", 2: "false"}
_INTEGER, _HEX, _FLOAT, _LOOSE_FLOAT = range(3, 7)
_TEXT, _TEXT_JSON, _TEXT_JSON5, _TEXT_RAW = range(7, 11)
_ARRAY, _OBJECT = 11, 12
_BYTES_OF_SIZE = {12: 1, 13: 2, 14: 4, 15: 8}

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LOOSE_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eE][+-]?[0-9]+)?")
_HEX_NUMBER = re.compile(r"([+-]?)0[xX]([0-9a-fA-F]{1,16})")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|\r\n|.)", re.DOTALL)
_PLAIN_ESCAPES = '"\\/bfnrt'
_JSON5_ESCAPES = {"'": "'", "v": "\\u000b", "0": "\\u0000", "\n": "", "\r": "", "\r\n": "", "\u2028": "", "\u2029": ""}


class NotJsonbError(ValueError):
    """The bytes are no binary JSON."""


@dataclass
class _Container:
    is_object: bool
    end: int
    parts: list[str] = field(default_factory=list)

    def text(self) -> str:
        if not self.is_object:
            return f"[{','.join(self.parts)}]"
        if len(self.parts) % 2:
            raise NotJsonbError("a name without a value")
        members = zip(self.parts[::2], self.parts[1::2], strict=True)
        return "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"


def jsonb_text(data: bytes) -> str:
    """The JSON text of a value in binary JSON; raises `NotJsonbError` where the bytes are anything else."""
    waiting: list[_Container] = []
    kind, place, end = _header(data, 0)
    if end != len(data):
        raise NotJsonbError("the size is another one")
    while True:
        if kind in {_ARRAY, _OBJECT}:
            if len(waiting) == MAX_DEPTH:
                raise NotJsonbError("nested too deep")
            waiting.append(_Container(kind == _OBJECT, end))
        else:
            text, place = _scalar(kind, data[place:end]), end
            if not waiting:
                return text
            waiting[-1].parts.append(text)
        while waiting[-1].end == place:
            text = waiting.pop().text()
            if not waiting:
                return text
            waiting[-1].parts.append(text)
        kind, place, end = _element(data, place, waiting[-1])


def _element(data: bytes, place: int, container: _Container) -> tuple[int, int, int]:
    kind, place, end = _header(data, place)
    if end > container.end:
        raise NotJsonbError("an element is longer than what it is in")
    if container.is_object and len(container.parts) % 2 == 0 and not _TEXT <= kind <= _TEXT_RAW:
        raise NotJsonbError("a name is not text")
    return kind, place, end


def _header(data: bytes, place: int) -> tuple[int, int, int]:
    """The kind of the element that begins here, and where its content begins and ends."""
    if place >= len(data):
        raise NotJsonbError("cut off")
    kind, size = data[place] & 15, data[place] >> 4
    place += 1
    if size in _BYTES_OF_SIZE:
        count = _BYTES_OF_SIZE[size]
        size = int.from_bytes(data[place : place + count], "big")
        place += count
    if kind > _OBJECT or place + size > len(data):
        raise NotJsonbError("cut off, or of no known kind")
    return kind, place, place + size


def _scalar(kind: int, content: bytes) -> str:
    if kind in _LITERALS:
        if content:
            raise NotJsonbError("a literal with content")
        return _LITERALS[kind]
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise NotJsonbError("not UTF-8") from None
    return _number(kind, text) if kind <= _LOOSE_FLOAT else _string(kind, text)


def _number(kind: int, text: str) -> str:
    if kind == _HEX and (match := _HEX_NUMBER.fullmatch(text)):
        return f"{'-' if match[1] == '-' else ''}{int(match[2], 16)}"
    if kind in {_INTEGER, _FLOAT} and _JSON_NUMBER.fullmatch(text):
        return text
    if kind == _LOOSE_FLOAT and (match := _LOOSE_NUMBER.fullmatch(text)) and (match[2] or match[3]):
        sign = "-" if match[1] == "-" else ""
        return f"{sign}{match[2].lstrip('0') or '0'}.{match[3] or '0'}{match[4] or ''}"
    raise NotJsonbError("no number")


def _string(kind: int, text: str) -> str:
    if kind == _TEXT_RAW:
        return json.dumps(text, ensure_ascii=False)
    if kind == _TEXT:
        if '"' in text or "\\" in text or any(char < " " for char in text):
            raise NotJsonbError("a text that would need escapes")
        return f'"{text}"'
    return f'"{"".join(_mended(text, json5=kind == _TEXT_JSON5))}"'


def _mended(text: str, *, json5: bool) -> Iterator[str]:
    """The pieces of a text with escapes, those of JSON5 in the words of JSON."""
    place = 0
    while place < len(text):
        step = _ESCAPE.match(text, place) if text[place] == "\\" else None
        if step is None:
            end = text.find("\\", place + 1) if text[place] != "\\" else -1
            if text[place] == "\\":
                raise NotJsonbError("a lone backslash")
            plain = text[place:] if end < 0 else text[place:end]
            yield _quoted(plain, json5=json5)
            place += len(plain)
            continue
        yield _escape(step[1], json5=json5)
        place = step.end()


def _quoted(plain: str, *, json5: bool) -> str:
    if json5:
        return json.dumps(plain, ensure_ascii=False)[1:-1]
    if '"' in plain or any(char < " " for char in plain):
        raise NotJsonbError("a text that would need escapes")
    return plain


def _escape(escape: str, *, json5: bool) -> str:
    if escape in _PLAIN_ESCAPES or (escape[0] == "u" and len(escape) == 5):
        return f"\\{escape}"
    if json5 and escape in _JSON5_ESCAPES:
        return _JSON5_ESCAPES[escape]
    if json5 and escape[0] == "x" and len(escape) == 3:
        return f"\\u00{escape[1:]}"
    raise NotJsonbError("no escape")
