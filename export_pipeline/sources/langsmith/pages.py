"""A page of runs as the API sends it, in both shapes that it has."""

from dataclasses import dataclass

from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.http.exact import Cells, cells_of, listed


@dataclass(frozen=True)
class Page:
    """Runs in the order of the answer, and what to ask for the next page with; None after the last one."""

    runs: list[Cells]
    cursor: str | None


def page_of(text: str, *, runs: str) -> Page:
    """The page of an answer whose list is called `runs`; raises `BadAnswerError` where it is none."""
    cells = cells_of(text, lists={runs})
    found = listed(cells, runs, text)
    cursor = cells["next_cursor"].value if "next_cursor" in cells else None
    if "cursors" in cells:
        cursor = (cells["cursors"].value or {}).get("next")
    if cursor is not None and not isinstance(cursor, str):
        raise BadAnswerError("the answer's cursor is not a text")
    return Page(found, cursor or None)
