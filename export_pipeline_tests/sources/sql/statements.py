"""The statements that a source sends while it is asked something, laid out so that they can be read."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from export_pipeline.sources.sql.source import SqlSource

_SENDING = ("run", "rows", "stream")
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|[(),]|\s+|[^\s(),'"`]+""")
_CLAUSES = {"FROM", "WHERE", "AND", "ORDER", "GROUP", "LIMIT", "OFFSET", "UNION", "JOIN", "CROSS", "LEFT"}
_QUERY = {"SELECT", "WITH"}
_WIDTH = 100


@contextmanager
def sent(source: SqlSource) -> Iterator[list[str]]:
    """Everything that the source's sessions are told within the block, once they have begun."""
    statements: list[str] = []
    begin = source._begin

    def begun(project: Any) -> Any:
        session = begin(project)
        for name in _SENDING:
            if (original := getattr(session, name, None)) is not None:
                setattr(session, name, _noted(original, statements))
        return session

    source._begin = begun  # type: ignore[method-assign]
    try:
        yield statements
    finally:
        source._begin = begin  # type: ignore[method-assign]


def _noted(original: Any, statements: list[str]) -> Any:
    def call(sql: str, *more: Any, **named: Any) -> Any:
        statements.append(sql)
        return original(sql, *more, **named)

    return call


def laid_out(sql: str) -> str:
    """The statement with a line for each clause of a query, inner queries indented; nothing but spaces differs."""
    return _Layout(_TOKEN.findall(sql)).text()


class _Layout:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._lines: list[str] = []
        self._line, self._margin = "", 0
        self._brackets: list[int | None] = []  # the margin around each open one that holds a query
        self._cases = [0]  # open CASEs within each bracket: there AND begins no line

    def text(self) -> str:
        """All lines."""
        for place, token in enumerate(self._tokens):
            self._add(place, token)
        return "\n".join([*self._lines, self._line.rstrip()])

    def _add(self, place: int, token: str) -> None:
        in_query = self._brackets[-1:] != [None] and not self._cases[-1]
        if token == "(":
            self._open(place)
        elif token == ")":
            self._close()
        elif token.isspace():
            self._line += " " if self._line.strip() else ""
        elif in_query and self._is_clause(place):
            self._break(self._margin + 2 * (token == "AND"))
            self._line += token
        else:
            self._cases[-1] += {"CASE": 1, "END": -1}.get(token, 0)
            self._line += token
            if token == "," and in_query and len(self._line) > _WIDTH:
                self._break(self._margin + 2)

    def _is_clause(self, place: int) -> bool:
        """Whether a word begins a clause: not the AND of BETWEEN, nor the FROM of IS DISTINCT FROM."""
        word, before = (
            self._tokens[place],
            [token for token in self._tokens[max(0, place - 6) : place] if token.strip()],
        )
        if not before or word not in _CLAUSES:
            return False
        if word == "AND":
            return "BETWEEN" not in before[-2:]
        return before[-1] not in {"DISTINCT", "LEFT", "CROSS", "ANY"}

    def _open(self, place: int) -> None:
        self._line += "("
        is_query = self._tokens[place + 1] in _QUERY and not self._is_short(place)
        self._brackets.append(self._margin if is_query else None)
        self._cases.append(0)
        if is_query:
            self._break(len(self._line) - len(self._line.lstrip()) + 2)
            self._margin = len(self._line)

    def _close(self) -> None:
        around = self._brackets.pop()
        self._cases.pop()
        if around is not None:
            self._break(self._margin - 2)
            self._margin = around
        self._line += ")"

    def _is_short(self, place: int) -> bool:
        """Whether what stands in the brackets that open here is a query without clauses that fits into a line."""
        depth, inside = 0, ""
        for token in self._tokens[place:]:
            depth += {"(": 1, ")": -1}.get(token, 0)
            inside += token
            if depth == 0 or len(inside) > _WIDTH:
                return depth == 0 and _CLAUSES.isdisjoint(inside.split())
        return False

    def _break(self, margin: int) -> None:
        if self._line.strip():
            self._lines.append(self._line.rstrip())
        self._line = " " * margin
