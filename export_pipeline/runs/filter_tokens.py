"""The words of a filter's text, each with its place."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal

from export_pipeline.errors import FilterError
from export_pipeline.runs.filter_tree import Value

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
      (?P<mark>[(),\[\]])
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>-?[0-9][0-9A-Za-z_.+-]*)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PAIRS = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_UNTYPABLE = re.compile("[\x00\ud800-\udfff]")
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}
_PLAIN = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# So that an escape of a pattern need not be doubled.
_PLAIN |= {"%": "\\%", "_": "\\_"}
_MAX_EXPONENT = 400


@dataclass(frozen=True, slots=True)
class Token:
    """A mark, a word (`text` holds it) or a literal (`value` holds it)."""

    kind: str
    text: str
    position: int
    value: Value = None

    @property
    def shown(self) -> str:
        """The token in an error."""
        if self.kind == "end":
            return "the end"
        return self.text if len(self.text) <= 40 else f"{self.text[:37]}…"


def next_token(source: str, place: int) -> tuple[Token, int]:
    """The token at or after a place, and the place behind it."""
    match = _TOKEN.match(source, place)
    if match is None or match.lastgroup is None:
        return _no_token(source, place)
    kind = match.lastgroup
    text, position = match[kind], match.start(kind) + 1
    if kind == "number":
        return Token("literal", text, position, _number(text, position)), match.end()
    if kind == "text":
        return Token("literal", text, position, _text(text, position)), match.end()
    if kind == "word" and text in _CONSTANTS:
        return Token("literal", text, position, _CONSTANTS[text]), match.end()
    return Token(kind, text, position), match.end()


def _no_token(source: str, place: int) -> tuple[Token, int]:
    while source[place] in " \t\r\n":
        place += 1
    if source[place] in "\"'":
        raise FilterError("this text has no closing quote", position=place + 1)
    raise FilterError(f"{json.dumps(source[place])} belongs to no filter", position=place + 1)


def _number(text: str, position: int) -> Decimal:
    if not _NUMBER.fullmatch(text) or len(text) > 100:
        raise FilterError(f"{text[:40]} is not a number; expected a form such as 5, -0.5 or 1e3", position=position)
    number = Decimal(text)
    if not number:
        return Decimal(0)
    if abs(number.adjusted()) > _MAX_EXPONENT:
        raise FilterError(f"{text} is beyond the numbers that can be compared", position=position)
    return number


def _text(literal: str, position: int) -> str:
    def plain(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) == 5:
            return chr(int(escape[1:], 16))
        if escape not in _PLAIN:
            wrong = position + 1 + match.start()
            raise FilterError(f"\\{escape} is not an escape; write \\\\ for a backslash", position=wrong)
        return _PLAIN[escape]

    text = _ESCAPE.sub(plain, literal[1:-1])
    text = _PAIRS.sub(lambda match: match[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    if _UNTYPABLE.search(text):
        raise FilterError("a text cannot hold NUL or half a character", position=position)
    return text
