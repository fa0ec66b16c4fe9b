"""Pages of the API's second version, read without an object for each value: a day may have a million runs.

Only for speed, and to the same effect as `rows.py`, to which every page is left that has anything unusual in it.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from export_pipeline.runs.schema import RUN_FIELDS, Kind
from export_pipeline.runs.times import micros
from export_pipeline.sources.http.exact import Cells, string_of
from export_pipeline.sources.http.rows import PLACES, Row, RowPage
from export_pipeline.sources.langsmith.rows import ATTACHMENTS, attachments_of, last_of, made_row

_NULL = Raw(b"null")
_JSON = frozenset({Kind.JSON, Kind.STRINGS})
_WRITTEN = _JSON | {Kind.COUNT, Kind.COST, Kind.FLAG}
"""Kinds of columns whose values are taken as they are written."""
_ID, _START_TIME, _SESSION_ID, _PARENT, _ANCESTORS, _EXTRA = (
    PLACES[name] for name in ("id", "start_time", "session_id", "parent_run_id", "parent_run_ids", "extra")
)
_RAW = [(place, field.kind in _JSON) for place, field in enumerate(RUN_FIELDS) if field.kind in _WRITTEN]
"""The places of these, and whether they are JSON in the file too."""


def _members() -> list[tuple[str, Any, Any]]:
    """A run's members: the columns in their order, then what the API gives beside them."""
    columns: list[tuple[str, Any, Any]] = [
        (field.name, Raw, _NULL) if field.kind in _WRITTEN else (field.name, str | None, None) for field in RUN_FIELDS
    ]
    columns[_PARENT] = ("parent_run_id", str | UnsetType | None, UNSET)
    return [*columns, ("project_id", str | None, None), *((name, Raw, _NULL) for name in ("metadata", *ATTACHMENTS))]


_Run = msgspec.defstruct("_Run", _members(), gc=False)
"""One that holds no list and no object, so that it needs no garbage collection."""


class _Page(msgspec.Struct):
    items: list[_Run]  # type: ignore[valid-type]  # made above
    next_cursor: str | None = None
    cursors: Raw = _NULL


_pages = msgspec.json.Decoder(_Page)


def quick_page(answer: str, project: str, *, with_addresses: bool) -> RowPage | None:
    """The page of an answer; None where `rows.py` is to read it, or to say what is wrong with it."""
    try:
        page = _pages.decode(answer)
    except (msgspec.DecodeError, RecursionError):
        return None
    rows: list[Row] = []
    for run in page.items:
        row = _row(msgspec.structs.astuple(run), project, with_addresses=with_addresses)
        if row is None:
            return None
        rows.append(row)
    return RowPage(rows, page.next_cursor or None, len(answer)) if page.cursors == _NULL else None


def _row(members: tuple[Any, ...], project: str, *, with_addresses: bool) -> Row | None:
    *cells, of, metadata, listed, stored = members
    own, start, of = cells[_ID], micros(cells[_START_TIME]), of or cells[_SESSION_ID]
    if own is None or start is None or (of is not None and of.lower() != project.lower()):
        return None
    for place, is_json in _RAW:
        raw = cells[place]
        text = "null" if raw is _NULL else str(raw, "utf-8")
        is_text = text[0] == '"' and not is_json
        cells[place] = None if text == "null" else string_of(text) if is_text else text
    cells[_SESSION_ID] = of
    if cells[_PARENT] is UNSET:
        cells[_PARENT] = last_of(cells[_ANCESTORS] or "null")
    found = {name: str(raw, "utf-8") for name, raw in zip(ATTACHMENTS, (listed, stored), strict=True) if raw != _NULL}
    attachments = attachments_of(Cells(found)) if found else []
    extra, metadata = cells[_EXTRA] or "null", str(metadata, "utf-8")
    return made_row(start, own, cells, extra, metadata, attachments=attachments, with_addresses=with_addresses)
