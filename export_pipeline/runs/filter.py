"""The filter language: text to tree. `docs/filters.md` says what a filter means."""

import math
from dataclasses import dataclass, field

from export_pipeline.errors import FilterError
from export_pipeline.runs.filter_fields import FIELDS, ORDER, Kind, ascii_lower, expected, read_value
from export_pipeline.runs.filter_tokens import Token, next_token
from export_pipeline.runs.filter_tree import And, Compare, Filter, Has, In, Like, Not, Or, Search, Value, entry_part

MAX_CHARACTERS = 20_000
MAX_DEPTH = 50
"""How deep expressions may stand within each other."""
MAX_CONDITIONS = 200
MAX_SEARCHES = 32
"""Conditions that look into metadata, inputs, outputs or feedback, each of which reads the whole payload of a row."""
MAX_VALUES = 1_000
"""Values in all lists together."""

_HEADS = "and, or, not, search, eq, neq, gt, gte, lt, lte, has, in or like"


def parse_filter(text: str) -> Filter:
    """The tree of a filter that somebody gives; raises `FilterError`, which names the place and what is expected there.

    `read_filter` reads what `str()` makes of the tree, however long that is: what is accepted once is for good.
    """
    if len(text) > MAX_CHARACTERS:
        raise FilterError(
            f"a filter has at most {MAX_CHARACTERS:,} characters, this one {len(text):,}", position=MAX_CHARACTERS + 1
        )
    tree = _Parser(text, most_searches=MAX_SEARCHES).whole()
    if (length := len(str(tree))) > MAX_CHARACTERS:
        raise FilterError(
            f"a filter has at most {MAX_CHARACTERS:,} characters, this one has {length:,} as it is stored: control "
            "characters take six each",
            position=1,
        )
    return tree


def read_filter(text: str) -> Filter:
    """The tree of a filter that was accepted once, under whatever limits of size and cost; raises `FilterError`."""
    return _Parser(text).whole()


@dataclass
class _Parser:
    source: str
    most_searches: float = math.inf
    place: int = 0
    conditions: int = 0
    values: int = 0
    searches: int = 0
    ahead: Token = field(init=False)

    def __post_init__(self) -> None:
        self.advance()

    def advance(self) -> Token:
        """Steps behind the token ahead and gives it back."""
        passed = getattr(self, "ahead", None)
        self.ahead, self.place = next_token(self.source, self.place)
        return passed or self.ahead

    def wrong(self, what: str) -> FilterError:
        return FilterError(f"expected {what}, found {self.ahead.shown}", position=self.ahead.position)

    def take(self, mark: str, what: str) -> Token:
        if self.ahead.kind == mark == "end":
            return self.ahead
        if self.ahead.kind not in {"mark", "word"} or mark not in {self.ahead.text, self.ahead.kind}:
            raise self.wrong(what)
        return self.advance()

    def whole(self) -> Filter:
        """The tree of all of the text."""
        tree = self.expression(depth=1)
        self.take("end", "the end of the filter")
        return tree

    def expression(self, *, depth: int) -> Filter:
        if self.ahead.kind != "word":
            raise self.wrong(_HEADS)
        head = self.ahead
        if depth > MAX_DEPTH:
            raise FilterError(f"expressions stand at most {MAX_DEPTH} deep within each other", position=head.position)
        if head.text in {"and", "or", "not"}:
            return self.combined(depth)
        if head.text not in {"search", "eq", "neq", "gt", "gte", "lt", "lte", "has", "in", "like"}:
            raise self.wrong(_HEADS)
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            raise FilterError(f"a filter has at most {MAX_CONDITIONS} conditions", position=head.position)
        self.advance()
        self.take("(", f"( after {head.text}")
        tree = self.search() if head.text == "search" else self.condition(head)
        self.searches += isinstance(tree, Search) or entry_part(tree) is not None
        if self.searches > self.most_searches:
            raise FilterError(
                f"a filter has at most {self.most_searches} conditions on metadata, inputs, outputs and feedback",
                position=head.position,
            )
        self.take(")", ")")
        return tree

    def combined(self, depth: int) -> Filter:
        head = self.advance()
        self.take("(", f"( after {head.text}")
        places = [self.ahead.position]
        operands = [self.expression(depth=depth + 1)]
        while head.text != "not" and self.ahead.text == "," and self.ahead.kind == "mark":
            self.advance()
            places.append(self.ahead.position)
            operands.append(self.expression(depth=depth + 1))
        self.take(")", ")" if head.text == "not" else ", or )")
        if head.text == "not":
            return Not(operands[0])
        if head.text == "or":
            return Or(tuple(operands))
        _refuse_ambiguous(operands, places)
        return And(tuple(operands))

    def search(self) -> Filter:
        return Search(self.typed(Kind.TEXT, "a text in quotes", blank=False))

    def condition(self, head: Token) -> Filter:
        token = self.take("word", "the name of a field")
        name, field = token.text, FIELDS.get(token.text)
        if field is None:
            raise FilterError(f"{name} is not a field; known are {', '.join(FIELDS)}", position=token.position)
        if head.text not in field.operators:
            allowed = ", ".join(field.operators)
            raise FilterError(f"{name} cannot be used with {head.text}, only with {allowed}", position=head.position)
        self.take(",", f", after {name}")
        if head.text == "in":
            return In(name, self.list(field.kind))
        if head.text == "has":
            return Has(self.typed(field.kind, expected(field.kind)))
        if head.text == "like":
            pattern = self.pattern()
            return Like(name, ascii_lower(pattern) if field.kind is Kind.WORD else pattern)
        if self.ahead.text == "null" and head.text in {"eq", "neq"} and field.kind is not Kind.KEY:
            self.advance()
            return Compare(name, head.text, None)  # type: ignore[arg-type]
        if head.text in ORDER and isinstance(self.ahead.value, bool):
            raise self.wrong("a text in quotes or a number")
        return Compare(name, head.text, self.value(field.kind))  # type: ignore[arg-type]

    def value(self, kind: Kind) -> Value:
        if self.ahead.kind != "literal" or (value := read_value(kind, self.ahead.value)) is None:
            raise self.wrong(expected(kind))
        self.advance()
        return value

    def typed(self, kind: Kind, what: str, *, blank: bool = True) -> str:
        token = self.ahead
        value = self.value(kind)
        if not isinstance(value, str) or not (blank or value):
            raise FilterError(f"expected {what}, found {token.shown}", position=token.position)
        return value

    def pattern(self) -> str:
        token = self.ahead
        pattern = self.typed(Kind.TEXT, 'a pattern in quotes, such as "%parcel%"')
        if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
            raise FilterError("a pattern cannot end with a single backslash", position=token.position)
        return pattern

    def list(self, kind: Kind) -> tuple[Value, ...]:
        self.take("[", "a list such as [1, 2]")
        values = [self.counted(kind)]
        while self.ahead.text == "," and self.ahead.kind == "mark":
            self.advance()
            values.append(self.counted(kind))
        self.take("]", ", or ]")
        return tuple(values)

    def counted(self, kind: Kind) -> Value:
        self.values += 1
        if self.values > MAX_VALUES:
            raise FilterError(f"lists hold at most {MAX_VALUES:,} values together", position=self.ahead.position)
        return self.value(kind)


def _refuse_ambiguous(operands: list[Filter], places: list[int]) -> None:
    """A value before the first of several keys could belong to any of them."""
    before: dict[str, tuple[int, str]] = {}
    keys: dict[str, int] = {}
    for node, place in zip(operands, places, strict=True):
        family, is_key = entry_part(node) or (None, False)
        if family is None:
            continue
        if is_key:
            keys[family] = keys.get(family, 0) + 1
        elif family not in keys:
            before.setdefault(family, (place, str(getattr(node, "field", ""))))
        if family in before and keys.get(family, 0) > 1:
            position, name = before[family]
            raise FilterError(
                f"this {name} stands before several {family}_key; put each key and its value into an and(…) of its own",
                position=position,
            )
