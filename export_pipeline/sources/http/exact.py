"""JSON as it is written: numbers and payloads keep their text, so that no digit is lost.

An answer is read by msgspec. What msgspec refuses is read once more, slowly, as Python's own `json` reads it: halves of
surrogate pairs, which truncated texts have, and `NaN`.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from json.decoder import JSONDecodeError, JSONDecoder, scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple, TypeVar

import msgspec
from typing_extensions import override

from export_pipeline.sources.http.client import BadAnswerError

T = TypeVar("T")

_BLANKS = re.compile(r"[ \t\n\r]*")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_listed_members = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_scan = JSONDecoder().scan_once  # type: ignore[attr-defined]


class Cell(NamedTuple):
    """A value, and the JSON text that it was read from."""

    value: Any
    text: str


class Cells(Mapping[str, Cell]):
    """A JSON object. Values are made when they are asked for: most are only passed on, as `texts` has them.

    Members that are lists of objects are in `lists`, where they were asked for so.
    """

    __slots__ = ("lists", "texts")

    def __init__(self, texts: dict[str, str] | None = None) -> None:
        self.texts = {} if texts is None else texts
        self.lists: dict[str, list[Cells]] = {}

    @override
    def __getitem__(self, name: str) -> Cell:
        if name in self.lists:
            return Cell(self.lists[name], "")
        text = self.texts[name]
        return Cell(_scan(text, 0)[0], text)

    @override
    def __iter__(self) -> Iterator[str]:
        yield from self.lists
        yield from self.texts

    @override
    def __len__(self) -> int:
        return len(self.lists) + len(self.texts)


def string_of(text: str) -> str:
    """The value of a JSON string."""
    return str(json.loads(text)) if "\\" in text else text[1:-1]


def cells_of(answer: str, *, lists: Collection[str]) -> Cells:
    """The object that an answer is; those of its members that `lists` names are lists of objects.

    Raises `BadAnswerError` where it is none.
    """
    try:
        return _cells(_members.decode(answer), lists)
    except (msgspec.DecodeError, RecursionError):
        return _whole(answer, lambda at: _object(answer, at, lists))


def objects_of(answer: str) -> list[Cells]:
    """The list of objects that an answer is; raises `BadAnswerError` where it is none."""

    def read(at: int) -> tuple[list[Cells], int]:
        if answer[at] != "[":
            raise BadAnswerError(f"the answer is not a list: {answer[:200]}")
        return _objects(answer, at)

    try:
        return [_cells(members) for members in _listed_members.decode(answer)]
    except (msgspec.DecodeError, RecursionError):
        return _whole(answer, read)


def _cells(members: Mapping[str, msgspec.Raw], lists: Collection[str] = ()) -> Cells:
    cells = Cells()
    for name, text in members.items():
        if name in lists and memoryview(text)[0] == ord("["):
            cells.lists[name] = [_cells(each) for each in _listed_members.decode(text)]
        else:
            cells.texts[name] = str(text, "utf-8")
    return cells


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
    if name not in cells.lists:
        raise BadAnswerError(f"the answer has no {name}: {answer[:200]}")
    return cells.lists[name]


def _after_blanks(text: str, at: int) -> int:
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr]


def _object(text: str, at: int, lists: Collection[str] = ()) -> tuple[Cells, int]:
    """The object that begins at a place, and the place behind it; `lists` names its lists of objects."""
    if text[at] != "{":
        raise BadAnswerError(f"the answer is not an object: {text[:200]}")
    cells = Cells()
    at += 1
    if text[_after_blanks(text, at)] == "}":
        return cells, _after_blanks(text, at) + 1
    while True:
        name, begin = _name(text, at)
        if name in lists and text[begin] == "[":
            cells.lists[name], at = _objects(text, begin)
        else:
            at = _scan(text, begin)[1]
            cells.texts[name] = text[begin:at]
        if text[at] not in ",}":
            at = _after_blanks(text, at)
        if text[at] == "}":
            return cells, at + 1
        if text[at] != ",":
            raise BadAnswerError("the answer is not JSON")
        at += 1


def _name(text: str, at: int) -> tuple[str, int]:
    """The name of a member, and the place where its value begins."""
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
