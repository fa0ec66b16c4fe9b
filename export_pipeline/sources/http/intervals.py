"""How a window is cut into intervals, by what it holds, so that each of them is read at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from export_pipeline.runs.times import instant, microseconds
from export_pipeline.runs.window import Window
from export_pipeline.settings import MIB

ROWS = 4_900
"""What an interval should hold: a little less than five of the largest pages, so that runs close to its borders need no
page more."""
BYTES = 8 * MIB
"""What an interval should hold of JSON, as far as the size of its rows is known before it is read."""
MOST_BYTES = 12 * MIB
"""Of JSON, after which an interval of which there is more is cut."""
_MILLISECOND = 1_000


@dataclass(frozen=True)
class Interval:
    """Half open, in microseconds since 1970; `most_bytes` as far as reading goes before it is cut."""

    start: int
    end: int
    most_bytes: int = MOST_BYTES

    @property
    def window(self) -> Window:
        """The same as a window."""
        return Window(instant(self.start), instant(self.end))

    def parts(self, number: int) -> Iterator["Interval"]:
        """So many equal parts, oldest first; fewer where it is too short for them."""
        length = self.end - self.start
        borders = {_whole(self.start + length * place // number) for place in range(1, number)}
        inside = sorted(border for border in borders if self.start < border < self.end)
        for first, last in zip([self.start, *inside], [*inside, self.end], strict=True):
            yield replace(self, start=first, end=last)

    def split(self, reached: int) -> tuple["Interval", "Interval"] | None:
        """The older part, and the newer one, whose rows were read but for some close to the border.

        These must not make it be cut once more. None where the interval cannot be cut there: the rest of its rows
        start within its first millisecond.
        """
        border = _whole(reached)
        if not self.start < border < self.end:
            return None
        return replace(self, end=border), replace(self, start=border, most_bytes=2 * self.most_bytes)


def parts_of(rows: int) -> int:
    """How many intervals a window with so many rows is cut into at first."""
    return max(1, -(-rows // ROWS))


def least_requests(rows: int, *pages: int) -> int:
    """The requests that reading a window takes at least, where each interval is listed in pages of these sizes."""
    parts = parts_of(rows)
    an_interval = -(-rows // parts)
    return parts * sum(max(1, -(-an_interval // page)) for page in pages)


def cut(window: Window, rows: int) -> Iterator[Interval]:
    """The window in equal parts, oldest first, as many as its rows need if they are spread evenly."""
    return Interval(microseconds(window.start), microseconds(window.end)).parts(parts_of(rows))


def _whole(at: int) -> int:
    """The millisecond that an instant is in: a server may know no finer borders."""
    return at // _MILLISECOND * _MILLISECOND
