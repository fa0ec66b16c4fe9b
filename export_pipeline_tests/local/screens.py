"""A screen that keeps what would be shown."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Screen:
    """Keeps what would be shown."""

    lines: list[str] = field(default_factory=list)
    tables: list[tuple[Sequence[str], list[Sequence[object]]]] = field(default_factory=list)
    seen: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self.tables.append((columns, list(rows)))

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: self.seen.setdefault(what, []).append((done, total))
