"""Pages of the API's second version, read without an object for each value: a day may have a million runs.

Only for speed, and to the same effect as `rows.py`, to which every page is left that has anything unusual in it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import astuple

from export_pipeline.runs.schema import RUN_FIELDS, Kind
from export_pipeline.runs.times import micros
from export_pipeline.sources.http.exact import Cells, string_of
from export_pipeline.sources.http.rows import PLACES, Row, RowPage
from export_pipeline.sources.langsmith.rows import (
    ATTACHMENTS,
    WORDS,
    AttachedRow,
    Attachment,
    attachments_of,
    last_of,
    merged_extra,
)

_NULL = Raw(b"null")
_COLUMNS = len(RUN_FIELDS)
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
    rows = _rows(page.items, project, with_addresses=with_addresses) if page.items else []
    if rows is None or page.cursors != _NULL:
        return None
    return RowPage(rows, page.next_cursor or None, len(answer))


def _rows(runs: Sequence[Any], project: str, *, with_addresses: bool) -> list[Row] | None:
    """Made column by column: run by run they take more than twice as long."""
    members: list[Sequence[Any]] = list(zip(*map(astuple, runs), strict=True))
    columns, (given, metadata, listed, stored) = members[:_COLUMNS], members[_COLUMNS:]
    ids, starts = columns[_ID], list(map(micros, columns[_START_TIME]))
    projects = [of or other for of, other in zip(given, columns[_SESSION_ID], strict=True)]
    if None in ids or None in starts or any(of is not None and of.lower() != project.lower() for of in set(projects)):
        return None
    for place, is_json in _RAW:
        columns[place] = _texts(columns[place], is_json=is_json)
    columns[_START_TIME], columns[_SESSION_ID] = _nothing(runs), projects
    columns[_PARENT] = [
        last_of(ancestors or "null") if parent is UNSET else parent
        for parent, ancestors in zip(columns[_PARENT], columns[_ANCESTORS], strict=True)
    ]
    for place in WORDS:
        columns[place] = [word and word.lower() for word in columns[place]]
    beside = columns[_EXTRA], _texts(metadata, is_json=True), _attachments(listed, stored)
    columns[_EXTRA] = list(map(merged_extra, *beside))
    rows: list[Row] = list(map(Row, starts, ids, zip(*columns, strict=True)))  # type: ignore[arg-type]  # no None
    return [_attached(*each) for each in zip(rows, *beside, strict=True)] if with_addresses else rows


def _attached(row: Row, extra: str | None, metadata: str | None, attachments: Sequence[Attachment]) -> Row:
    return AttachedRow(row.start, row.id, row.cells, tuple(attachments), extra, metadata) if attachments else row


def _texts(raws: Sequence[Raw], *, is_json: bool) -> Sequence[str | None]:
    """The cells of a column whose values are taken as they are written, but for texts where it is no JSON column."""
    if raws.count(_NULL) == len(raws):
        return _nothing(raws)
    if is_json:
        return [None if raw == _NULL else str(raw, "utf-8") for raw in raws]
    written = b"\0".join(raws).decode()  # at once, as they are short: there is no such character in JSON
    texts = [None if text == "null" else text for text in written.split("\0")]
    return [string_of(text) if text and text[0] == '"' else text for text in texts] if '"' in written else texts


def _nothing(rows: Sequence[object]) -> Sequence[None]:
    return (None,) * len(rows)


def _attachments(*columns: Sequence[Raw]) -> Sequence[Sequence[Attachment]]:
    """Each run's, by what both versions tell of them."""
    texts = zip(*(_texts(raws, is_json=True) for raws in columns), strict=True)
    return [() if told == (None, None) else attachments_of(_cells(told)) for told in texts]


def _cells(told: tuple[str | None, ...]) -> Cells:
    return Cells({name: text for name, text in zip(ATTACHMENTS, told, strict=True) if text is not None})
