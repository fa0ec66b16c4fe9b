"""A page of runs as the API sends it: numbers and payloads as they are written, so that no digit is lost."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from json.decoder import JSONDecodeError, JSONDecoder, scanstring  # type: ignore[attr-defined]
from typing import Any

from export_pipeline.sources.langsmith.client import BadAnswerError

_BLANKS = re.compile(r"[ \t\n\r]*")
_scan = JSONDecoder().scan_once  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Cell:
    """A value, and the JSON text that it was read from."""

    value: Any
    text: str


Cells = Mapping[str, Cell]
"""A JSON object."""


@dataclass(frozen=True)
class Page:
    """Runs in the order of the answer, and what to ask for the next page with; None after the last one."""

    runs: list[Cells]
    cursor: str | None


def page_of(text: str, *, runs: str) -> Page:
    """The page of an answer whose list is called `runs`; raises `BadAnswerError` where it is none."""
    try:
        return _page(text, runs)
    except (JSONDecodeError, StopIteration, IndexError, RecursionError):
        raise BadAnswerError("the answer is not JSON, or is cut off") from None


def _page(text: str, runs: str) -> Page:
    cells, end = _object(text, _after_blanks(text, 0), lists={runs})
    if _after_blanks(text, end) != len(text):
        raise BadAnswerError("the answer goes on after its end")
    listed = cells.get(runs)
    if listed is None or not isinstance(listed.value, list):
        raise BadAnswerError(f"the answer has no {runs}: {text[:200]}")
    cursor = cells["next_cursor"].value if "next_cursor" in cells else None
    if "cursors" in cells:
        cursor = (cells["cursors"].value or {}).get("next")
    if cursor is not None and not isinstance(cursor, str):
        raise BadAnswerError("the answer's cursor is not a text")
    return Page(listed.value, cursor or None)


def _after_blanks(text: str, at: int) -> int:
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr]


def _object(text: str, at: int, *, lists: set[str] = frozenset()) -> tuple[dict[str, Cell], int]:  # type: ignore[assignment]
    """The object that begins at a place, and the place behind it; `lists` name its lists of objects."""
    if text[at] != "{":
        raise BadAnswerError(f"the answer is not an object: {text[:200]}")
    cells: dict[str, Cell] = {}
    at = _after_blanks(text, at + 1)
    if text[at] == "}":
        return cells, at + 1
    while True:
        if text[at] != '"':
            raise BadAnswerError("the answer is not JSON")
        name, at = scanstring(text, at + 1)
        at = _after_blanks(text, at)
        if text[at] != ":":
            raise BadAnswerError("the answer is not JSON")
        begin = _after_blanks(text, at + 1)
        if name in lists and text[begin] == "[":
            value, at = _objects(text, begin)
            cells[name] = Cell(value, "")
        else:
            value, at = _scan(text, begin)
            cells[name] = Cell(value, text[begin:at])
        at = _after_blanks(text, at)
        if text[at] == "}":
            return cells, at + 1
        if text[at] != ",":
            raise BadAnswerError("the answer is not JSON")
        at = _after_blanks(text, at + 1)


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
