"""How results reach the terminal: tables for people, JSON for programs, progress only where someone watches."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

WIDTH_WITHOUT_TERMINAL = 500
"""Columns of a table that goes into a file or a pipe, where folding at 80 would tear ids apart."""


def console() -> "Console":
    """Standard output."""
    from rich.console import Console

    return Console(
        width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL, soft_wrap=False, highlight=False, markup=False
    )


def say(text: str, *, style: str | None = None) -> None:
    """Prints one line; long ones are folded by the terminal, not cut."""
    console().print(plain(text), style=style, soft_wrap=True)


def warn(text: str) -> None:
    """Prints one line on standard error."""
    print(plain(text), file=sys.stderr)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Prints rows as a table; a column whose name starts with `>` is aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(
        box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False
    )
    for column in columns:
        right = column.startswith(">")
        shown.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(cell(value) for value in row))
    console().print(shown)


def cell(value: object) -> "Text":
    """A value as it stands in a table."""
    from rich.text import Text

    if value is None:
        return Text("–", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, datetime):
        return Text(value.isoformat(sep=" ", timespec="seconds"))
    return Text(plain(str(value)))


def plain(text: str) -> str:
    """Text from outside without the control characters that would steer a terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def print_json(value: Any) -> None:
    """Prints JSON; dates and times in ISO 8601, anything else that JSON lacks as text."""
    print(json.dumps(value, default=_jsonable, indent=2))


def _jsonable(value: object) -> object:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (UUID, BaseException)):
        return str(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error where that is a terminal, and nothing elsewhere.

    Yields a function that takes how many are done and how many there are.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
