"""JSON as it is written: numbers and payloads keep their text, so that no digit is lost."""

import re
from collections.abc import Callable, Collection, Mapping
from json.decoder import JSONDecodeError, JSONDecoder, scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple, TypeVar

from export_pipeline.sources.http.client import BadAnswerError

T = TypeVar("T")

_BLANKS = re.compile(r"[ \t\n\r]*")
_NAME = re.compile(r'[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*')
"""The name of a member without escapes, which is nearly every one."""
_scan = JSONDecoder().scan_once  # type: ignore[attr-defined]


class Cell(NamedTuple):
    """A value, and the JSON text that it was read from."""

    value: Any
    text: str


Cells = Mapping[str, Cell]
"""A JSON object."""


def cells_of(answer: str, *, lists: Collection[str]) -> Cells:
    """The object that an answer is; those of its lists that `lists` names are made of cells too, without a text.

    Raises `BadAnswerError` where it is none.
    """
    return _whole(answer, lambda at: _object(answer, at, lists))


def objects_of(answer: str) -> list[Cells]:
    """The list of objects that an answer is; raises `BadAnswerError` where it is none."""

    def read(at: int) -> tuple[list[Cells], int]:
        if answer[at] != "[":
            raise BadAnswerError(f"the answer is not a list: {answer[:200]}")
        return _objects(answer, at)

    return _whole(answer, read)


def _whole(answer: str, read: Callable[[int], tuple[T, int]]) -> T:
    """What is read from its first character on; there must be nothing else in it."""
    try:
        found, end = read(_after_blanks(answer, 0))
    except (JSONDecodeError, StopIteration, IndexError, RecursionError):
        raise BadAnswerError("the answer is not JSON, or is cut off") from None
    if _after_blanks(answer, end) != len(answer):
        raise BadAnswerError("the answer goes on after its end")
    return found


def listed(cells: Cells, name: str, answer: str) -> list[Cells]:
    """The list of objects that an answer must have under a name."""
    found = cells.get(name)
    if found is None or not isinstance(found.value, list):
        raise BadAnswerError(f"the answer has no {name}: {answer[:200]}")
    return found.value


def _after_blanks(text: str, at: int) -> int:
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr]


def _object(text: str, at: int, lists: Collection[str] = ()) -> tuple[dict[str, Cell], int]:
    """The object that begins at a place, and the place behind it; `lists` names its lists of objects."""
    if text[at] != "{":
        raise BadAnswerError(f"the answer is not an object: {text[:200]}")
    cells: dict[str, Cell] = {}
    at += 1
    if text[_after_blanks(text, at)] == "}":
        return cells, _after_blanks(text, at) + 1
    while True:
        if (member := _NAME.match(text, at)) is not None:
            name, begin = member[1], member.end()
        else:
            name, begin = _name(text, at)
        if lists and name in lists and text[begin] == "[":
            value, at = _objects(text, begin)
            cells[name] = Cell(value, "")
        else:
            value, at = _scan(text, begin)
            cells[name] = Cell(value, text[begin:at])
        if text[at] not in ",}":
            at = _after_blanks(text, at)
        if text[at] == "}":
            return cells, at + 1
        if text[at] != ",":
            raise BadAnswerError("the answer is not JSON")
        at += 1


def _name(text: str, at: int) -> tuple[str, int]:
    """Any name of a member, and the place where its value begins."""
    at = _after_blanks(text, at)
    if text[at] != '"':
        raise BadAnswerError("the answer is not JSON")
    name, at = scanstring(text, at + 1)
    at = _after_blanks(text, at)
    if text[at] != ":":
        raise BadAnswerError("the answer is not JSON")
    return name, _after_blanks(text, at + 1)


def _objects(text: str, at: int) -> tuple[list[Cells], int]:
    found: list[Cells] = []
    at = _after_blanks(text, at + 1)
    if text[at] == "]":
        return found, at + 1
    while True:
        cells, at = _object(text, at)
        found.append(cells)
        at = _after_blanks(text, at)
        if text[at] == "]":
            return found, at + 1
        if text[at] != ",":
            raise BadAnswerError("the answer is not JSON")
        at = _after_blanks(text, at + 1)
