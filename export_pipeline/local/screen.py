"""What the demo needs of a terminal; the command line gives it."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Screen(Protocol):
    """Where progress and results are shown."""

    def say(self, text: str) -> None:
        """Prints a line."""

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Prints a table; a column whose name starts with `>` is aligned to the right."""

    def progress(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Shows how far something is, where someone watches: gives a function of what is done and what there is."""


def shown(path: Path) -> str:
    """The path as one would type it here: relative where it lies below the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
